"""Where the fold's time goes, without Kafka: microseconds an event, by step.

    python bench/profile_fold.py [--events 200000] [--services 1,100,1000,10000]
        [--rounds 3]

The steps are functions that a batch or a message calls, never an event, so that looking
at the clock around them costs nothing; each is told without the steps inside it. For
functions that an event calls: `py-spy record --native -- guard replay FILE`. It takes
half a minute.
"""

import argparse
import random
import statistics
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
from load import PARTITIONS, event, time_of
from tables import machine, table

import guard.fold
from guard.block import Block
from guard.clock import Clock
from guard.fold import Batch, Fold, FoldSettings, Source
from guard.pane import Grouped
from guard.shell.inputs import native
from guard.shell.publish import encode_panes
from guard.shell.stream import partition_of
from guard.shell.tune import tune
from guard.words import Words

BATCH = 2_000
REST = "everything else"


class Steps:
    """Time by step, each without what it calls."""

    def __init__(self) -> None:
        self.spent: Counter[str] = Counter()
        self._inside: list[float] = []

    def timed(self, name: str, step: Callable[..., Any]) -> Callable[..., Any]:
        """The same step, with a look at the clock."""

        def run(*args: Any, **options: Any) -> Any:
            self._inside.append(0.0)
            began = time.perf_counter()
            try:
                return step(*args, **options)
            finally:
                took = time.perf_counter() - began
                self.spent[name] += took - self._inside.pop()
                if self._inside:
                    self._inside[-1] += took

        return run

    def wrap(self, owner: Any, attribute: str, name: str) -> None:
        """Put it in place of the step."""
        setattr(owner, attribute, self.timed(name, getattr(owner, attribute)))


def batches(count: int, services: int) -> list[Batch]:
    """What one of several partitions holds."""
    lots = random.Random(7)
    found = []
    for start in range(0, count, BATCH):
        numbers = range(start * PARTITIONS, (start + BATCH) * PARTITIONS, PARTITIONS)
        values = [event(number, services, lots) for number in numbers]
        stamps = np.array([time_of(number) for number in numbers])
        found.append(Batch(values, np.arange(start, start + BATCH), stamps))
    return found


def fresh_words() -> Words:
    """Dictionaries as a worker begins with."""
    return Words(lambda service: partition_of(service, PARTITIONS))


def fold_all(given: list[Batch], words: Words, decode: Any, encode: Any) -> None:
    """Fold as the worker does, with nothing to send to."""
    settings = FoldSettings(targets=PARTITIONS, sources={"events": PARTITIONS})
    fold = Fold(Source("events", 0), words, decode, settings)
    for batch in given:
        fold.add(batch)
        for outgoing in fold.take():
            encode(outgoing.panes)


def measure(given: list[Batch], words: Words, steps: Steps) -> Counter[str]:
    """One pass; seconds by step."""
    steps.spent.clear()
    decode = steps.timed("decode the JSON", native.decode)
    encode = steps.timed("encode the messages", encode_panes)
    steps.timed(REST, fold_all)(given, words, decode, encode)
    return Counter(steps.spent)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--services", default="1,100,1000,10000")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    tune()
    steps = Steps()
    steps.wrap(Fold, "_check", "words to numbers, events to columns")
    steps.wrap(guard.fold, "check", "check numbers")
    steps.wrap(guard.fold, "bucket_of", "bucket of the latency")
    steps.wrap(Clock, "advance", "watermark")
    steps.wrap(Block, "take", "group the rows")
    steps.wrap(Grouped, "columns", "pack the columns")
    several = list(map(int, options.services.split(",")))
    found: dict[int, dict[str, float]] = {}
    for services in several:
        given = batches(options.events, services)
        words = fresh_words()
        measure(given, words, steps)  # a worker soon knows all the words there are
        runs = [measure(given, words, steps) for _ in range(options.rounds)]
        count = len(given) * BATCH
        found[services] = {
            name: statistics.median(run[name] for run in runs) / count * 1e6
            for name in runs[0]
        }
    last = found[several[-1]]
    names = sorted(last, key=lambda name: (name == REST, -last[name]))
    rows = [[name, *(f"{found[s][name]:.3f}" for s in several)] for name in names]
    rows.append(["sum", *(f"{sum(found[s].values()):.3f}" for s in several)])
    print(f"{machine()}; microseconds an event, median of {options.rounds} rounds\n")
    header = ("services", *(f"{services:,}" for services in several))
    print(table(header, rows))


if __name__ == "__main__":
    main()
