"""The last ten seconds: against plain Python."""

import math

import numpy as np
import pytest

from models.recent_share import RecentShare

ROW = np.array([0])


def slow(history, second):
    """The comparison in plain Python, over what lies in the ten seconds before."""
    last = [counts for at, counts in history if second - 10 <= at < second]
    n, m, x, y = (
        (sum(column) for column in zip(*last, strict=True)) if last else [0] * 4
    )
    if not n or not m:
        return n > 0
    p = (x + y) / (n + m)
    return x / n - y / m > 3 * math.sqrt(p * (1 - p) * (1 / n + 1 / m))


def test_it_equals_the_comparison_in_plain_python():
    """With gaps longer than its reach, and sides without requests."""
    rng = np.random.default_rng(4)
    recent, history, answers = RecentShare(), [], []
    recent.grow(1)
    for at in np.cumsum(rng.choice([1, 1, 1, 2, 13], 600)).tolist():
        sizes = rng.integers(0, 30, 2) * rng.integers(0, 2, 2)
        bad = rng.binomial(sizes, (rng.choice([0.05, 0.4]), 0.05))
        counts = [*sizes.tolist(), *bad.tolist()]
        recent.update(ROW, np.array([at]), np.array([counts]).T)
        history.append((at, counts))
        for second in (at, at + 1, at + 5, at + 10, at + 11):
            before = [entry for entry in history if entry[0] > at - 10]
            expected = slow(before, second)
            # What a later second has overwritten is not asked for.
            if second > at:
                assert recent.is_worse(second, ROW).tolist() == [expected]
                answers.append(expected)
    assert set(answers) == {True, False}


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ((0, 0, 0, 0), False),
        ((0, 9, 0, 9), False),
        ((9, 0, 0, 0), True),
        ((9, 9, 9, 9), False),
        ((100, 900, 10, 90), False),
        ((100, 900, 30, 90), True),
    ],
)
def test_who_is_worse(counts, expected):
    """Without a canary not, without a baseline yes, alike not."""
    recent = RecentShare()
    recent.grow(1)
    recent.update(ROW, np.array([3]), np.array([counts]).T)
    assert recent.is_worse(4, ROW).tolist() == [expected]
    recent.forget(ROW)
    assert recent.is_worse(4, ROW).tolist() == [False]


def test_rows_stand_for_themselves():
    """Room for more leaves what is there."""
    recent = RecentShare()
    recent.grow(1)
    recent.update(ROW, np.array([3]), np.array([[9], [0], [0], [0]]))
    recent.grow(3)
    recent.grow(2)
    recent.update(np.array([2]), np.array([5]), np.array([[9], [0], [0], [0]]))
    assert recent.is_worse(14, np.arange(3)).tolist() == [False, False, True]
