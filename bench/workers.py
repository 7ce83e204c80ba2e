"""The processes that `throughput.py` compares; each counts every event and ends.

    python bench/workers.py plain|floor|fold|guard JOB

All count the same: requests, errors, status classes, a latency sketch and instances for
each service, version, cohort and second.

- plain: a stock Faust agent, event by event, counting in dicts; it sends nothing;
- floor: aiokafka and the guard's fold, panes sent and acknowledged, no Faust;
- fold: the worker without its judge, panes sent and acknowledged;
- guard: the whole worker: panes sent, read again and judged, decisions acknowledged.
"""

import asyncio
import json
import math
import os
import sys
import tempfile
import time
from typing import NamedTuple

from stopwatch import Stopwatch

from guard.event import status_of

POLL_SECONDS = 0.005
LOG_GAMMA = math.log(1.01 / 0.99)


class Job(NamedTuple):
    """What to count, and where what comes of it goes."""

    bootstrap: str
    records: int
    per_record: int
    partitions: int
    topics: dict[str, str]  # by the field of `Settings`

    @property
    def watch(self) -> Stopwatch:
        """A fresh one."""
        return Stopwatch(self.records, self.per_record)

    @property
    def input(self) -> str:
        """The topic with the events."""
        return self.topics["input_topic"]


def plain(job: Job) -> None:
    """A stock agent: decode one record, count its events."""
    import faust
    import msgspec

    from guard.event import Request

    kind = Request if job.per_record == 1 else list[Request]
    decode = msgspec.json.Decoder(kind).decode
    watch, cells = job.watch, {}
    app = faust.App(
        f"plain-{os.getpid()}",
        broker=f"kafka://{job.bootstrap}",
        store="memory://",
        web_enabled=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        consumer_auto_offset_reset="earliest",
        stream_wait_empty=False,
        datadir=tempfile.mkdtemp(),
        broker_max_poll_records=5_000,
    )

    @app.agent(app.topic(job.input, value_serializer="raw", value_type=bytes))
    async def fold(stream) -> None:
        async for value in stream:
            if job.per_record == 1:
                count(cells, decode(value))
            else:
                for event in decode(value):
                    count(cells, event)
            watch.add()

    async def main() -> None:
        app.finalize()
        await app.start()
        await asyncio.sleep(600)

    asyncio.run(main())


def count(cells: dict, e) -> None:
    """Count one event in dicts."""
    key = int(e.ts), e.service, e.version, e.cohort, e.critical
    cell = cells.get(key)
    if cell is None:
        cell = cells[key] = [0, 0, [0] * 6, {}, {}]
    error, status = status_of(e.status, e.error)
    cell[0] += 1
    cell[1] += error
    cell[2][status] += 1
    bucket = math.ceil(math.log(max(e.latency_ms, 0.01)) / LOG_GAMMA)
    cell[3][bucket] = cell[3].get(bucket, 0) + 1
    counts = cell[4].setdefault(e.instance, [0, 0])
    counts[0] += 1
    counts[1] += error


def floor(job: Job) -> None:
    """Drive the guard's fold with aiokafka."""
    import aiokafka

    from guard.shell.batches import batch_of
    from guard.shell.tune import tune

    tune()

    async def main() -> None:
        watch = job.watch
        consumer = aiokafka.AIOKafkaConsumer(
            job.input,
            bootstrap_servers=job.bootstrap,
            group_id=f"floor-{os.getpid()}",
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            max_poll_records=5_000,
            fetch_max_wait_ms=100,
        )
        producer = aiokafka.AIOKafkaProducer(
            bootstrap_servers=job.bootstrap,
            acks=-1,
            linger_ms=5,
            max_request_size=4 << 20,
        )
        await consumer.start()
        await producer.start()
        runs = Runs(job, producer)
        while True:
            is_read = watch.seen >= job.records
            found = await consumer.getmany(timeout_ms=5 if is_read else 500)
            seen = watch.seen
            for tp, records in found.items():
                await runs[tp.partition].add(batch_of(records), time.time())
                seen += len(records)
            watch.pass_(seen, is_over=seen >= job.records and is_told(runs))

    asyncio.run(main())


class Runs(dict):
    """The worker's own folds, by partition, without the worker."""

    def __init__(self, job: Job, producer) -> None:
        from prometheus_client import CollectorRegistry

        from guard.fold import FoldSettings
        from guard.shell import metrics
        from guard.shell.folding import Topics
        from guard.shell.stream import partition_of
        from guard.words import Words

        super().__init__()
        self._job, self._producer = job, producer
        self._settings = FoldSettings(
            targets=job.partitions, sources={job.input: job.partitions}
        )
        self._words = Words(lambda service: partition_of(service, job.partitions))
        self._topics = Topics(job.topics["panes_topic"], job.topics["rejected_topic"])
        self._metrics = metrics.make(CollectorRegistry())

    def __missing__(self, partition: int):
        from guard.fold import Fold, Source
        from guard.shell.folding import FoldRun
        from guard.shell.inputs import native

        source = Source(self._job.input, partition)
        fold = Fold(source, self._words, native.decode, self._settings)
        self[partition] = run = FoldRun(fold, self._topics, self._send, self._metrics)
        return run

    async def _send(self, topic, key, value, partition):
        return await self._producer.send(topic, value, key, partition)


def is_told(runs: dict) -> bool:
    """Whether Kafka has acknowledged every message of every fold."""
    for run in runs.values():
        run.safe_offset()
        if run._under_way:
            return False
    return True


def fold(job: Job) -> None:
    """The worker, without its judge."""
    from guard.shell.stream import Worker

    class FoldOnly(Worker):
        def _add_agents(self, app) -> None:
            topic = app.topic(
                self.settings.input_topic, value_serializer="raw", value_type=None
            )
            app.agent(topic, name="fold")(self._fold_agent)

    work(job, FoldOnly, lambda worker: is_told(worker._folds))


def guard(job: Job) -> None:
    """The whole worker."""
    from guard.shell.stream import Worker

    work(
        job, Worker, lambda worker: is_told(worker._folds) and is_judged(worker), "said"
    )


def is_judged(worker) -> bool:
    """Whether the judges have read what the folds sent, and their words arrived."""
    judges = worker.judges
    taken = sum(sum(judge.engine.taken.values()) for judge in judges)
    if taken < worker.metrics.panes_sent._value.get():
        return False
    return all(sent.done() for judge in judges for sent in judge._under_way)


def work(job: Job, kind, is_over, *further: str) -> None:
    """Run a worker of this kind until all is over."""
    from prometheus_client import CollectorRegistry

    from guard.shell import metrics, policy_file
    from guard.shell.app import end_process
    from guard.shell.settings import Settings
    from guard.shell.tune import tune

    tune()

    async def main() -> None:
        watch = job.watch
        name = f"guard-{os.getpid()}"
        settings = Settings(brokers=(job.bootstrap,), application=name, **job.topics)
        collectors = metrics.make(CollectorRegistry())
        worker = kind(settings, policy_file.load(), collectors, fail=end_process)
        await worker.start()
        while True:
            await asyncio.sleep(POLL_SECONDS)
            seen = int(collectors.events._value.get())
            figures = {name: _said(collectors) for name in further}
            watch.pass_(
                seen, is_over=seen >= job.records and is_over(worker), **figures
            )

    asyncio.run(main())


def _said(collectors) -> int:
    """Decisions so far."""
    children = collectors.decisions._metrics.values()
    return int(sum(child._value.get() for child in children))


VARIANTS = {"plain": plain, "floor": floor, "fold": fold, "guard": guard}

if __name__ == "__main__":
    VARIANTS[sys.argv[1]](Job(**json.loads(sys.argv[2])))
