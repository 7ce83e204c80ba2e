"""The sample ratio: Lindon and Malek's formula, enumeration and simulation."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from models.contract import NotEnoughData
from models.sample_ratio import SampleRatio

ROW = np.array([0])


def one(weight=0.1, **words):
    ratio = SampleRatio(weight, **words)
    ratio.grow(1)
    return ratio


def fed(blocks, weight=0.1, **words):
    """An account of these blocks (canary, baseline), after the one it leaves out."""
    ratio = one(weight, **words)
    for number, (canary, baseline) in enumerate([(1, 0), *blocks, (0, 0)]):
        second = number * ratio.block_seconds
        ratio.update(second, ROW, np.array([canary]), np.array([baseline]))
    return ratio


def e_value(blocks, weight=0.1, **words):
    return math.exp(fed(blocks, weight, **words).log_evidence(ROW)[0])


def conjugate(canary, baseline, weight):
    """Dirichlet-multinomial against the weight, by gamma functions."""
    prior = 2 * weight, 2 * (1 - weight)
    chance = math.lgamma(2) - math.lgamma(2 + canary + baseline)
    for a, n, w in zip(prior, (canary, baseline), (weight, 1 - weight), strict=True):
        chance += math.lgamma(a + n) - math.lgamma(a) - n * math.log(w)
    return chance


def test_a_request_a_block_is_the_conjugate_account():
    """The reference number 1024/11, and the formula in any order of the requests."""
    tiny = {"alpha": 1e-9}  # an account that has reached its goal stands still
    assert e_value([(1, 0)] * 10, 0.5, **tiny) == pytest.approx(1024 / 11)
    for weight in (0.03, 0.5, 0.9):
        for order in itertools.permutations([(1, 0)] * 2 + [(0, 1)] * 4):
            found = fed(order, weight, **tiny).log_evidence(ROW)[0]
            assert found == pytest.approx(conjugate(2, 4, weight))


@pytest.mark.parametrize("weight", [0.1, 0.5, 0.75])
@pytest.mark.parametrize("sizes", [(1, 1, 1, 1, 1), (3, 5, 2), (1, 4, 4)])
def test_its_mean_is_one_while_the_traffic_fits(weight, sizes):
    """Over all ways that requests can fall, by enumeration."""
    mean = 0.0
    for canaries in itertools.product(*(range(size + 1) for size in sizes)):
        chances = stats.binom.pmf(canaries, sizes, weight)
        blocks = [(a, n - a) for a, n in zip(canaries, sizes, strict=True)]
        mean += float(np.prod(chances)) * e_value(blocks, weight, alpha=1e-12)
    assert mean == pytest.approx(1.0, rel=1e-12)


def test_its_mean_is_one_whatever_happens_inside_a_block():
    """All requests of a block to one side: a burst is no evidence by itself."""
    weight, mean = 0.2, 0.0
    for sides in itertools.product((0, 1), repeat=6):
        blocks = [(1000, 0) if side else (0, 1000) for side in sides]
        chance = math.prod(weight if side else 1 - weight for side in sides)
        mean += chance * e_value(blocks, weight, alpha=1e-12)
    assert mean == pytest.approx(1.0, rel=1e-12)


def reached(share, *, weight=0.1, rollouts=2000, seconds=3600, sessions=None):
    """How many of so many rollouts are called, and the median second of it."""
    rng = np.random.default_rng(20260101)
    ratio, rows = SampleRatio(weight), np.arange(rollouts)
    ratio.grow(rollouts)
    called = np.zeros(rollouts, np.int64)
    step = ratio.block_seconds
    for second in range(0, seconds, step):
        each = 50 if sessions is None else sessions
        canary = rng.binomial(50 // each * step, share, rollouts) * each
        ratio.update(second, rows, canary, 50 * step - canary)
        called[ratio.is_mismatch(rows) & (called == 0)] = second
    found = called[called > 0]
    return found.size, float(np.median(found)) if found.size else math.inf


@pytest.mark.parametrize("sessions", [1, 50])
@pytest.mark.parametrize("weight", [0.1, 0.5])
def test_false_alarms_keep_to_alpha(weight, sessions):
    """Requests for themselves or fifty together; the exact binomial bound at 0.1 %."""
    found, _ = reached(weight, weight=weight, sessions=sessions, seconds=1800)
    assert found <= stats.binom.ppf(0.999, 2000, 0.01)


@pytest.mark.parametrize(
    ("share", "after"), [(0.0, 265), (0.031, 510), (0.2, 280), (0.5, 60)]
)
def test_a_mismatch_is_found(share, after):
    """Of a weight of 10 %, in every rollout."""
    found, median = reached(share, rollouts=100, sessions=1)
    assert (found, median <= after) == (100, True)


def test_how_a_block_was_added_up_does_not_show():
    """In one second or five, some rows now and others later: the same bits."""
    whole, parts = SampleRatio(0.1), SampleRatio(0.1)
    rows = np.arange(3)
    whole.grow(3)
    for size in (1, 2, 3):
        parts.grow(size)
    rng = np.random.default_rng(7)
    for block in range(40):
        counts = rng.integers(0, 9, (2, 5, 3))
        whole.update(5 * block, rows, *counts.sum(axis=1))
        for second in range(5):
            for row in rng.permutation(rows):
                canary, baseline = counts[:, second, row, np.newaxis]
                parts.update(5 * block + second, np.array([row]), canary, baseline)
    assert whole.state() == parts.state()
    assert whole.log_evidence(rows).tolist() == parts.log_evidence(rows).tolist()


def test_a_block_without_requests_says_nothing():
    """Nor does the one in which a row began."""
    blocks = [(1, 9), (3, 5)]
    assert fed(blocks).counts(0) == (4, 18, 2)
    assert fed([(1, 9), (0, 0), (0, 0), (3, 5)]).counts(0) == (4, 18, 2)
    assert fed([(1, 9), (0, 0), (3, 5)]).log_evidence(ROW) == fed(blocks).log_evidence(
        ROW
    )


def test_what_was_reached_stands_still():
    """Whatever comes after; a row that was forgotten begins anew."""
    ratio = fed([(9, 1)] * 20)
    assert ratio.is_mismatch(ROW).tolist() == [True]
    before = ratio.counts(0), ratio.log_evidence(ROW)[0]
    assert before[1] >= math.log(100)
    for second in range(1000, 2000):
        ratio.update(second, ROW, np.array([1]), np.array([9]))
    assert (ratio.counts(0), ratio.log_evidence(ROW)[0]) == before
    ratio.forget(ROW)
    assert ratio.state() == one().state()


def test_an_account_beyond_floats_is_kept():
    """2^1000 is not enough for a day's mismatch that nobody called."""
    ratio = fed([(1, 0)] * 2000, 0.5, alpha=1e-300)
    assert ratio.is_mismatch(ROW).tolist() == [True]
    assert ratio.log_evidence(ROW)[0] > 300 * math.log(10)


@pytest.mark.parametrize(
    ("weight", "seconds"),
    [(0.001, 15), (0.01, 10), (0.1, 5), (0.5, 2), (0.9, 5), (0.4, 2)],
)
def test_blocks_are_as_long_as_the_smaller_side_needs(weight, seconds):
    """As those of the share bets."""
    assert SampleRatio(weight).block_seconds == seconds


@pytest.mark.parametrize(
    ("second", "canary", "baseline", "message"),
    [
        (0, [1], [1], "block of the second must be >= 2, got 0"),
        (10, [1, 2], [1], r"as many as rows \(1\), got 2, 1"),
        (10, [-1], [1], "counts must be >= 0"),
    ],
)
def test_bad_counts_are_refused(second, canary, baseline, message):
    """Before anything is counted."""
    ratio = one()
    ratio.update(10, ROW, np.array([1]), np.array([1]))
    before = ratio.state()
    with pytest.raises(ValueError, match=message):
        ratio.update(second, ROW, np.array(canary), np.array(baseline))
    assert ratio.state() == before


def test_a_row_without_a_whole_block_is_not_read():
    """Beside one that has."""
    ratio = SampleRatio(0.1)
    with pytest.raises(NotEnoughData):
        ratio.counts(0)
    ratio.grow(2)
    ratio.grow(1)
    ratio.update(0, ROW, ROW, ROW + 1)
    ratio.update(5, ROW, ROW, ROW + 1)
    ratio.update(10, ROW, ROW, ROW + 1)
    assert ratio.counts(0) == (0, 1, 1)
    with pytest.raises(NotEnoughData):
        ratio.log_evidence(np.arange(2))
