"""What the judge alone costs: service-seconds a core-second, bytes of state a service.

    python bench/judge_curve.py [--services 100,1000,10000] [--versions 50]
        [--seconds 75] [--measured 15] [--no-figure]

Panes of 4 sources are made with the fold's own grouping (20 requests a service and
second, 3 in 10 of the canary, 8 instances each), encoded, and given to an engine with
the shipped policy as the worker gives them: decoded, then applied. No Kafka. The first
seconds fill the windows; the last `--measured` are timed. The state is a packed
snapshot at the end. One row is of a single service with many versions on trial at once.
Writes docs/img/judge-curve.png; a curve that stays a line is what is wanted. It takes
about two minutes.
"""

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from draw import draw
from tables import machine, table

from guard.engine import Engine
from guard.pane import START, Columns, Grouped, Panes
from guard.shell import policy_file, snapshots
from guard.shell.publish import decode_panes, encode_panes
from guard.shell.tune import tune
from guard.words import Words
from models.quantile import bucket_of

FIGURE = Path(__file__).resolve().parent.parent / "docs" / "img" / "judge-curve.png"
BEGIN = 1_790_000_000
SOURCES = 4
REQUESTS = 20  # of a service and second, or of a version where there are many
INSTANCES = 8
CANARY_SHARE = 0.3


class Telemetry:
    """Panes of services with a canary each, or of one service with many."""

    def __init__(self, services: int, versions: int = 1) -> None:
        self._lots = np.random.default_rng(7)
        self._kinds, self._instances = Words(lambda _: 0).current()
        self._pairs = []  # cells of baseline and canary, for each rollout
        for service in range(services):
            name = f"svc-{service:05d}"
            baseline = self._cell(name, "v0", "baseline")
            for version in range(1, versions + 1):
                canary = self._cell(name, f"v{version}", "canary")
                self._pairs.append((baseline, canary))
        for number in range(services * INSTANCES):
            self._instances[f"pod-{number:06d}"]
        self._services = services
        self._told = START

    def _cell(self, service: str, version: str, cohort: str) -> int:
        kind = self._kinds[service, version, cohort, False, 200, None, "request"]
        return int(self._kinds.table().cells[kind])

    def messages(self, second: int) -> Iterator[bytes]:
        """What the sources say about a second, as it stands on the topic."""
        for source in range(SOURCES):
            grouped = Grouped(
                self._columns(second),
                self._kinds.target_column(),
                self._instances.hashes,
                self._instances.blank,
            )
            yield encode_panes(
                Panes(
                    topic="events",
                    partition=source,
                    sources={"events": SOURCES},
                    block_size=1 << 40,
                    block=0,
                    start=self._told,
                    to=second + 1,
                    **grouped.columns(0, self._kinds.cells, self._instances.names),
                )
            )
        self._told = second + 1

    def _columns(self, second: int) -> Columns:
        lots, pairs = self._lots, np.array(self._pairs)
        size = len(pairs) * REQUESTS // SOURCES
        rollouts = lots.integers(len(pairs), size=size)
        is_canary = lots.random(size) < CANARY_SHARE
        is_error = lots.random(size) < 0.003
        pods = 1 + rollouts % self._services * INSTANCES
        return Columns(
            np.full(size, second),
            pairs[rollouts, is_canary.astype(np.int64)],
            is_error.astype(np.int64),
            np.where(is_error, 5, 2),
            bucket_of(lots.lognormal(4, 0.6, size)),
            pods + lots.integers(INSTANCES, size=size),
            np.ones(size, np.int64),
            np.full(size, 20),
        )


class Cost(NamedTuple):
    """What an engine has cost."""

    services: int
    versions: int
    seconds: int
    cpu: float
    worst: float  # the slowest second
    state: int
    snapshot: float
    decisions: int

    @property
    def rollouts(self) -> int:
        """What was judged every second."""
        return self.services * self.versions


def measure(services: int, versions: int, seconds: int, measured: int) -> Cost:
    """Feed an engine."""
    telemetry = Telemetry(services, versions)
    engine = Engine(policy_file.load())
    spent: list[float] = []
    offset = decisions = 0
    for second in range(BEGIN, BEGIN + seconds):
        messages = list(telemetry.messages(second))
        began = time.process_time()
        for message in messages:
            decisions += len(engine.apply(offset, decode_panes(message)))
            offset += 1
        spent.append(time.process_time() - began)
    began = time.process_time()
    state = len(snapshots.encode(engine))
    snapshot = time.process_time() - began
    last = spent[-measured:]
    return Cost(
        services, versions, measured, sum(last), max(last), state, snapshot, decisions
    )


def row(cost: Cost) -> list[str]:
    """One measurement as a line of the table."""
    rollouts = cost.rollouts
    return [
        f"{cost.services:,}",
        f"{cost.versions}",
        f"{rollouts * cost.seconds / cost.cpu:,.0f}",
        f"{cost.cpu / cost.seconds * 1e3:,.1f} ({cost.worst * 1e3:,.1f})",
        f"{cost.cpu / cost.seconds / rollouts * 1e6:,.1f}",
        f"{cost.state / rollouts:,.0f}",
        f"{cost.snapshot * 1e3:,.0f}",
        f"{cost.decisions:,}",
    ]


def figure(costs: list[Cost]) -> None:
    """Draw cost and state over the number of services."""
    lines = [cost for cost in costs if cost.versions == 1]
    xs = [cost.services for cost in lines]
    milliseconds = [cost.cpu / cost.seconds * 1e3 for cost in lines]
    kib = [cost.state / 1024 for cost in lines]

    def panel(title: str, unit: str, ys: list[float]) -> dict:
        straight = [ys[-1] / xs[-1] * x for x in xs]
        return {
            "title": title,
            "x": "services",
            "y": unit,
            "log": True,
            "marker": "o",
            "lines": [("measured", xs, ys), ("in proportion", xs, straight)],
        }

    time_of = panel("judging one second of all services", "CPU ms", milliseconds)
    draw(FIGURE, [time_of, panel("state, packed", "KiB", kib)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--services", default="100,300,1000,3000,10000")
    parser.add_argument("--versions", type=int, default=50)
    parser.add_argument("--seconds", type=int, default=75)
    parser.add_argument("--measured", type=int, default=15)
    parser.add_argument("--no-figure", action="store_true")
    options = parser.parse_args()
    tune()
    several = list(map(int, options.services.split(",")))
    costs = [
        measure(services, versions, options.seconds, options.measured)
        for services, versions in [*((s, 1) for s in several), (1, options.versions)]
    ]
    print(f"{machine()}; one core, {SOURCES} sources, {REQUESTS} requests a second for")
    print("each rollout; a rollout is one service with one version on trial\n")
    header = (
        "services",
        "versions on trial",
        "rollout-seconds a core-second",
        "CPU ms a second (worst)",
        "CPU us a rollout",
        "bytes of state a rollout",
        "CPU ms a snapshot",
        "decisions",
    )
    print(table(header, map(row, costs)))
    if not options.no_figure:
        figure(costs)


if __name__ == "__main__":
    main()
