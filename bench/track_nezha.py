"""How well a policy judges recorded episodes: caught, missed, wrongly rolled back.

    python bench/track_nezha.py PATH [--policy FILE] [--verbose]

PATH is a folder with `events.ndjson.gz` and `labels.json`. The first holds request
events in the order of their times; the second says of every episode which service it
is about (`service`), which events belong to it (`episode_start`, `episode_end`), when
its fault began (`start`), what is expected (`expected`: rollback, no_rollback, or
not_judgeable where the fault does not show in the events) and what it was (`kind`).

Every episode is judged alone, with fresh state, as `guard replay` would judge a file of
its events. What counts is the first rollback: after the onset of the fault it is a
catch, before it a false alarm that happened to hit a faulty canary.
"""

import argparse
import gzip
import json
import statistics
from bisect import bisect_left
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from guard.decision import Decision
from guard.fold import Source
from guard.policy import Policy
from guard.shell import policy_file
from guard.shell.replay import Replay, batches

SOURCE = Source("recording", 0)
KINDS = ("rollback", "evaluate", "hold", "clear")


class Recording(NamedTuple):
    """All events, as lines and by time."""

    times: list[float]
    lines: list[bytes]

    def between(self, start: float, end: float) -> list[bytes]:
        """Lines of the events in [start, end)."""
        begin = bisect_left(self.times, start)
        return self.lines[begin : bisect_left(self.times, end)]


class Outcome(NamedTuple):
    """What was decided about one episode."""

    label: dict[str, Any]
    firsts: dict[str, float]  # seconds from the onset to the first decision, by kind

    @property
    def is_fault(self) -> bool:
        """Whether a rollback is expected."""
        return self.label["expected"] == "rollback"

    def delay(self, kind: str = "rollback") -> float | None:
        """Seconds from the onset to the first decision of this kind."""
        return self.firsts.get(kind)

    @property
    def word(self) -> str:
        """The gravest thing that was asked for, and for a fault whether in time."""
        delay = self.delay()
        if delay is not None and self.is_fault:
            return "caught" if delay >= 0 else "caught before onset"
        if delay is not None:
            return "wrongly rolled back"
        return next((kind for kind in KINDS if kind in self.firsts), "nothing")


def read(folder: Path) -> tuple[Recording, list[dict[str, Any]]]:
    """Events and labels."""
    with gzip.open(folder / "events.ndjson.gz") as file:
        lines = list(file)
    times = [json.loads(line)["ts"] for line in lines]
    if times != sorted(times):
        raise SystemExit("the events are not in the order of their times")
    return Recording(times, lines), json.loads((folder / "labels.json").read_text())


def judge(policy: Policy, lines: Iterable[bytes]) -> list[Decision]:
    """Everything decided about one episode, in order."""
    replay = Replay(policy, {SOURCE.topic: 1})
    replay.begin(SOURCE)
    decisions = []
    for batch in batches(lines):
        decisions += replay.add(SOURCE, batch)
    return decisions + replay.finish()


def outcome(policy: Policy, recording: Recording, label: dict[str, Any]) -> Outcome:
    """Judge one episode."""
    lines = recording.between(label["episode_start"], label["episode_end"])
    firsts: dict[str, float] = {}
    for decision in judge(policy, lines):
        if decision.service == label["service"]:
            at = datetime.fromisoformat(decision.decided_at).timestamp()
            firsts.setdefault(decision.decision, at - label["start"])
    return Outcome(label, firsts)


def count(outcomes: Iterable[Outcome], word: str) -> int:
    return sum(outcome.word == word for outcome in outcomes)


def print_rows(outcomes: list[Outcome]) -> None:
    """One row an episode; seconds are from the onset, for a control from its start."""
    columns = "  ".join(f"{kind:>8}" for kind in KINDS)
    print(f"{'service':24}{'fault':18}{'outcome':22}{columns}")
    for found in outcomes:
        label = found.label
        delays = (found.delay(kind) for kind in KINDS)
        cells = "  ".join("       -" if d is None else f"{d:6.0f} s" for d in delays)
        print(f"{label['service']:24}{label['kind']:18}{found.word:22}{cells}")
    print()


def print_table(policy: Policy, outcomes: list[Outcome], left_out: int) -> None:
    faults = [found for found in outcomes if found.is_fault]
    controls = [found for found in outcomes if not found.is_fault]
    caught = [d for f in faults if (d := f.delay()) is not None and d >= 0]
    median = f"{statistics.median(caught):.0f} s" if caught else "-"
    early = count(faults, "caught before onset")
    missed = len(faults) - len(caught) - early
    print(f"policy {policy.name}, each episode alone, fresh state")
    print(f"{len(faults)} visible faults")
    print(f"  rolled back after onset       {len(caught):3}   median delay {median}")
    print(f"  rolled back before onset      {early:3}")
    print(f"  not rolled back               {missed:3}")
    print_instead(faults)
    wrong = count(controls, "wrongly rolled back")
    print(f"{len(controls)} controls")
    print(f"  wrongly rolled back           {wrong:3}")
    print(f"  not rolled back               {len(controls) - wrong:3}")
    print_instead(controls)
    print(f"left out: {left_out}, whose fault does not show in the events")


def print_instead(outcomes: list[Outcome]) -> None:
    """What was asked for where no rollback was."""
    asked = [found for found in outcomes if found.word == "evaluate"]
    early = sum(found.is_fault and found.firsts["evaluate"] < 0 for found in asked)
    note = f"   {early} of them before onset already" if early else ""
    print(f"    a person asked to evaluate  {len(asked):3}{note}")
    print(f"    held                        {count(outcomes, 'hold'):3}")
    quiet = count(outcomes, "nothing") + count(outcomes, "clear")
    print(f"    nothing said                {quiet:3}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", type=Path, help="folder of the recording")
    parser.add_argument("--policy", type=Path, help="without one, the shipped one")
    parser.add_argument("--verbose", action="store_true", help="a row an episode")
    options = parser.parse_args()
    policy = policy_file.load(options.policy)
    recording, labels = read(options.path)
    judgeable = [label for label in labels if label["expected"] != "not_judgeable"]
    outcomes = [outcome(policy, recording, label) for label in judgeable]
    if options.verbose:
        print_rows(outcomes)
    print_table(policy, outcomes, len(labels) - len(judgeable))


if __name__ == "__main__":
    main()
