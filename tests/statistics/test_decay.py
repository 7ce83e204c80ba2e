"""Fading rates: normalisation, half-life, independence of how they are read."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.decay import FadingRate

ONE = np.array([0])


def test_a_steady_stream_reads_as_its_rate():
    """Of a steady 50 per second, update and next second stand evenly around 50."""
    rate = FadingRate(60.0)
    for second in range(3000):
        rate.update(second, ONE, np.array([50]))
    at, after = rate.read(2999, ONE)[0], rate.read(3000, ONE)[0]
    assert 50 * (1 + math.log(2) / 120) == pytest.approx(at, rel=2e-5)
    assert pytest.approx((at - after) / math.log(at / after), rel=1e-9) == 50


def test_half_after_a_half_life():
    """Half is left after one half-life, a quarter after two."""
    rate = FadingRate(600.0)
    rate.update(0, ONE, np.array([1000]))
    start = rate.read(0, ONE)[0]
    assert 1000 * math.log(2) / 600 == pytest.approx(start, rel=1e-15)
    assert start / 2 == pytest.approx(rate.read(600, ONE)[0], rel=1e-12)
    assert start / 4 == pytest.approx(rate.read(1200, ONE)[0], rel=1e-12)


@pytest.mark.parametrize("half_life", [0.5, 1.0, 7.3, 120.0, 1e5])
@pytest.mark.parametrize("gap", [0, 1, 2, 5, 63, 1000, 10**6])
def test_equal_to_the_formula(half_life, gap):
    """The product of powers is 2^(-gap / half_life) to twelve digits."""
    rate = FadingRate(half_life)
    rate.update(0, ONE, np.array([1]))
    expected = math.log(2) / half_life * 2.0 ** (-gap / half_life)
    assert expected == pytest.approx(rate.read(gap, ONE)[0], rel=1e-11)


updates = st.lists(
    st.tuples(st.integers(0, 40), st.integers(0, 3), st.integers(0, 1000)), max_size=30
)


@given(updates)
@settings(max_examples=100, deadline=None)
def test_reading_changes_nothing(steps):
    """However often and wherever it is read, the bits are the same."""
    quiet, read = FadingRate(9.0), FadingRate(9.0)
    second = 0
    for gap, row, count in steps:
        second += gap
        for rate in (quiet, read):
            rate.update(second, np.array([row]), np.array([count]))
        read.read(second + 3, np.arange(5))
    assert quiet.state() == read.state()


@given(updates)
@settings(max_examples=100, deadline=None)
def test_a_batch_equals_one_by_one(steps):
    """Rows updated together are as rows updated one after the other."""
    together, alone = FadingRate(9.0), FadingRate(9.0)
    for second, (_, _, count) in enumerate(steps):
        together.update(second, np.array([0, 7]), np.array([count, 2 * count]))
        alone.update(second, np.array([7]), np.array([2 * count]))
        alone.update(second, np.array([0]), np.array([count]))
    assert together.state() == alone.state()


def test_unknown_rows_read_as_nan():
    """A row that never had an update has no rate; nor has a forgotten one."""
    rate = FadingRate(10.0)
    rate.update(5, np.array([1, 2]), np.array([0, 8]))
    rate.forget(np.array([2]))
    got = rate.read(6, np.array([0, 1, 2, 9]))
    np.testing.assert_array_equal(got, [np.nan, 0.0, np.nan, np.nan])


def test_a_forgotten_row_starts_afresh():
    """A row number that is used again knows nothing of its former owner."""
    used, new = FadingRate(10.0), FadingRate(10.0)
    used.update(100, ONE, np.array([5]))
    used.forget(ONE)
    for rate in (used, new):
        rate.update(7, ONE, np.array([3]))
    assert new.state() == used.state()


def test_no_rows_are_no_update():
    """An update of no rows leaves nothing behind, and reading none gives none."""
    none = np.array([], np.int64)
    rate = FadingRate(10.0)
    rate.update(1, none, none)
    assert FadingRate(10.0).state() == rate.state()
    rate.update(1, ONE, ONE)
    assert rate.read(1, none).size == 0


def test_very_long_gaps_fade_to_nothing():
    """A gap of many half-lives reads as 0, without a warning."""
    rate = FadingRate(0.1)
    rate.update(0, ONE, np.array([10**9]))
    assert rate.read(2**50, ONE)[0] == 0.0


def test_merging_rows_of_different_age():
    """Merged rows stand at the later of their updates, in either order."""
    early, late, both = FadingRate(10.0), FadingRate(10.0), FadingRate(10.0)
    early.update(3, np.array([0, 1]), np.array([40, 4]))
    late.update(13, np.array([0, 5]), np.array([20, 2]))
    both.update(3, np.array([0, 1]), np.array([40, 4]))
    both.update(13, np.array([0, 5]), np.array([20, 2]))
    rows = np.array([0, 1, 5])
    for one, other in ((early, late), (late, early)):
        merged = FadingRate.from_state(one.state())
        merged.merge(other)
        np.testing.assert_allclose(merged.read(20, rows), both.read(20, rows))
    assert rate_half_life(both) == 10.0


def rate_half_life(rate):
    return rate.half_life_seconds


@pytest.mark.parametrize("half_life", [0.0, -1.0, float("inf"), float("nan")])
def test_half_life_is_checked(half_life):
    """A half-life out of its range raises ValueError naming it."""
    with pytest.raises(ValueError, match="half_life_seconds must be finite and > 0"):
        FadingRate(half_life)


def test_bad_calls_are_refused():
    """Early seconds, negative rows, odd lengths, other half-lives raise ValueError."""
    rate = FadingRate(10.0)
    rate.update(5, np.array([0, 3]), np.array([1, 1]))
    with pytest.raises(
        ValueError, match="second must be >= 5, the last of row 3, got 4"
    ):
        rate.update(4, np.array([1, 3]), np.array([1, 1]))
    with pytest.raises(ValueError, match="second must be >= 5"):
        rate.read(4, ONE)
    with pytest.raises(ValueError, match="rows must be >= 0, got -1"):
        rate.read(6, np.array([-1]))
    with pytest.raises(
        ValueError, match=r"counts must be as many as rows \(1\), got 2"
    ):
        rate.update(6, ONE, np.array([1, 2]))
    with pytest.raises(ValueError, match=r"half_life_seconds must be 10.0, got 11.0"):
        rate.merge(FadingRate(11.0))
