"""One decision from four accounts: weights, levels, and fair in the whole."""

import itertools
import math

import numpy as np
import pytest

from models.combination import combined, is_reached

NAMES = ("errors", "latency", "limit_errors", "limit_latency")


def of(*lanes):
    arrays = (np.array([lane], np.float64) for lane in lanes)
    return combined(**dict(zip(NAMES, arrays, strict=True)))


@pytest.mark.parametrize(
    ("lane", "weight"), [*zip(NAMES, (0.35, 0.35, 0.2, 0.1), strict=True)]
)
def test_each_lane_has_its_weight(lane, weight):
    """Alone, and named as its part; together they are 1."""
    found = of(*(float(name == lane) for name in NAMES))
    assert getattr(found, lane).tolist() == [weight]
    assert found.evidence.tolist() == [weight]
    assert of(1, 1, 1, 1).evidence[0] == pytest.approx(1.0, rel=1e-15)


def test_its_mean_is_one_however_the_lanes_hang_together():
    """Four fair lanes, independent or all the same fall."""
    falls = {0.5: 0.8, 3.0: 0.2}
    apart = sum(
        math.prod(falls[fall] for fall in four) * of(*four).evidence[0]
        for four in itertools.product(falls, repeat=4)
    )
    same = sum(chance * of(*[fall] * 4).evidence[0] for fall, chance in falls.items())
    assert apart == pytest.approx(1.0, rel=1e-14)
    assert same == pytest.approx(1.0, rel=1e-14)


def test_levels_are_reached_from_below():
    """A warning at 5, a decision at 1 / alpha, both included."""
    assert of(14, 0, 0, 0).is_warning.tolist() == [False]
    assert of(0, 0, 25, 0).is_warning.tolist() == [True]
    for alpha, level in ((0.02, 50), (0.01, 100), (0.005, 200)):
        assert of(0, 0, 5 * level, 0).is_reached(alpha).tolist() == [True]
        assert of(0, 0, 4.99 * level, 0).is_reached(alpha).tolist() == [False]


def test_bad_arguments_are_refused():
    """With the range and the value."""
    one = np.ones(1)
    for bad in (
        lambda: of(1, -1, 1, 1),
        lambda: of(1, 1, 1, math.nan),
        lambda: combined(
            errors=one, latency=np.ones(2), limit_errors=one, limit_latency=one
        ),
        lambda: is_reached(one, 0.0),
        lambda: is_reached(one, 1.0),
    ):
        with pytest.raises(ValueError, match=r"must be .*got"):
            bad()
