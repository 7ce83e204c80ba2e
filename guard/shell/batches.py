"""The one override of Faust: whole fetches for agents, in order, with nothing skipped.

Why it exists, each measured on a real broker:

- A plain agent handles some 17,000 events a second; handed one Faust event for each
  (partition, fetch) it handles over thirty times as many.
- Faust can skip records at a join: fetched ones are dropped, and its "seek to
  committed" does nothing in aiokafka when the committed offset is 0 or absent. So the
  consumer here knows the offset that must come next, cuts what came before and goes
  back on a gap.
- What may be committed is not what was read: the fold and the judge say which offsets
  are safe (`Host.safe_offset`).
- Faust fixes the fetch wait at 1.5 s. aiokafka has one fetch a broker under way; while
  one that asks only for silent partitions waits, the busy ones are not fetched.

It leans on internals of Faust and aiokafka; a contract test names each of them.
"""

from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from faust.types.tuples import ConsumerMessage

from guard.fold import Batch


class RecordBatch(NamedTuple):
    """The value of a batch's Faust event."""

    batch: Batch
    generation: int  # of the consumer group, when it was fetched


class Start(NamedTuple):
    """Where a partition is to be read from."""

    offset: int
    is_committed: bool
    note: str = ""  # what was written beside a committed offset


_NOWHERE = Start(0, is_committed=False)


class Host(Protocol):
    """The worker, as far as its consumer needs it."""

    fetch_wait_ms: int
    commit_note: str  # goes beside every committed offset

    def safe_offset(self, tp: TP) -> int | None:
        """Return the offset that may be committed, if any."""

    def forget_partitions(self) -> None:
        """Drop all state: partitions are being revoked or newly assigned."""


class Consumer(driver.Consumer):
    """Delivers batches; never skips, never repeats within an assignment."""

    transport: "Transport"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.host = self.transport.host
        self.repairs = 0  # gaps that were gone back for
        self._next: dict[TP, int] = {}  # offset that must come next
        self._sought: dict[TP, int] = {}  # gap that was gone back for
        self._starts: dict[TP, Start] = {}
        self._committed: dict[TP, int] = {}
        self._gone_back: dict[TP, int] = {}  # for what was lost at the end

    def _new_consumer_thread(self) -> "ShortFetch":
        return ShortFetch(self, loop=self.loop, beacon=self.beacon)

    async def getmany(
        self,
        timeout: float,  # noqa: ASYNC109 - Faust's signature
    ) -> AsyncIterator[tuple[TP, ConsumerMessage]]:
        """Fetch, and yield one message for each partition with records."""
        records, active = await self._wait_next_records(timeout)
        generation = self.app.consumer_generation_id
        if records is None or self.should_stop:
            return
        if not self.flow_active:
            try:
                await self.perform_seek()
            except KafkaError as error:  # in the middle of a rebalance
                self.log.warning("cannot seek while the flow is stopped: %s", error)
            return
        for tp, found in records.items():
            if not self.flow_active or self.app.consumer_generation_id != generation:
                break
            if not (active is None or tp in active or tp in self._buffered_partitions):
                continue
            self.app.monitor.track_tp_end_offset(tp, self.highwater(tp))
            going_on = await self._contiguous(tp, found)
            if going_on:
                yield tp, self._message(tp, going_on, generation)

    def _message(self, tp: TP, records: list[Any], generation: int) -> ConsumerMessage:
        last = records[-1]
        batch = RecordBatch(batch_of(records), generation)
        return ConsumerMessage(
            tp.topic,
            tp.partition,
            last.offset,
            (last.timestamp or 0) / 1000.0,
            last.timestamp_type,
            (),
            None,
            batch,
            None,
            0,
            0,
            tp,
            generation_id=generation,
        )

    async def _contiguous(self, tp: TP, records: list[Any]) -> list[Any]:
        """Cut what was delivered before; go back when something was skipped."""
        wanted = self._next.get(tp)
        if wanted is None:
            wanted = (await self.start_of(tp)).offset
        first = records[0].offset
        # The same gap twice is a true one: compaction, or transaction markers.
        if first > wanted and self._sought.get(tp) != wanted:
            self._sought[tp] = self._next[tp] = wanted
            self.repairs += 1
            self.log.warning("%r: wanted offset %s, got %s", tp, wanted, first)
            await self.seek(tp, wanted)
            return []
        if first < wanted:
            records = [record for record in records if record.offset >= wanted]
        self._next[tp] = records[-1].offset + 1 if records else wanted
        return records

    def delivered(self, tp: TP) -> int | None:
        """Offset behind the last batch that was delivered."""
        return self._next.get(tp)

    def is_behind(self, tp: TP, done: int, end: int) -> bool:
        """Whether records before `end` are to come still, when all before `done` are.

        What a partition ends with may be no records: markers of transactions.
        """
        if done < self._next.get(tp, 0):
            return True
        wanted = self._wanted(tp, done)
        if wanted >= end:
            return False
        return self._fetched(tp) < end or self._gone_back.get(tp) != wanted

    async def go_back(self, tp: TP, done: int, end: int) -> None:
        """Fetch again, once, what was fetched up to the end and never delivered.

        Faust drops what comes while its flow is stopped, and only a later record would
        show the gap.
        """
        wanted, fetched = self._wanted(tp, done), self._fetched(tp)
        if self._gone_back.get(tp) == wanted or not wanted < end <= fetched:
            return
        self._gone_back[tp] = wanted
        self.repairs += 1
        self.log.warning("%r: fetched up to %s, got up to %s", tp, fetched, wanted)
        await self.seek(tp, wanted)

    def _wanted(self, tp: TP, done: int) -> int:
        return max(done, self._next.get(tp, 0), self._starts.get(tp, _NOWHERE).offset)

    def _fetched(self, tp: TP) -> int:
        """Offset behind what was fetched last, of whatever kind; 0 when unknown."""
        client = self._thread._ensure_consumer()  # noqa: SLF001 - see the contract test
        subscription = client._subscription.subscription  # noqa: SLF001 - likewise
        assignment = subscription and subscription.assignment
        state = assignment and assignment.state_value(tp)
        return state.position if state and state.has_valid_position else 0

    def committed_offset(self, tp: TP) -> int:
        """Offset that Kafka holds for the group, as far as is known here; 0 if none."""
        return self._committed.get(tp, 0)

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        is_done = bool(await super()._commit(offsets))
        if is_done:
            self._committed |= offsets
        return is_done

    async def start_of(self, tp: TP) -> Start:
        """Return where this assignment reads a partition from.

        The committed offset, or the beginning where there is none.
        """
        start = self._starts.get(tp)
        if start is None:
            start = await self._thread.call_thread(self._find_start, tp)
            self._starts[tp] = start
            self._committed[tp] = start.offset if start.is_committed else 0
        return start

    async def _find_start(self, tp: TP) -> Start:  # runs in the consumer's thread
        consumer = self._thread._ensure_consumer()  # noqa: SLF001 - see the contract test
        coordinator = consumer._coordinator  # noqa: SLF001 - likewise
        committed = (await coordinator.fetch_committed_offsets([tp])).get(tp)
        beginning = (await consumer.beginning_offsets([tp]))[tp]
        if committed is not None and committed.offset >= beginning:
            return Start(committed.offset, is_committed=True, note=committed.metadata)
        return Start(beginning, is_committed=False)

    async def on_partitions_assigned(
        self, assigned: set[TP], generation_id: int = 0
    ) -> None:
        """Begin at the committed offsets again, for every partition."""
        self.host.forget_partitions()
        self._begin_again()
        await super().on_partitions_assigned(assigned, generation_id)

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Drop everything: an eager rebalance always takes all partitions."""
        self.host.forget_partitions()
        self._begin_again()
        await super().on_partitions_revoked(revoked)

    async def perform_seek(self) -> None:
        """Go back to the committed offsets."""
        self._begin_again()
        await super().perform_seek()

    def _begin_again(self) -> None:
        self._next.clear()
        self._sought.clear()
        self._starts.clear()
        self._gone_back.clear()

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Offsets inside a batch are no gaps."""

    def _new_offset(self, tp: TP) -> int | None:
        """Return what the fold or the judge declares safe, whatever Faust counts."""
        self._acked[tp].clear()
        self._acked_index[tp].clear()
        return self.host.safe_offset(tp)


def batch_of(records: list[Any]) -> Batch:
    """Turn fetched records into columns."""
    first, size = records[0].offset, len(records)
    if records[-1].offset - first + 1 == size:
        offsets = np.arange(first, first + size)
    else:
        offsets = np.fromiter([record.offset for record in records], np.int64, size)
    stamps = np.fromiter([record.timestamp for record in records], np.float64, size)
    return Batch([record.value for record in records], offsets, stamps / 1000.0)


class NotedCommit:
    """Commits offsets with a note beside each."""

    def __init__(self, consumer: Any, host: Host) -> None:
        self._commit = consumer.commit
        self._host = host

    async def __call__(self, offsets: Mapping[Any, OffsetAndMetadata]) -> None:
        """Commit; raises as the consumer does."""
        note = self._host.commit_note
        await self._commit(
            {tp: OffsetAndMetadata(at.offset, note) for tp, at in offsets.items()}
        )


class ShortFetch(driver.AIOKafkaConsumerThread):
    """Lets the broker wait only for a moment when nothing has come."""

    def _create_worker_consumer(self, transport: "Transport") -> Any:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = transport.host.fetch_wait_ms  # noqa: SLF001 - read when it starts
        consumer.commit = NotedCommit(consumer, transport.host)
        return consumer


class Transport(driver.Transport):
    """Brings consumer and host together."""

    Consumer = Consumer
    host: Host


def transport_for(app: Any, host: Host) -> Transport:
    """Return the transport to give to a Faust app."""
    transport = Transport(app.conf.broker_consumer, app)
    transport.host = host
    return transport


def partitions_of(assignment: Iterable[TP], topic: str) -> list[TP]:
    """Return the assigned partitions of a topic, in order."""
    return sorted(tp for tp in assignment if tp.topic == topic)
