"""What a user might take instead of the guard's fold, as commands to run.

Each does the same count of the same data on one core: `cells` in a map of its own,
which a crash loses, `windows` by event time with the means of the framework. What they
need is installed or built when they are first asked for.
"""

from collections.abc import Sequence
from pathlib import Path

from venvs import jars_of, python_of

HERE = Path(__file__).resolve().parent
REQUIREMENTS = HERE / "requirements.txt"
POM = HERE / "streams" / "pom.xml"
QUIET = "-Dorg.slf4j.simpleLogger.defaultLogLevel=error"

# The most events for each: the slow ones need no more.
EVENTS = {
    "streams-cells": 10_000_000,
    "streams-windows": 400_000,
    "bytewax-cells": 10_000_000,
    "bytewax-windows": 400_000,
    "quix-cells": 10_000_000,
}
PEERS = tuple(EVENTS)


def command(
    peer: str, bootstrap: str, topic: str, records: int, per_record: int
) -> Sequence[str]:
    """How to run a peer."""
    name, mode = peer.split("-")
    records = min(records, EVENTS[peer] // per_record)
    if name == "streams":
        run = ["java", "-Xmx2g", QUIET, "-cp", jars_of(POM), "Count"]
    else:
        run = [python_of(REQUIREMENTS), str(HERE / f"{name}_count.py")]
    return [*run, mode, bootstrap, topic, str(records), str(per_record)]
