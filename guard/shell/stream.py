"""The worker: two Faust agents, fold and judge, and the tasks beside them.

Every fatal path is "end the process and let the supervisor start it again": Faust would
skip a batch whose agent raised and go on, and a worker that was stopped for longer than
its session has lost its partitions and must not write another word.
"""

import asyncio
import logging
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, NoReturn, cast

import aiokafka
import faust
from aiokafka.partitioner import murmur2
from faust.types import TP

from guard.decision import Decision
from guard.engine import Engine
from guard.fold import Fold, FoldSettings, Source
from guard.policy import Policy
from guard.reading import Reading, behind_seconds, readings
from guard.shell import snapshots
from guard.shell.async_clients import aiokafka_options, faust_options
from guard.shell.batches import (
    Consumer,
    RecordBatch,
    Start,
    partitions_of,
    transport_for,
)
from guard.shell.folding import FoldRun, Topics
from guard.shell.inputs import native
from guard.shell.judging import JudgeRun, message_of, stamped
from guard.shell.metrics import Metrics
from guard.shell.settings import Settings
from guard.shell.watching import LOOK_SECONDS, Seen, Watch
from guard.watch import prepare
from guard.words import Words

TICK_SECONDS = 0.2
BEAT_SECONDS = 1.0
LEASE_SHARE = 0.8  # of the session: stopped for longer, a worker may have lost it
METADATA_SECONDS = 10  # after which a partition that is new is noticed
WARM_UP_SECONDS = 30.0
DRAIN_SECONDS = 4.0
STOP_SECONDS = 9.0

log = logging.getLogger(__name__)


class Worker:
    """One member of the consumer group: folds and judges what it is assigned.

    Parameters
    ----------
    clock
        Seconds since the epoch, as the records' Kafka time counts them.
    fail
        Ends the process; called with the reason, never returns.
    """

    def __init__(
        self,
        settings: Settings,
        policy: Policy,
        metrics: Metrics,
        *,
        clock: Callable[[], float] = time.time,
        fail: Callable[[str], NoReturn],
    ) -> None:
        self.settings = settings
        self.policy = policy
        self.metrics = metrics
        self.fetch_wait_ms = settings.fetch_wait_ms
        self.commit_note = f"blocks of {settings.block_size}"
        self._clock = clock
        self._fail = fail
        self._folds: dict[TP, FoldRun] = {}
        self._judges: dict[TP, JudgeRun] = {}
        self._opening = asyncio.Lock()
        self._words: Words | None = None
        self._fold_settings: FoldSettings | None = None
        self._targets: int | None = None  # partitions of the panes topic
        self._ticked = time.monotonic()
        self._tasks: list[asyncio.Task[None]] = []
        self._is_assigned = False
        self._is_started = False
        self._is_stopping = False
        self.watch = Watch(settings, metrics)
        self.app = self._make_app()

    # ---- what the consumer asks

    def safe_offset(self, tp: TP) -> int | None:
        """Return the offset that may be committed, if any."""
        if tp in self._folds:
            try:
                return self._folds[tp].safe_offset()
            except Exception as error:  # noqa: BLE001 - whatever Kafka's client raised
                self._fail(f"Kafka did not acknowledge a message: {error!r}")
        if tp in self._judges:
            return self._judges[tp].safe_offset
        return None

    def forget_partitions(self) -> None:
        """Drop everything: a rebalance means to begin at the snapshots again."""
        self._folds.clear()
        self._judges.clear()
        self._fold_settings = None  # input partitions may have been added
        self._is_assigned = False

    # ---- the Faust app

    def _make_app(self) -> faust.App:
        settings = self.settings
        app = faust.App(
            settings.application,
            broker=[f"kafka://{broker}" for broker in settings.brokers],
            store="memory://",
            web_enabled=False,
            datadir=tempfile.mkdtemp(prefix="rollback-guard-"),
            topic_allow_declare=False,  # `guard topics` makes them
            topic_disable_leader=True,
            consumer_auto_offset_reset="earliest",
            consumer_group_instance_id=settings.instance_id,
            consumer_metadata_max_age_ms=METADATA_SECONDS * 1000,
            producer_metadata_max_age_ms=METADATA_SECONDS * 1000,
            stream_wait_empty=False,  # blocks need no drain
            stream_buffer_maxsize=16,  # batches
            broker_max_poll_records=settings.max_poll_records,
            broker_session_timeout=settings.session_timeout_seconds,
            broker_heartbeat_interval=1.0,
            broker_rebalance_timeout=2 * settings.session_timeout_seconds,
            broker_request_timeout=60.0,
            broker_commit_interval=1.0,
            producer_acks=-1,
            producer_linger=0.005,
            producer_request_timeout=60.0,  # rides out a broker's restart
            producer_max_request_size=4 << 20,
            **faust_options(settings),
        )
        app.transport = transport_for(app, self)
        self._add_agents(app)
        return app

    def _add_agents(self, app: faust.App) -> None:
        settings = self.settings
        for topic, name, agent in (
            (settings.input_topic, "fold", self._fold_agent),
            (settings.panes_topic, "judge", self._judge_agent),
        ):
            raw = app.topic(topic, value_serializer="raw", value_type=None)
            app.agent(raw, name=name)(agent)

    @property
    def _consumer(self) -> Consumer:
        return cast(Consumer, self.app.consumer)

    async def _fold_agent(self, stream: Any) -> None:
        async for event in stream.events():
            await self._guarded(self._fold, event.message.tp, event.value)

    async def _judge_agent(self, stream: Any) -> None:
        async for event in stream.events():
            await self._guarded(self._judge, event.message.tp, event.value)

    async def _guarded(self, work: Callable[..., Any], *args: Any) -> None:
        """Do something; anything unexpected ends the process."""
        try:
            await work(*args)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            log.exception("cannot go on")
            self._fail(f"{type(error).__name__}: {error}")

    def _is_current(self, generation: int) -> bool:
        return bool(self.app.consumer_generation_id == generation)

    async def _fold(self, tp: TP, value: RecordBatch) -> None:
        if not self._is_current(value.generation):
            return
        run = await self._fold_run(tp)
        self.check_lease()
        if run is not None and self._is_current(value.generation):
            await run.add(value.batch, self._clock())

    async def _judge(self, tp: TP, value: RecordBatch) -> None:
        if not self._is_current(value.generation):
            return
        run = await self._judge_run(tp)
        self.check_lease()
        if run is not None and self._is_current(value.generation):
            await run.add(value.batch)

    # ---- opening partitions

    async def _fold_run(self, tp: TP) -> FoldRun | None:
        """Return the run of an input partition; None when it is not ours any more."""
        if tp in self._folds:
            return self._folds[tp]
        async with self._opening:
            generation = self.app.consumer_generation_id
            start = await self._consumer.start_of(tp)
            settings = await self._input_settings()
            if not self._is_current(generation):
                return None
            if tp not in self._folds:
                fold = self._make_fold(tp, start, settings)
                topics = Topics(self.settings.panes_topic, self.settings.rejected_topic)
                self._folds[tp] = FoldRun(fold, topics, self._send, self.metrics)
            return self._folds[tp]

    def _make_fold(self, tp: TP, start: Start, settings: FoldSettings) -> Fold:
        is_block = start.is_committed and start.note == self.commit_note
        if start.offset > 0 and not is_block:
            log.warning(
                "%s/%d is read from offset %d on, which no worker has committed with "
                "%s: what was counted from there on comes again, as late",
                *(tp.topic, tp.partition, start.offset, self.commit_note),
            )
        return Fold(
            Source(tp.topic, tp.partition),
            self._words or self._make_words(settings),
            native.decode,
            settings,
            start=start.offset,
            committed=is_block,
        )

    def _make_words(self, settings: FoldSettings) -> Words:
        self._words = Words(lambda service: partition_of(service, settings.targets))
        return self._words

    async def _input_settings(self) -> FoldSettings:
        if self._fold_settings is None:
            settings = self.settings
            counts = await self._partition_counts()
            targets = counts[settings.panes_topic]
            if self._targets not in {None, targets}:
                self._fail(
                    f"{settings.panes_topic} has {targets} partitions, and had "
                    f"{self._targets}: its services have moved; give it another name"
                )
            self._targets = targets
            self._fold_settings = FoldSettings(
                targets=targets,
                sources={settings.input_topic: counts[settings.input_topic]},
                lateness_seconds=settings.lateness_seconds,
                patience_seconds=settings.patience_seconds,
                future_seconds=settings.future_seconds,
                block_size=settings.block_size,
            )
        return self._fold_settings

    async def _partition_counts(self) -> dict[str, int]:
        producer = self.app.producer._ensure_producer()  # noqa: SLF001 - see the contract test
        topics = (self.settings.input_topic, self.settings.panes_topic)
        await producer.client.force_metadata_update()  # what it knows may be old
        return {topic: len(await producer.partitions_for(topic)) for topic in topics}

    async def _judge_run(self, tp: TP) -> JudgeRun | None:
        """Return the run of a panes partition, its state read back; None when lost."""
        if tp in self._judges:
            return self._judges[tp]
        async with self._opening:
            if tp not in self._judges:
                generation = self.app.consumer_generation_id
                run = await self._open_judge(tp)
                if not self._is_current(generation):
                    return None
                self._judges[tp] = run
            return self._judges[tp]

    async def _open_judge(self, tp: TP) -> JudgeRun:
        start = await self._consumer.start_of(tp)
        head, packed = await self._read_snapshot(tp.partition)
        if head is None or packed is None:
            if start.is_committed and start.offset > 0:
                self._fail(
                    f"panes partition {tp.partition} is committed up to "
                    f"{start.offset}, but {self.settings.snapshots_topic} holds no "
                    "snapshot of it"
                )
            run = self._make_judge(tp, Engine(self.policy), None, 0)
            await run.snapshot(anyway=True)
            return run
        engine = snapshots.restore(head, packed, self.policy)
        end = (await self._consumer.highwaters(tp))[tp] if engine.is_quiet else 0
        run = self._make_judge(tp, engine, head.slot, end)
        if engine.is_quiet:
            log.warning(
                "another policy or version judged panes partition %d until it ended, "
                "and not in order: nothing is said of what it read, up to offset %d; "
                "then every rollout is held",
                tp.partition,
                end,
            )
        elif head.is_clean:
            await run.snapshot(anyway=True)
        return run

    def _make_judge(
        self, tp: TP, engine: Engine, slot: str | None, quiet_until: int
    ) -> JudgeRun:
        generation = self.app.consumer_generation_id
        return JudgeRun(
            tp.partition,
            engine,
            slot=slot,
            send=self._send,
            is_current=lambda: self._is_current(generation),
            publish=lambda decision: self._publish(decision, tp.partition),
            check=self.check_lease,
            quiet_until=quiet_until,
            snapshots_topic=self.settings.snapshots_topic,
            metrics=self.metrics,
        )

    async def _read_snapshot(
        self, partition: int
    ) -> tuple[snapshots.Head | None, bytes | None]:
        started = time.monotonic()
        records = [
            record
            async for record in read_partition(
                self.settings, self.settings.snapshots_topic, partition
            )
        ]
        head, packed, stale = snapshots.collect(records)
        log.info(
            "snapshot read",
            extra={
                "partition": partition,
                "records": len(records),
                "stale": stale,
                "bytes": len(packed or b""),
                "seconds": round(time.monotonic() - started, 3),
            },
        )
        return head, packed

    # ---- sending

    async def _send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes,
        partition: int | None,
        headers: list[tuple[str, bytes]] | None = None,
    ) -> asyncio.Future[Any]:
        future = await self.app.producer.send(
            topic, key, value, partition, None, headers
        )
        return cast("asyncio.Future[Any]", future)

    async def _publish(self, decision: Decision, partition: int) -> asyncio.Future[Any]:
        settings = self.settings
        decision = stamped(decision, self._clock(), dry_run=settings.dry_run)
        key, value, headers = message_of(decision, settings.application)
        self.metrics.decisions.labels(decision.decision, decision.severity).inc()
        log.info(
            "decision",
            extra={
                "decision": decision.decision,
                "service": decision.service,
                "rollout": decision.rollout,
                "id": decision.id,
                "reason": decision.reasons[0].text if decision.reasons else "",
            },
        )
        return await self._send(
            settings.decisions_topic, key, value, partition, headers
        )

    # ---- tasks beside the agents

    def check_lease(self) -> None:
        """End the process when it was stopped for so long that others took over."""
        stopped = time.monotonic() - self._ticked
        if stopped > LEASE_SHARE * self.settings.session_timeout_seconds:
            self._fail(f"stopped for {stopped:.1f} s: another worker may own it all")

    async def _tick(self) -> None:
        """Keep the lease; waits for nothing, least of all for Kafka."""
        while True:
            self.check_lease()
            self._ticked = time.monotonic()
            self._measure(self._clock())
            await asyncio.sleep(TICK_SECONDS)

    async def _tell_news(self) -> None:
        """Send what the folds have to say while no batch comes."""
        while True:
            for run in list(self._folds.values()):
                if run.fold.has_news:
                    await run.tick(self._clock())
            await asyncio.sleep(TICK_SECONDS)

    async def _look(self) -> None:
        """End the process when something hangs; the supervisor starts it again."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if self._is_started:
                await self.watch.look(time.monotonic, self._seen)
            else:
                self.watch.look_at_start(time.monotonic())
            if self.watch.reason:
                self._fail(f"it hangs: {self.watch.reason}")

    def _seen(self) -> Seen:
        is_settled = self._is_assigned and not self.app.rebalancing
        runs: dict[TP, FoldRun | JudgeRun] = {**self._folds, **self._judges}
        return Seen(self._consumer, is_settled, runs, self.safe_offset)

    def _measure(self, now: float) -> None:
        passed = [run.engine.chain.passed() for run in self._judges.values()]
        if passed and min(passed) > 0:
            self.metrics.watermark_age.set(now - min(passed))
        behind: dict[tuple[str, int], int] = {}
        for run in self._judges.values():
            for source, seconds in behind_seconds(run.engine).items():
                behind[source] = max(seconds, behind.get(source, 0))
        self.metrics.source_behind.clear()
        for source, seconds in behind.items():
            self.metrics.source_behind.labels(*source).set(seconds)
        if self.app.consumer is not None:
            self.metrics.repairs.set(self._consumer.repairs)
        for topic, runs in (
            (self.settings.input_topic, self._folds),
            (self.settings.panes_topic, self._judges),
        ):
            self.metrics.partitions.labels(topic).set(len(runs))

    async def _beat(self) -> None:
        """Open what was assigned."""
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            if self.app.consumer is None or self.app.rebalancing:
                continue
            assignment = self._consumer.assignment()
            self._is_assigned = bool(self.app.consumer_generation_id)
            for tp in partitions_of(assignment, self.settings.panes_topic):
                await self._judge_run(tp)
            for tp in partitions_of(assignment, self.settings.input_topic):
                await self._fold_run(tp)
            self._measure(self._clock())

    async def _tell_silence(self) -> None:
        """Say so, once a second, where partitions are silent."""
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            if self._is_assigned and not self.app.rebalancing:
                await self._say_silent()

    async def _say_silent(self) -> None:
        """Beat for partitions that were read up to an end asked for after `now`."""
        now = self._clock()
        silent_before = now - self.settings.skew_seconds
        silent = {
            tp: run for tp, run in self._folds.items() if run.is_silent(silent_before)
        }
        if not silent:
            return
        ends = await self._consumer.highwaters(*silent)
        for tp, run in silent.items():
            is_behind = self._consumer.is_behind(tp, run.next_offset, ends[tp])
            if self._folds.get(tp) is run and not is_behind:
                self.check_lease()
                await run.tick(now, silent_before=silent_before)

    async def _snapshot_in_turns(self) -> None:
        """Write a snapshot of each partition once an interval, one after the other."""
        while True:
            judges = list(self._judges.items())
            pause = self.settings.snapshot_seconds / max(1, len(judges))
            for tp, run in judges:
                await asyncio.sleep(pause)
                if self._judges.get(tp) is run:
                    self.check_lease()
                    await run.snapshot()
            if not judges:
                await asyncio.sleep(min(1.0, pause))

    # ---- life

    @property
    def is_ready(self) -> bool:
        """Whether it can be relied on at this moment."""
        return not self.why_not_ready

    @property
    def why_not_ready(self) -> str:
        """Why it cannot be relied on at this moment; empty when it can."""
        if self._is_stopping:
            return "stopping"
        if not self._is_started:
            return "starting"
        return self.watch.trouble or self._why_not_open

    @property
    def _why_not_open(self) -> str:
        if self.app.rebalancing:
            return "rebalancing"
        if not self._is_assigned:
            return "waiting for partitions"
        closed = self._consumer.assignment() - self._folds.keys() - self._judges.keys()
        return f"reading back the state of {len(closed)} partitions" if closed else ""

    @property
    def judges(self) -> list[JudgeRun]:
        """The panes partitions that are open."""
        return list(self._judges.values())

    def readings(self) -> list[Reading]:
        """Read every rollout this worker judges."""
        return [r for run in self._judges.values() for r in readings(run.engine)]

    async def start(self) -> None:
        """Join the group, and begin."""
        await self._guarded(self._start)

    async def _start(self) -> None:
        self._ticked = time.monotonic()
        self._spawn(self._tick)
        self._spawn(self._look)
        self.app.finalize()
        await self.app.start()
        self._is_started = True
        self._spawn(self._beat)
        self._spawn(self._tell_news)
        self._spawn(self._tell_silence)
        self._spawn(self._snapshot_in_turns)
        self._spawn(self._warm_up)

    async def _warm_up(self) -> None:
        """Load what takes seconds and is seldom needed, once decisions flow again."""
        await asyncio.sleep(WARM_UP_SECONDS)
        if self.policy.watch:
            await asyncio.to_thread(prepare)

    def _spawn(self, task: Callable[[], Any]) -> None:
        self._tasks.append(asyncio.create_task(self._guarded(task)))

    async def wait_until_stopped(self) -> str:
        """Return when Faust has stopped by itself, and why: it does after a crash."""
        await self.app.wait_until_stopped()
        return f"Faust stopped by itself: {self.app.crash_reason!r}"

    async def stop(self) -> None:
        """Send and note what there is, commit, and leave."""
        self._is_stopping = True
        for task in self._tasks[1:]:  # the first one keeps the lease
            task.cancel()
        await self._in_time(self._settle, DRAIN_SECONDS)
        self._tasks[0].cancel()
        await self._in_time(self.watch.close, 1.0)
        if not await self._in_time(self.app.stop, STOP_SECONDS - DRAIN_SECONDS):
            self._fail("Kafka did not let it stop in order; nothing is lost by that")

    async def _in_time(self, work: Callable[[], Any], seconds: float) -> bool:
        """Give something so many seconds; whether they were enough.

        Not `wait_for`, which waits on when what it has cancelled does not end: Faust
        swallows the cancellation while Kafka does not answer.
        """
        task = asyncio.create_task(self._guarded(work))
        done, _ = await asyncio.wait({task}, timeout=seconds)
        task.cancel()
        return bool(done)

    async def _settle(self) -> None:
        consumer = self._consumer
        consumer.stop_flow()
        for fold in self._folds.values():
            await fold.drain()
        for judge in self._judges.values():
            await judge.close()
        await consumer.maybe_wait_for_commit_to_finish()
        await consumer.force_commit()


def partition_of(service: str, partitions: int) -> int:
    """Return a service's place, as Kafka's default partitioner finds it.

    >>> partition_of("checkout", 8)
    2
    """
    return int((murmur2(service.encode()) & 0x7FFFFFFF) % partitions)


async def read_partition(
    settings: Settings, topic: str, partition: int
) -> AsyncIterator[Any]:
    """Yield all records of a partition, up to the end it has now.

    With another `auto_offset_reset` than "earliest", aiokafka would begin at the end
    when anything is awaited between `assign` and the seek.
    """
    consumer = aiokafka.AIOKafkaConsumer(
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=8 << 20,
        **aiokafka_options(settings),
    )
    await consumer.start()
    try:
        tp = aiokafka.TopicPartition(topic, partition)
        consumer.assign([tp])
        end = (await consumer.end_offsets([tp]))[tp]
        await consumer.seek_to_beginning(tp)
        while await consumer.position(tp) < end:
            found = await consumer.getmany(tp, timeout_ms=1000)
            for record in found.get(tp, ()):
                yield record
    finally:
        await consumer.stop()
