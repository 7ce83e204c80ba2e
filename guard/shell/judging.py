"""The judge behind Kafka: one panes partition of this worker, and its snapshots."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from guard.decision import Decision, instant
from guard.engine import Engine
from guard.fold import Batch
from guard.shell import snapshots
from guard.shell.metrics import Metrics
from guard.shell.publish import decision_headers, decode_panes

YIELD_MESSAGES = 64  # the event loop gets its turn after so many
MOST_DECISIONS = 1_000  # sent and not acknowledged, besides those of `YIELD_MESSAGES`

Send = Callable[..., Awaitable[asyncio.Future[Any]]]


class HoleError(Exception):
    """Messages between snapshot and log are missing; going on would be wrong."""


class JudgeRun:
    """An engine, its decisions under way, and what its snapshots cover.

    Parameters
    ----------
    send
        Sends (topic, key, value, partition, headers); the future is acknowledged.
    is_current
        Whether this partition still belongs to the worker.
    check
        Ends the process when the worker was stopped for too long to write another word.
    quiet_until
        Offset of the panes partition before which a quiet engine says nothing.
    """

    def __init__(
        self,
        partition: int,
        engine: Engine,
        *,
        slot: str | None,
        send: Send,
        is_current: Callable[[], bool],
        publish: Callable[[Decision], Awaitable[asyncio.Future[Any]]],
        check: Callable[[], None],
        snapshots_topic: str,
        metrics: Metrics,
        quiet_until: int = 0,
    ) -> None:
        self.partition = partition
        self.engine = engine
        self._slot = slot
        self._send = send
        self._publish = publish
        self._is_current = is_current
        self._check = check
        self._quiet_until = quiet_until
        self._lock = asyncio.Lock()  # no cut between a decision and its sending
        self._is_closed = False
        self._topic = snapshots_topic
        self._metrics = metrics
        self._under_way: list[asyncio.Future[Any]] = []
        self._safe: int | None = engine.offset + 1 if engine.offset >= 0 else None
        self.next_offset = engine.offset + 1  # behind what was read, of whatever kind

    async def add(self, batch: Batch) -> None:
        """Judge a batch of messages, and publish what it leads to.

        Raises
        ------
        HoleError
            When the batch begins behind the message that must come next.
        """
        first = int(batch.offsets[0])
        if self.engine.offset >= 0 and first > self.engine.offset + 1:
            raise HoleError(
                f"panes partition {self.partition} goes on at {first}, "
                f"not at {self.engine.offset + 1}"
            )
        for start in range(0, len(batch.offsets), YIELD_MESSAGES):
            end = start + YIELD_MESSAGES
            await self._wait_for_room()
            await self._speak_up()
            async with self._lock:
                if self._is_closed or not self._is_current():
                    return
                with self._metrics.judge_seconds.time():
                    decisions = self._apply(
                        batch.offsets[start:end], batch.values[start:end]
                    )
                for decision in decisions:
                    self._under_way.append(await self._publish(decision))
            self.next_offset = int(batch.offsets[start:end][-1]) + 1
            await asyncio.sleep(0)

    async def _speak_up(self) -> None:
        """Let a quiet engine speak again, once it has read far enough."""
        if self.engine.is_quiet and self.engine.offset + 1 >= self._quiet_until:
            self.engine.is_quiet = False
            await self.snapshot(anyway=True)

    def _apply(self, offsets: Any, values: list[bytes | None]) -> list[Decision]:
        decisions: list[Decision] = []
        before = dict(self.engine.taken)
        for offset, value in zip(offsets.tolist(), values, strict=True):
            if value is not None:
                decisions += self.engine.apply(offset, decode_panes(value))
        for taken, count in self.engine.taken.items():
            self._metrics.panes_taken.labels(taken.value).inc(count - before[taken])
        return decisions

    async def _wait_for_room(self) -> None:
        """Wait while too many decisions are under way: Kafka is slow to take them."""
        while len(self._under_way) >= MOST_DECISIONS:
            await asyncio.wait({self._under_way[0]})
            for sent in self._under_way:
                if sent.done():
                    sent.result()  # raises when Kafka did not take it
            self._under_way = [sent for sent in self._under_way if not sent.done()]

    @property
    def waits_for(self) -> "asyncio.Future[Any] | None":
        """The acknowledgement that must come next, if any is to come."""
        return next((sent for sent in self._under_way if not sent.done()), None)

    @property
    def is_unsaved(self) -> bool:
        """Whether it knows more than its last snapshot, and should write another."""
        return not self.engine.is_quiet and self.engine.offset + 1 > (self._safe or 0)

    @property
    def safe_offset(self) -> int | None:
        """The offset that may be committed: what a snapshot covers."""
        return self._safe

    async def snapshot(self, *, anyway: bool = False, is_clean: bool = False) -> None:
        """Write the state, if anything has changed since the last time, or anyway.

        In this order: one cut; the decisions made so far acknowledged; the chunks
        acknowledged; the head acknowledged; only then may Faust commit. A quiet engine
        writes nothing: its state is not the one that the other policy left.
        """
        if self.engine.is_quiet:
            return
        async with self._lock:
            offset = self.engine.offset
            if offset + 1 <= (self._safe or 0) and not anyway:
                return
            packed = snapshots.encode(self.engine)
            decisions, self._under_way = self._under_way, []
        await asyncio.gather(*decisions)
        slot = snapshots.other(self._slot)
        *chunks, head = snapshots.chunks_of(packed, offset, slot, is_clean=is_clean)
        for records in (chunks, [head]):
            self._check()
            sent = [await self._write(key, value, offset) for key, value in records]
            await asyncio.gather(*sent)
        self._slot = slot
        self._safe = offset + 1 if offset >= 0 else None
        self._metrics.snapshots.inc()
        self._metrics.snapshot_bytes.set(len(packed))

    async def close(self) -> None:
        """Judge no more, and say in a last snapshot that nothing came after it."""
        self._is_closed = True
        await self.snapshot(anyway=True, is_clean=True)

    async def _write(
        self, key: bytes, value: bytes, offset: int
    ) -> asyncio.Future[Any]:
        headers = [(snapshots.OFFSET_HEADER, str(offset).encode())]
        return await self._send(self._topic, key, value, self.partition, headers)


def stamped(decision: Decision, now: float, *, dry_run: bool) -> Decision:
    """Return the decision as it is published at this instant."""
    return msgspec.structs.replace(
        decision, emitted_at=instant(round(now, 3)), dry_run=dry_run
    )


def message_of(
    decision: Decision, source: str
) -> tuple[bytes, bytes, list[tuple[str, bytes]]]:
    """Return key, value and headers of a decision."""
    value = msgspec.json.encode(decision)
    return decision.service.encode(), value, decision_headers(decision, source)
