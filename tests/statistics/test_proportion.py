"""Ratio and Wilson's interval."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from models.proportion import Proportion


def of(good, valid):
    proportion = Proportion()
    proportion.update(good=good, valid=valid)
    return proportion


def test_counts_and_ratio():
    """The ratio is good over valid, over all updates."""
    proportion = of(1, 2)
    proportion.update(good=2, valid=2)
    assert (proportion.good, proportion.valid, proportion.ratio) == (3, 4, 0.75)


@pytest.mark.parametrize(
    ("good", "valid", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_published_intervals(good, valid, low, high):
    """Newcombe, Statistics in Medicine 17 (1998), table I, method 3."""
    got = of(good, valid).wilson_interval()
    assert (low, high) == pytest.approx(got, abs=5e-5)


@given(st.data(), st.sampled_from([0.5, 0.9, 0.95, 0.999]))
@settings(max_examples=100, deadline=None)
def test_equal_to_scipy(data, confidence):
    """The interval is that of scipy.stats.binomtest(...).proportion_ci("wilson")."""
    valid = data.draw(st.integers(1, 10_000))
    good = data.draw(st.integers(0, valid))
    expected = binomtest(good, valid).proportion_ci(confidence, "wilson")
    got = of(good, valid).wilson_interval(confidence)
    assert (expected.low, expected.high) == pytest.approx(got, abs=1e-9)


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_the_interval_holds_the_ratio_within_0_and_1(data):
    """0 <= low <= ratio <= high <= 1, also at the ends."""
    valid = data.draw(st.integers(1, 10**9))
    good = data.draw(st.sampled_from([0, valid, valid // 2, valid - 1]))
    low, high = of(good, valid).wilson_interval()
    assert 0 <= low <= good / valid <= high <= 1


@pytest.mark.parametrize("confidence", [0.0, 1.0, -1.0, float("nan")])
def test_confidence_is_checked(confidence):
    """A confidence out of its range raises ValueError naming it."""
    with pytest.raises(ValueError, match="confidence must be"):
        of(1, 2).wilson_interval(confidence)


@pytest.mark.parametrize(("good", "valid"), [(-1, 1), (2, 1), (0, -1)])
def test_counts_are_checked(good, valid):
    """More good than valid events, or fewer than none, raise ValueError."""
    with pytest.raises(ValueError, match="good must be 0 to valid"):
        of(good, valid)
