"""Events per second of the fold on a real Kafka, beside the floor and plain Faust.

    python bench/time_fold.py [--events N] [--services N] [--rounds N] [--min-plain 25]

Three ways of the same count (requests, errors, status classes, a latency sketch and
instances for each service, cohort and second), in turns, each in a process of its own
on one core, Kafka on another:

- plain: a stock Faust agent, event by event, counting in dicts;
- floor: aiokafka and the guard's fold, messages encoded and dropped, no Faust;
- guard: the worker's fold, messages sent to Kafka and acknowledged, starts of blocks
  committed.

Timing begins after the first events and ends with the last. The machine is shared and
noisy: compare within one run, as a ratio.
"""

import argparse
import asyncio
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "bench")]

TOPICS = ("telemetry.requests", "guard.panes", "guard.rejected")
VARIANTS = ("plain", "floor", "guard")
PLAIN_EVENTS = 60_000  # it is slow: a part of them is enough


class Stopwatch:
    """From the first events on to the last."""

    def __init__(self, total: int) -> None:
        self.begin = min(100_000, total // 10)
        self.total = total
        self.seen = 0
        self.started: tuple[int, float, float] | None = None

    def pass_(self, seen: int) -> None:
        """Note how many were counted; prints and ends the process at the last."""
        self.seen = seen
        if self.started is None:
            if seen >= self.begin:
                self.started = seen, time.perf_counter(), time.process_time()
        elif seen >= self.total:
            count, wall, cpu = self.started
            figures = {
                "events": seen - count,
                "wall": time.perf_counter() - wall,
                "cpu": time.process_time() - cpu,
            }
            print(json.dumps(figures), flush=True)
            os._exit(0)


def plain(bootstrap: str, total: int) -> None:
    """A stock agent: decode one event, count it."""
    import faust
    import msgspec

    from guard.event import Request, status_of

    decode = msgspec.json.Decoder(Request).decode
    watch = Stopwatch(min(total, PLAIN_EVENTS))
    cells: dict = {}
    app = faust.App(
        f"plain-{os.getpid()}",
        broker=f"kafka://{bootstrap}",
        store="memory://",
        web_enabled=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        consumer_auto_offset_reset="earliest",
        stream_wait_empty=False,
        datadir=tempfile.mkdtemp(),
        broker_max_poll_records=5_000,
    )
    log_gamma = math.log(1.01 / 0.99)

    @app.agent(app.topic(TOPICS[0], value_serializer="raw", value_type=bytes))
    async def count(stream) -> None:
        async for value in stream:
            e = decode(value)
            key = int(e.ts), e.service, e.version, e.cohort, e.critical
            cell = cells.get(key)
            if cell is None:
                cell = cells[key] = [0, 0, [0] * 6, {}, {}]
            error, status = status_of(e.status, e.error)
            cell[0] += 1
            cell[1] += error
            cell[2][status] += 1
            bucket = math.ceil(math.log(max(e.latency_ms, 0.01)) / log_gamma)
            cell[3][bucket] = cell[3].get(bucket, 0) + 1
            counts = cell[4].setdefault(e.instance, [0, 0])
            counts[0] += 1
            counts[1] += error
            watch.pass_(watch.seen + 1)

    async def main() -> None:
        app.finalize()
        await app.start()
        await asyncio.sleep(600)

    asyncio.run(main())


def floor(bootstrap: str, total: int) -> None:
    """Drive the fold with aiokafka, and send nothing."""
    import aiokafka

    from guard.fold import Fold, FoldSettings, Source
    from guard.shell.batches import batch_of
    from guard.shell.inputs import native
    from guard.shell.publish import encode_panes
    from guard.shell.stream import partition_of
    from guard.shell.tune import tune
    from guard.words import Words

    tune()
    watch = Stopwatch(total)
    settings = FoldSettings(targets=8, sources={TOPICS[0]: 8})
    words = Words(lambda service: partition_of(service, 8))
    folds: dict[int, Fold] = {}

    async def main() -> None:
        consumer = aiokafka.AIOKafkaConsumer(
            TOPICS[0],
            bootstrap_servers=bootstrap,
            group_id=f"floor-{os.getpid()}",
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            max_poll_records=5_000,
            fetch_max_wait_ms=100,
        )
        await consumer.start()
        while True:
            found = await consumer.getmany(timeout_ms=500)
            for tp, records in found.items():
                fold = folds.get(tp.partition)
                if fold is None:
                    source = Source(TOPICS[0], tp.partition)
                    fold = Fold(source, words, native.decode, settings)
                    folds[tp.partition] = fold
                fold.add(batch_of(records))
                for outgoing in fold.take():
                    encode_panes(outgoing.panes)
                watch.pass_(watch.seen + len(records))

    asyncio.run(main())


def guard(bootstrap: str, total: int) -> None:
    """The worker, without its judge."""
    from prometheus_client import CollectorRegistry

    from guard.shell import metrics, policy_file
    from guard.shell.app import end_process
    from guard.shell.settings import Settings
    from guard.shell.stream import Worker
    from guard.shell.tune import tune

    tune()

    class FoldOnly(Worker):
        def _add_agents(self, app) -> None:
            topic = app.topic(
                self.settings.input_topic, value_serializer="raw", value_type=None
            )
            app.agent(topic, name="fold")(self._fold_agent)

    async def main() -> None:
        watch = Stopwatch(total)
        settings = Settings(brokers=(bootstrap,), application=f"guard-{os.getpid()}")
        collectors = metrics.make(CollectorRegistry())
        worker = FoldOnly(settings, policy_file.load(), collectors, fail=end_process)
        await worker.start()
        while True:
            await asyncio.sleep(0.005)
            watch.pass_(int(collectors.events._value.get()))

    asyncio.run(main())


def measure(variant: str, bootstrap: str, total: int) -> dict[str, float]:
    """Run one variant on the first core; its figures."""
    command = [sys.executable, __file__, variant, bootstrap, str(total)]
    done = subprocess.run(
        ["taskset", "-c", "0", *command],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if not lines:
        raise RuntimeError(f"{variant}: {done.stdout[-500:]}{done.stderr[-2000:]}")
    return json.loads(lines[-1])


def compare(total: int, services: int, rounds: int) -> dict[str, list[dict]]:
    """All variants in turns."""
    from kafka_broker import FAST_JVM, Cluster
    from load import PARTITIONS, make_topics, preload

    results: dict[str, list[dict]] = {variant: [] for variant in VARIANTS}
    with Cluster(heap="768m", jvm=FAST_JVM, cpus="1") as cluster:
        make_topics(cluster.bootstrap, {name: (PARTITIONS, {}) for name in TOPICS})
        preload(cluster.bootstrap, TOPICS[0], total, services)
        for _ in range(rounds):
            for variant in VARIANTS:
                figures = measure(variant, cluster.bootstrap, total)
                results[variant].append(figures)
                rate = figures["events"] / figures["wall"]
                print(f"  {variant:6} {rate:10,.0f} events/s", file=sys.stderr)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=1_600_000)
    parser.add_argument("--services", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    results = compare(options.events, options.services, options.rounds)
    rates = {v: [r["events"] / r["wall"] for r in results[v]] for v in VARIANTS}
    median = {variant: statistics.median(found) for variant, found in rates.items()}
    print(f"{options.services} services, {options.events:,} events, one core")
    for variant in VARIANTS:
        cpu = statistics.median(r["cpu"] / r["events"] * 1e6 for r in results[variant])
        low, high = min(rates[variant]), max(rates[variant])
        print(
            f"{variant:6} {median[variant]:10,.0f} events/s ({low:,.0f} to"
            f" {high:,.0f}), {cpu:.2f} CPU s a million"
        )
    print(f"guard / plain {median['guard'] / median['plain']:.1f}")
    print(f"guard / floor {median['guard'] / median['floor']:.2f}")


if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1] in VARIANTS:
        globals()[sys.argv[1]](sys.argv[2], int(sys.argv[3]))
    else:
        main()
