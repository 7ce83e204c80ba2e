"""Share bets on a block: the reference numbers, and fair by enumeration."""

import itertools

import numpy as np
import pytest
from scipy import stats

from models.share_bet import (
    ERROR_RATIOS,
    SAFE_RATIOS,
    block_seconds,
    cornfield_mean,
    share_factors,
)

SIZES = [(1, 1), (1, 9), (3, 3), (5, 40), (10, 90), (30, 10), (100, 900)]


def factors(a, b, x, y, **words):
    x, y = np.atleast_1d(x), np.atleast_1d(y)
    requests = np.array([np.full(x.size, a), np.full(x.size, b)])
    return share_factors(requests, np.array([x, y]), **words)


def mean(a, b, e, odds, **words):
    """Mean of the factors over Fisher's non-central hypergeometric, exactly."""
    x = np.arange(max(0, e - b), min(a, e) + 1)
    chances = stats.nchypergeom_fisher.pmf(x, a + b, a, e, odds)
    return factors(a, b, x, e - x, **words) @ chances


def slow(a, b, x, y, *, margin, ratio):
    """The factor in plain Python."""
    if 0 in (a, b, x + y):
        return 1.0
    q = margin * a / (margin * a + b)
    return (x * ratio + y) / ((x + y) * (1 + q * (ratio - 1)))


def test_reference_numbers_of_one_bad_request():
    """In the canary 2/1.1, in the baseline 1/1.1."""
    words = {"margin": 1.0, "ratios": (2.0,)}
    assert factors(100, 900, 1, 0, **words)[0, 0] == pytest.approx(2 / 1.1, rel=1e-15)
    assert factors(100, 900, 0, 1, **words)[0, 0] == pytest.approx(1 / 1.1, rel=1e-15)


@pytest.mark.parametrize(("a", "b"), SIZES)
def test_their_mean_is_one_when_both_are_alike(a, b):
    """Over the hypergeometric, for any number of bad ones."""
    for e in {1, 2, min(3, a + b), (a + b) // 2, a + b - 1, a + b}:
        x = np.arange(max(0, e - b), min(a, e) + 1)
        chances = stats.hypergeom.pmf(x, a + b, a, e)
        found = factors(a, b, x, e - x, margin=1.0, ratios=ERROR_RATIOS) @ chances
        np.testing.assert_allclose(found, 1.0, rtol=1e-9)


@pytest.mark.parametrize("margin", [1.0, 1.1, 1.25, 2.0])
def test_their_mean_is_at_most_one_at_the_margin(margin):
    """And below it, over Fisher's non-central hypergeometric."""
    for (a, b), odds in itertools.product(SIZES[:-1], (0.5 * margin, margin)):
        for e in {1, 2, (a + b) // 2, a + b - 1}:
            found = mean(a, b, e, odds, margin=margin, ratios=ERROR_RATIOS)
            assert found.max() <= 1 + 1e-9


@pytest.mark.slow
@pytest.mark.parametrize("margin", [1.1, 2.0])
def test_the_mirror_is_fair_with_cornfields_mean(margin):
    """At the margin and above, for every number of bad ones."""
    worst = 0.0
    for a, b in SIZES[:-1]:
        for e in range(1, a + b + 1, 1 + (a + b) // 12):
            for odds in (margin, 2 * margin):
                found = mean(a, b, e, odds, margin=margin, ratios=SAFE_RATIOS)
                worst = max(worst, found.max())
    assert worst <= 1 + 1e-9


@pytest.mark.parametrize(("margin", "expected"), [(2.0, 1.257), (3.0, 1.436)])
def test_the_mirror_is_not_fair_with_the_plain_share(margin, expected):
    """With q for the expected share, its mean reaches 1.26, and 1.43 at margin 3."""
    worst = 0.0
    for a, b in itertools.product((1, 5, 10, 20, 50), repeat=2):
        q = margin * a / (margin * a + b)
        for e in range(1, a + b + 1):
            x = stats.nchypergeom_fisher.mean(a + b, a, e, margin)
            worst = max(worst, (e - 0.75 * x) / (e * (1 - 0.75 * q)))
    assert worst == pytest.approx(expected, abs=0.01)


def test_cornfields_mean_is_the_root():
    """Of m (b - e + m) = omega (a - m)(e - m), between 0 and what there is."""
    a, b, e = np.array(
        [
            (a, b, e)
            for a, b in [*SIZES, (7, 0), (0, 7)]
            for e in range(0, a + b + 1, max(1, (a + b) // 7))
        ]
    ).T
    for omega in (0.5, 1.0, 1.1, 2.0, 10.0):
        m = cornfield_mean(a, b, e, omega)
        np.testing.assert_allclose(
            m * (b - e + m), omega * (a - m) * (e - m), atol=1e-8 * (a + b).max()
        )
        assert (m >= np.maximum(0, e - b) - 1e-9).all()
        assert (m <= np.minimum(a, e) + 1e-9).all()


def test_it_equals_the_formula_in_plain_python():
    """Row by row, with nothing on one side or nothing bad."""
    rng = np.random.default_rng(11)
    requests = rng.integers(0, 6, (2, 400))
    bad = rng.integers(0, requests + 1)
    found = share_factors(requests, bad, margin=1.1, ratios=ERROR_RATIOS)
    for row in range(400):
        (a, b), (x, y) = requests[:, row].tolist(), bad[:, row].tolist()
        expected = [slow(a, b, x, y, margin=1.1, ratio=ratio) for ratio in ERROR_RATIOS]
        assert found[:, row].tolist() == pytest.approx(expected, rel=1e-14)
    assert (found[:, (requests == 0).any(axis=0)] == 1).all()


def test_a_block_counts_for_at_most_the_inverse_share():
    """However many were bad in it, and for however strong an alternative."""
    found = factors(100, 900, 100, 0, margin=1.0, ratios=(40.0, 1e9))
    assert found.max() <= 10.0
    assert found.max() == pytest.approx(10.0, rel=1e-6)


@pytest.mark.parametrize(
    ("weight", "seconds"), [(0.001, 15), (0.01, 10), (0.1, 5), (0.5, 2), (0.9, 1)]
)
def test_blocks_are_as_long_as_the_weight_needs(weight, seconds):
    """5 s at 10 %, 2 s at 50 %."""
    assert block_seconds(weight) == seconds


def test_bad_arguments_are_refused():
    """With the range and the value."""
    for bad in (
        lambda: block_seconds(0.0),
        lambda: block_seconds(0.1, 0.0),
        lambda: factors(1, 1, 2, 0, margin=1.0, ratios=(2.0,)),
        lambda: factors(1, 1, 0, 0, margin=0.0, ratios=(2.0,)),
        lambda: factors(1, 1, 0, 0, margin=1.0, ratios=()),
        lambda: factors(1, 1, 0, 0, margin=1.0, ratios=(2.0, 0.5)),
    ):
        with pytest.raises(ValueError, match=r"must be .*got"):
            bad()
