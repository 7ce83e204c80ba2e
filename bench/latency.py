"""From the event to its decision on the topic, at shares of what a core can do.

    python bench/latency.py --throughput N [--shares 0.1,0.5,0.9] [--lateness 1,5]
        [--seconds S] [--per-record K]

`guard run` on one core; Kafka and a sender of events as they happen on another: 100
services over 4 partitions (`steady.py`). Ten times a second some canary begins to fail,
and the policy (`latency.yaml`) asks for a person at the end of the second in which its
failures are more than 5 % of the window. Two delays, both to the time that the broker
gave the decision's record (LogAppendTime):

- from the end of the second that decided, which is what the lateness waits for;
- from the first failed event, which is up to a second earlier.

`--throughput` is what `throughput.py` has measured for `guard`. The sender must keep
up with it: beside the load that was asked for stands the one that came. It takes
SECONDS + 30 s for each share and lateness.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from tables import machine, quantile, table

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "faults")]

WORKER_CORES, OTHER_CORES = {0}, "1"
PARTITIONS, SERVICES = 4, 100
WARM_SECONDS = 10.0
SPARE_SECONDS = 1.5  # the target: p99 at most the lateness and this
LOOK_SECONDS = 3.0  # a decision belongs to failures that began so long before
QUANTILES = (0.5, 0.95, 0.99)


class Found(NamedTuple):
    """What one run has shown."""

    rate: float  # events/s that came
    episodes: int
    from_second: list[float]
    from_event: list[float]


def append_times(bootstrap: str, topic: str) -> None:
    """Let the broker stamp the records of a topic."""
    from confluent_kafka.admin import (
        AdminClient,
        AlterConfigOpType,
        ConfigEntry,
        ConfigResource,
        ResourceType,
    )

    entry = ConfigEntry(
        "message.timestamp.type",
        "LogAppendTime",
        incremental_operation=AlterConfigOpType.SET,
    )
    place = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for future in admin.incremental_alter_configs([place]).values():
        future.result(30)


def measure(rate: int, lateness: float, options: argparse.Namespace) -> Found:
    """One worker, one load."""
    from kafka_broker import FAST_JVM, Cluster
    from scene import Scene

    with Cluster(heap="768m", jvm=FAST_JVM, cpus=OTHER_CORES) as cluster:
        settings = {
            "GUARD_LATENESS_SECONDS": str(lateness),
            "GUARD_POLICY": str(ROOT / "bench" / "latency.yaml"),
        }
        scene = Scene(
            cluster.bootstrap,
            name="latency",
            partitions=PARTITIONS,
            targets=PARTITIONS,
            settings=settings,
        )
        scene.make_topics()
        append_times(cluster.bootstrap, scene.topic("decisions"))
        scene.start("w0")
        os.sched_setaffinity(scene.workers["w0"].pid, WORKER_CORES)
        time.sleep(5)
        truth = send(cluster.bootstrap, scene.topic("input"), rate, options)
        time.sleep(lateness + LOOK_SECONDS)
        if scene.workers["w0"].poll() is not None:
            raise RuntimeError(f"the worker has ended, see {scene.folder}")
        scene.terminate("w0")
        decisions = [
            (record.stamped, json.loads(record.value))
            for record in scene.read("decisions")
        ]
    return compare(truth, decisions)


def send(bootstrap: str, topic: str, rate: int, options: argparse.Namespace) -> dict:
    """Send a load; what came of it."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "truth.json"
        job = {
            "bootstrap": bootstrap,
            "topic": topic,
            "partitions": PARTITIONS,
            "services": SERVICES,
            "rate": rate,
            "seconds": WARM_SECONDS + options.seconds,
            "per_record": options.per_record,
            "out": str(out),
        }
        program = [sys.executable, str(ROOT / "bench" / "steady.py"), json.dumps(job)]
        subprocess.run(["taskset", "-c", OTHER_CORES, *program], check=True)
        return json.loads(out.read_text())


def compare(truth: dict, decisions: list[tuple[float, dict]]) -> Found:
    """Find to each episode of failures the decision that it led to."""
    told: dict[str, list[tuple[float, float]]] = {}
    for stamped, decision in decisions:
        if decision["decision"] == "evaluate":
            decided = datetime.fromisoformat(decision["decided_at"]).timestamp()
            told.setdefault(decision["service"], []).append((decided, stamped))
    onsets = [(service, ts) for service, ts in truth["onsets"]]
    begin = min(ts for _, ts in onsets) + WARM_SECONDS
    end = max(ts for _, ts in onsets) - LOOK_SECONDS
    wanted = [(service, ts) for service, ts in onsets if begin < ts < end]
    from_second, from_event = [], []
    for service, ts in wanted:
        for decided, stamped in sorted(told.get(service, [])):
            if ts < decided <= ts + LOOK_SECONDS:
                from_second.append(stamped - decided)
                from_event.append(stamped - ts)
                break
    rate = truth["events"] / truth["seconds"]
    return Found(rate, len(wanted), from_second, from_event)


def row(share: float, rate: int, lateness: float, found: Found) -> list[str]:
    """One run as a line of the table."""
    cells = [f"{lateness:g} s", f"{share:.0%} ({rate:,})", f"{found.rate:,.0f}"]
    cells.append(f"{len(found.from_second)} of {found.episodes}")
    for delays in (found.from_second, found.from_event):
        if not delays:
            cells += [""]
            continue
        cells.append(" / ".join(f"{quantile(delays, q):.2f}" for q in QUANTILES))
    target = lateness + SPARE_SECONDS
    met = found.from_second and quantile(found.from_second, 0.99) <= target
    return [*cells, f"{'<=' if met else '> !'} {target:g} s"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--throughput", type=int, default=400_000)
    parser.add_argument("--shares", default="0.1,0.5,0.9")
    parser.add_argument("--lateness", default="1,5")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--per-record", type=int, default=1)
    options = parser.parse_args()
    rows = []
    for lateness in map(float, options.lateness.split(",")):
        for share in map(float, options.shares.split(",")):
            rate = int(options.throughput * share)
            rows.append(row(share, rate, lateness, measure(rate, lateness, options)))
            print(rows[-1], file=sys.stderr)
    print(f"{machine()}; {SERVICES} services, {options.per_record} event(s) a record;")
    print(
        "seconds, p50 / p95 / p99; the target is for p99 from the end of the second\n"
    )
    header = (
        "lateness",
        "load (events/s)",
        "came",
        "decisions",
        "from the end of the second",
        "from the first failed event",
        "target",
    )
    print(table(header, rows))


if __name__ == "__main__":
    main()
