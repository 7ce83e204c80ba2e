"""The promise under fire, on a real Kafka, under load, with two workers.

    python tests/faults/faults.py [CASE ...] [--rate 20000] [--kills 20]

Prints a row a case: events sent and counted, decisions against a replay of the same
topic, repeats of an id, and how many seconds after the fault decisions flowed again.
Exit status 1 when anything is lost, counted twice, missing or contradictory.
"""

import argparse
import random
import signal
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

from kafka_broker import Cluster
from scene import Outcome, Scene

WARM_SECONDS = 15.0  # decisions flow before the first fault
Case = Callable[[Cluster, Scene, argparse.Namespace], Iterator[float]]


def joins_and_leaves(
    _: Cluster, scene: Scene, __: argparse.Namespace
) -> Iterator[float]:
    """A third worker joins, works, and leaves cleanly."""
    scene.start("w2")
    yield scene.mark("w2 joins")
    scene.supervise(15)
    scene.terminate("w2")
    yield scene.mark("w2 left")
    scene.supervise(15)


def killed(_: Cluster, scene: Scene, options: argparse.Namespace) -> Iterator[float]:
    """One of two workers is killed with -9 at random moments, started again at once."""
    lots = random.Random(1)
    for _number in range(options.kills):
        name = lots.choice(("w0", "w1"))
        yield scene.kill(name)
        scene.supervise(6 + 6 * lots.random())


def broker_stops(
    cluster: Cluster, scene: Scene, _: argparse.Namespace
) -> Iterator[float]:
    """The only broker is away for 20 s."""
    scene.mark("broker stops")
    cluster.kill(0)
    scene.supervise(20)
    cluster.start_node(0)
    yield scene.mark("broker is back")
    scene.supervise(25)


def leader_killed(
    cluster: Cluster, scene: Scene, _: argparse.Namespace
) -> Iterator[float]:
    """One of three brokers is killed with -9; it leads a third of all partitions."""
    cluster.kill(1)
    yield scene.mark("broker 1 killed")
    scene.supervise(20)
    cluster.start_node(1)
    yield scene.mark("broker 1 is back")
    scene.supervise(15)


def stopped(_: Cluster, scene: Scene, __: argparse.Namespace) -> Iterator[float]:
    """A worker is stopped for longer than its session, and continued."""
    scene.signal("w1", signal.SIGSTOP)
    scene.supervise(16)
    yield scene.signal("w1", signal.SIGCONT)
    scene.supervise(20)


def queue_outlives(_: Cluster, scene: Scene, __: argparse.Namespace) -> Iterator[float]:
    """A worker is stopped with a snapshot queued, and continued after a takeover."""
    scene.terminate("w1")
    with (scene.folder / "w1.log").open("ab") as log:
        worker = subprocess.Popen(
            [sys.executable, str(HERE / "stops_in_snapshot.py")],
            env={**scene.environment, "GUARD_INSTANCE_ID": "w1"},
            stdout=log,
            stderr=log,
        )
    scene.workers["w1"] = worker
    scene.mark("w1 is one that stops itself in its third snapshot")
    scene.supervise(50)
    yield scene.signal("w1", signal.SIGCONT)
    scene.supervise(5)
    scene.kill("w0")
    yield scene.kill("w1")
    scene.supervise(20)


def rolls(_: Cluster, scene: Scene, __: argparse.Namespace) -> Iterator[float]:
    """A rolling restart to a new version: each worker stops cleanly, and starts."""
    for name in ("w0", "w1"):
        scene.terminate(name)
        scene.environment["GUARD_SNAPSHOT_SECONDS"] = "5"
        scene.start(name)
        yield scene.mark(f"{name} starts as the new version")
        scene.supervise(15)


def falls_silent(_: Cluster, scene: Scene, __: argparse.Namespace) -> Iterator[float]:
    """Half of the partitions get one record in 20 s: none is late, none waits."""
    yield scene.mark("half of the partitions are all but silent")
    scene.supervise(90)


CASES: dict[str, Case] = {
    "a": joins_and_leaves,
    "b": killed,
    "c": broker_stops,
    "d": leader_killed,
    "e": stopped,
    "f": queue_outlives,
    "g": rolls,
    "h": falls_silent,
}
SECONDS = {"a": 45, "b": 0, "c": 65, "d": 55, "e": 55, "f": 100, "g": 50, "h": 90}
QUIET = {"h": 3}  # partitions


def play(letter: str, options: argparse.Namespace) -> tuple[Outcome, list[float]]:
    """Play one case; what came of it, and the recovery after each fault."""
    case = CASES[letter]
    with Cluster(nodes=3 if letter == "d" else 1) as cluster:
        scene = Scene(cluster.bootstrap, name=f"case-{letter}", rate=options.rate)
        scene.make_topics()
        scene.start("w0", "w1")
        seconds = SECONDS[letter] or 9 * options.kills
        scene.flood(WARM_SECONDS + seconds, QUIET.get(letter, 0))
        scene.supervise(WARM_SECONDS)
        faults = list(case(cluster, scene, options))
        outcome = scene.finish()
        ends = [*faults[1:], float("inf")]
        return outcome, list(map(scene.recovery, faults, ends))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="*", default=list(CASES))
    parser.add_argument("--rate", type=int, default=20_000)
    parser.add_argument("--kills", type=int, default=20)
    options = parser.parse_args()
    is_exact = True
    for letter in options.cases:
        print(f"{letter}. {CASES[letter].__doc__}", flush=True)
        outcome, recovery = play(letter, options)
        is_exact &= outcome.is_exact
        print(
            f"   sent {outcome.sent:,}, counted {outcome.counted:,} "
            f"({outcome.late:,} late); "
            f"{outcome.decisions:,} decisions: {outcome.missing} missing, "
            f"{outcome.extra} extra, {outcome.contradictory} contradictory, "
            f"{outcome.repeats} repeats; on time again after "
            f"{statistics.median(recovery):.1f} s (worst {max(recovery):.1f} s)"
            f"{'' if outcome.is_exact else '   NOT EXACT'}",
            flush=True,
        )
    return 0 if is_exact else 1


if __name__ == "__main__":
    sys.exit(main())
