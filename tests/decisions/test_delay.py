"""The least delay of a cohort, against a list of everything that was noted."""

import random

import msgspec
import numpy as np
import pytest

from guard.delay import BUCKETS, Delays
from guard.pane import NO_DELAY

ROWS = np.arange(4)


class Slow:
    """All that was noted; a bucket is a second's number without the rest."""

    def __init__(self, window_seconds):
        self.length = -(-window_seconds // (BUCKETS - 1))
        self.noted = []

    def of(self, row, second, buckets):
        first = (second // self.length - BUCKETS + 1) * self.length
        return [
            delay
            for at, noted, delay in self.noted
            if noted == row and first <= at < first + buckets * self.length
        ]

    def least(self, second):
        found = [self.of(row, second, BUCKETS) for row in ROWS]
        return [min(delays, default=NO_DELAY) for delays in found]

    def is_settled(self, second):
        return [bool(self.of(row, second, 2)) for row in ROWS]


@pytest.mark.parametrize("seed", range(40))
def test_the_least_of_the_window_is_known(seed):
    """Across gaps, snapshots and forgotten rows; late requests alone say nothing."""
    r = random.Random(seed)
    window = r.choice([1, 6, 10, 60, 61])
    delays, slow, second = Delays(window), Slow(window), 1_700_000_000
    delays.grow(2)
    delays.grow(len(ROWS))
    for _ in range(150):
        second += r.choice([1, 1, 1, 1, 2, window // 3 + 1, 3 * window])
        rows = np.array(sorted(r.sample(range(4), r.randrange(5))), np.int64)
        told = np.array([r.choice([NO_DELAY, r.randrange(-99, 9999)]) for _ in rows])
        if rows.size:
            delays.note(second, rows, told)
        else:
            delays.advance(second)
        slow.noted += [
            (second, row, delay)
            for row, delay in zip(rows.tolist(), told.tolist(), strict=True)
            if delay < NO_DELAY
        ]
        if r.random() < 0.05:
            gone = r.randrange(4)
            delays.forget(np.array([gone]))
            slow.noted = [entry for entry in slow.noted if entry[1] != gone]
        if r.random() < 0.2:
            state = msgspec.msgpack.encode(delays.state())
            delays = Delays(window)
            delays.restore(msgspec.msgpack.decode(state))
            assert msgspec.msgpack.encode(delays.state()) == state
        assert delays.least(ROWS).tolist() == slow.least(second)
        assert delays.is_settled(ROWS).tolist() == slow.is_settled(second)


def test_the_window_is_covered_and_up_to_a_sixth_more():
    """Of 60 seconds the last 60 to 70."""
    for begin in range(1_700_000_000, 1_700_000_010):
        delays, rows = Delays(60), np.array([0])
        delays.grow(1)
        delays.note(begin, rows, np.array([5]))
        kept = 0
        while delays.least(rows)[0] == 5:
            kept += 1
            delays.advance(begin + kept)
        assert 60 < kept <= 70
