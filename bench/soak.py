"""Hours in minutes: steady load, workers that are killed and stopped, and the balance.

    python bench/soak.py [--minutes 30] [--restart-minutes 3] [--rate 20000]
        [--services 40] [--figure docs/img/soak.png]

Two workers under a supervisor; every `--restart-minutes` one of them is killed with -9
or told to stop (in turns), and started again. At the end every event that Kafka has
acknowledged must be in the panes once, and the decisions must be those of one
uninterrupted replay (`tests/faults/scene.py`). Beside it the memory of each worker over
time, and its slope after the first minute of each life. Exit status 1 when the balance
is not even. It takes the minutes, and a tenth of them for the replay.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from draw import draw
from tables import machine, table

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "faults")]

SAMPLE_SECONDS = 2.0
WARM_SECONDS = 60.0  # of a life: what it needs at all is taken in
MIB = 1 << 20


class Sample(NamedTuple):
    """A worker's memory at an instant."""

    name: str
    life: int  # its process id
    at: float  # seconds since the begin
    mib: float


class Soak:
    """A scene, and what is seen of its workers."""

    def __init__(self, scene, restart_seconds: float) -> None:
        self.scene = scene
        self.samples: list[Sample] = []
        self.restarts: list[tuple[float, str]] = []
        self._restart_seconds = restart_seconds
        self._began = time.time()

    @property
    def now(self) -> float:
        """Seconds since the begin."""
        return time.time() - self._began

    def run(self, seconds: float) -> None:
        """Let time pass, and restart a worker now and then."""
        due = self._restart_seconds
        while self.now < seconds:
            self.scene.supervise(SAMPLE_SECONDS)
            self._look()
            if self.now >= due and due < seconds - self._restart_seconds / 2:
                self._restart()
                due += self._restart_seconds

    def _restart(self) -> None:
        number = len(self.restarts)
        name = f"w{number // 2 % 2}"
        if number % 2:
            self.restarts.append((self.now, "SIGTERM"))
            self.scene.terminate(name)
        else:
            self.restarts.append((self.now, "kill -9"))
            self.scene.kill(name)
        self.scene.start(name)

    def _look(self) -> None:
        for name, worker in self.scene.workers.items():
            statm = Path(f"/proc/{worker.pid}/statm")
            if worker.poll() is None:
                mib = int(statm.read_text().split()[1]) * 4096 / MIB
                self.samples.append(Sample(name, worker.pid, self.now, mib))

    def lives(self) -> Iterator[list[Sample]]:
        """The samples of each process."""
        for life in dict.fromkeys(sample.life for sample in self.samples):
            yield [sample for sample in self.samples if sample.life == life]


def slope(lives: list[list[Sample]]) -> float | None:
    """MiB an hour, by least squares, each life with a level of its own."""
    above = below = 0.0
    for life in lives:
        kept = [s for s in life if s.at >= life[0].at + WARM_SECONDS]
        if len(kept) < 2:
            continue
        at = statistics.fmean(s.at for s in kept)
        mib = statistics.fmean(s.mib for s in kept)
        above += sum((s.at - at) * (s.mib - mib) for s in kept)
        below += sum((s.at - at) ** 2 for s in kept)
    return above / below * 3600 if below else None


def figure(path: Path, soak: Soak) -> None:
    """Draw the memory over time."""
    lines = [
        (
            f"{life[0].name}, life {number}",
            [sample.at / 60 for sample in life],
            [sample.mib for sample in life],
        )
        for number, life in enumerate(soak.lives(), start=1)
    ]
    panel = {
        "title": "memory of the workers",
        "x": "minutes",
        "y": "RSS, MiB",
        "lines": lines,
        "marks": [(at / 60, what) for at, what in soak.restarts],
    }
    draw(path, [panel])


def report(soak: Soak, outcome, seconds: float, rate: int) -> str:
    """The balance and the memory."""
    by_name: dict[str, list[list[Sample]]] = {}
    for life in soak.lives():
        by_name.setdefault(life[0].name, []).append(life)
    rows: list[tuple[str, object]] = [
        ("ran", f"{seconds / 60:g} min at {rate:,} events/s"),
        ("restarts", ", ".join(what for _, what in soak.restarts) or "none"),
        ("events sent", f"{outcome.sent:,}"),
        ("events in panes, less repeats", f"{outcome.counted:,}"),
        ("lost or counted twice", f"{outcome.sent - outcome.counted:,}"),
        ("decisions", f"{outcome.decisions:,} and {outcome.repeats:,} repeats"),
        ("missing / extra", f"{outcome.missing} / {outcome.extra}"),
        ("contradictory", outcome.contradictory),
    ]
    for name, lives in sorted(by_name.items()):
        ends = ", ".join(f"{life[-1].mib:.0f}" for life in lives)
        most = max(sample.mib for life in lives for sample in life)
        grown = slope(lives)
        told = "too short to tell" if grown is None else f"{grown:+.1f} MiB an hour"
        rows.append((f"{name}: RSS at the end of each life", f"{ends} MiB"))
        rows.append((f"{name}: most, slope", f"{most:.0f} MiB, {told}"))
    return table(("", ""), rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--restart-minutes", type=float, default=3.0)
    parser.add_argument("--rate", type=int, default=20_000)
    parser.add_argument("--services", type=int, default=40)
    parser.add_argument("--figure", type=Path)
    options = parser.parse_args()
    from kafka_broker import Cluster
    from scene import Scene

    seconds = options.minutes * 60
    with Cluster(heap="768m") as cluster:
        scene = Scene(
            cluster.bootstrap,
            name="soak",
            rate=options.rate,
            services=options.services,
        )
        scene.make_topics()
        scene.start("w0", "w1")
        scene.supervise(5)
        scene.flood(seconds)
        soak = Soak(scene, options.restart_minutes * 60)
        soak.run(seconds)
        outcome = scene.finish()
    print(f"{machine()}; two workers, {options.services} services\n")
    print(report(soak, outcome, seconds, options.rate))
    if options.figure:
        figure(options.figure, soak)
    return 0 if outcome.is_exact else 1


if __name__ == "__main__":
    sys.exit(main())
