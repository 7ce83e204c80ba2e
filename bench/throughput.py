"""Events per second on a real Kafka: the guard, beside no Faust and beside plain Faust.

    python bench/throughput.py [--events N] [--rounds N] [--services 1,100]
        [--all] [--peers] [--variants floor,guard] [--json FILE]

What is compared stands in `workers.py`, what a user might take instead in `peers/`.
Each process has one core, Kafka another. The variants of a cell run in turns, so that
a slow minute of the machine meets them all; a ratio is taken within a round, then the
median of the rounds. Timing begins after the first events and ends when the last is
counted and everything sent is acknowledged.

Without `--all` the cells are one event a record (lz4) with 1, 100, 1,000 and 10,000
services, and with 100 services arrays of 100 events, and no compression; with it they
are all combinations. `--peers` adds the peers to the cell with one event a record, lz4
and 100 services.

By default it takes about ten minutes, half a minute for each round of a cell.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from load import PARTITIONS, delete_topics, make_topics, preload
from peers.peers import PEERS, command
from tables import against, machine, ratios, spread, table
from workers import VARIANTS

ROOT = Path(__file__).resolve().parent.parent
WORKER_CORE, KAFKA_CORES = "0", "1"
PLAIN_EVENTS = 40_000  # it is slow: a part of them is enough
ARRAY = 100
ARRAY_TIMES = 2  # so many times the events: it is fast
TIMEOUT_SECONDS = 300
LARGE = {"max.message.bytes": str(8 << 20)}
OUTPUTS = ("panes", "snapshots", "decisions", "rejected")

FOLD_TARGETS = {1: 0.85, 100: 0.85, 1_000: 0.75}  # of the floor, by services
GUARD_TARGET = 0.7  # of the floor, the judge on the same core
PLAIN_TARGET = 30  # times plain Faust


class Cell(NamedTuple):
    """What is read."""

    services: int
    per_record: int = 1
    compression: str = "lz4"

    def __str__(self) -> str:
        shape = "one a record" if self.per_record == 1 else f"arrays of {ARRAY}"
        return f"{self.services:,} services, {shape}, {self.compression}"


MAIN_CELLS = (
    *(Cell(services) for services in (1, 100, 1_000, 10_000)),
    Cell(100, ARRAY),
    Cell(100, 1, "none"),
)
ALL_CELLS = tuple(
    Cell(services, per_record, compression)
    for per_record in (1, ARRAY)
    for compression in ("lz4", "none")
    for services in (1, 100, 1_000, 10_000)
)
PEERS_CELL = Cell(100)

Figures = dict[str, list[dict]]  # by variant, a round each


def measure(words: Sequence[str], name: str) -> dict:
    """Run one process on its core; its figures."""
    done = subprocess.run(
        ["taskset", "-c", WORKER_CORE, *words],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT / "bench")},
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith('{"events"')]
    if not lines:
        raise RuntimeError(f"{name}: {done.stdout[-500:]}{done.stderr[-2000:]}")
    figures = json.loads(lines[-1])
    figures["rate"] = figures["events"] / figures["wall"]
    return figures


class Bench:
    """A broker, and the runs on it."""

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap
        self._runs = 0

    def compare(
        self, cell: Cell, variants: Sequence[str], count: int, rounds: int
    ) -> Figures:
        """All variants in turns, on the same records."""
        topic = f"input-{self._runs}"
        make_topics(self._bootstrap, {topic: (PARTITIONS, LARGE)})
        records = preload(
            self._bootstrap,
            topic,
            count,
            cell.services,
            per_record=cell.per_record,
            compression=cell.compression,
        )
        found: Figures = {variant: [] for variant in variants}
        for number in range(rounds):
            # Every other round backwards: who comes after whom must not matter.
            for variant in variants[:: -1 if number % 2 else 1]:
                figures = self._run(variant, cell, topic, records)
                found[variant].append(figures)
                print(
                    f"  {cell}: {variant:16} {figures['rate']:10,.0f} events/s",
                    file=sys.stderr,
                )
        delete_topics(self._bootstrap, topic)
        return found

    def _run(self, variant: str, cell: Cell, topic: str, records: int) -> dict:
        if variant in PEERS:
            words = command(variant, self._bootstrap, topic, records, cell.per_record)
            return measure(words, variant)
        if variant == "plain":
            records = min(records, PLAIN_EVENTS // cell.per_record)
        self._runs += 1  # topics of its own: nothing of another run is read again
        outputs = {f"{name}_topic": f"{name}-{self._runs}" for name in OUTPUTS}
        made = dict.fromkeys(outputs.values(), (PARTITIONS, LARGE))
        make_topics(self._bootstrap, made)
        job = {
            "bootstrap": self._bootstrap,
            "records": records,
            "per_record": cell.per_record,
            "partitions": PARTITIONS,
            "topics": {"input_topic": topic, **outputs},
        }
        program = str(ROOT / "bench" / "workers.py")
        figures = measure([sys.executable, program, variant, json.dumps(job)], variant)
        delete_topics(self._bootstrap, *outputs.values())
        return figures


# ---- what is printed


def rates(figures: Figures, variant: str) -> list[float]:
    """Events per second, a round each."""
    return [run["rate"] for run in figures[variant]]


def ratio_of(figures: Figures, above: str, below: str) -> float | None:
    """The median of the rounds' ratios; None where one was not measured."""
    if not (figures.get(above) and figures.get(below)):
        return None
    return statistics.median(ratios(rates(figures, above), rates(figures, below)))


def summary(results: dict[Cell, Figures]) -> str:
    """A row a cell: the ratios beside their targets."""
    header = (
        "cell",
        "fold / floor (by CPU)",
        "guard / floor (by CPU)",
        "fold / plain",
        "guard / plain",
    )
    return table(header, [[cell, *_ratios(cell, f)] for cell, f in results.items()])


def _ratios(cell: Cell, figures: Figures) -> Iterator[str]:
    targets = (
        ("fold", "floor", FOLD_TARGETS.get(cell.services)),
        ("guard", "floor", GUARD_TARGET if cell.services <= 100 else None),
        ("fold", "plain", PLAIN_TARGET if cell.per_record == 1 else None),
        ("guard", "plain", None),
    )
    for above, below, target in targets:
        ratio = ratio_of(figures, above, below)
        form = ".0f" if below == "plain" else ".2f"
        by_cpu = ""
        if ratio is not None and below == "floor":
            by_cpu = f" ({_by_cpu(figures, above, below):.2f})"
        if ratio is None:
            yield ""
        elif target is None:
            yield f"{ratio:{form}}{by_cpu}"
        else:
            yield against(ratio, target, form) + by_cpu


def _by_cpu(figures: Figures, above: str, below: str) -> float:
    """The ratio of what a CPU second gets done: steadier where others disturb."""
    done, beside = (
        [run["events"] / run["cpu"] for run in figures[variant]]
        for variant in (above, below)
    )
    return statistics.median(ratios(done, beside))


def detail(results: dict[Cell, Figures]) -> str:
    """A row for each cell and variant."""
    header = ("cell", "", "events/s", "CPU s a million", "beside plain Faust")
    rows = []
    for cell, figures in results.items():
        for variant, runs in figures.items():
            cpu = [run["cpu"] / run["events"] * 1e6 for run in runs]
            times = ratio_of(figures, variant, "plain")
            rows.append(
                [
                    cell,
                    _name(variant, runs),
                    spread(rates(figures, variant)),
                    spread(cpu, ".2f"),
                    "" if times is None else f"{times:.1f}",
                ]
            )
    return table(header, rows)


def _name(variant: str, runs: list[dict]) -> str:
    last = runs[-1]
    if "version" in last:
        return f"{variant} ({last['version']})"
    return f"{variant} ({last['said']:,} decisions)" if "said" in last else variant


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=1_600_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--services", help="only the cells with so many, as 1,100")
    parser.add_argument("--variants", default=",".join(VARIANTS))
    parser.add_argument("--all", action="store_true", help="all cells")
    parser.add_argument("--peers", action="store_true", help="the peers too")
    parser.add_argument("--json", type=Path, help="keep every run's figures here")
    options = parser.parse_args()
    cells = ALL_CELLS if options.all else MAIN_CELLS
    if options.services:
        wanted = set(map(int, options.services.split(",")))
        cells = tuple(cell for cell in cells if cell.services in wanted)
    results = run(cells, options)
    print(f"{machine()}; a process on one core, Kafka on another; {options.rounds}")
    print("rounds in turns, median (least to greatest); a ratio is the median of the")
    print(
        "rounds' ratios, in brackets that of events a CPU second, which others on the"
    )
    print("machine disturb less; >= target met, < ! missed\n")
    print(summary(results), detail(results), sep="\n\n")
    if options.json:
        kept = [{"cell": cell._asdict(), "runs": f} for cell, f in results.items()]
        options.json.write_text(json.dumps(kept, indent=1))


def run(cells: Sequence[Cell], options: argparse.Namespace) -> dict[Cell, Figures]:
    """Measure every cell on one broker."""
    sys.path.insert(0, str(ROOT / "tests"))
    from kafka_broker import FAST_JVM, Cluster

    began = time.monotonic()
    variants = options.variants.split(",")
    results: dict[Cell, Figures] = {}
    with Cluster(heap="768m", jvm=FAST_JVM, cpus=KAFKA_CORES) as cluster:
        bench = Bench(cluster.bootstrap)
        for cell in cells:
            peers = PEERS if options.peers and cell == PEERS_CELL else ()
            count = options.events * (1 if cell.per_record == 1 else ARRAY_TIMES)
            chosen = [*variants, *peers]
            results[cell] = bench.compare(cell, chosen, count, options.rounds)
    print(f"took {time.monotonic() - began:.0f} s", file=sys.stderr)
    return results


if __name__ == "__main__":
    main()
