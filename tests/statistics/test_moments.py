"""Count, mean and variance against numpy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.contract import NotEnoughData
from models.moments import Moments

floats = st.floats(-1e6, 1e6)


def of(values):
    moments = Moments()
    for x in values:
        moments.update(float(x))
    return moments


@given(st.lists(floats, min_size=2, max_size=50))
@settings(max_examples=100, deadline=None)
def test_equal_to_numpy(values):
    """Mean, variance and its root are those of numpy."""
    moments = of(values)
    expected = np.mean(values), np.var(values, ddof=1), np.std(values, ddof=1)
    got = moments.mean, moments.variance, moments.standard_deviation
    assert len(values) == moments.count
    np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-9)


@given(st.lists(floats, min_size=2, max_size=50))
@settings(max_examples=100, deadline=None)
def test_variance_is_never_negative(values):
    """No rounding makes the variance negative."""
    assert of(values).variance >= 0


def test_a_large_mean_does_not_drown_the_variance():
    """1e9 + (4, 7, 13, 16) has variance 30, which a sum of squares loses."""
    assert of(1e9 + np.array([4, 7, 13, 16])).variance == 30.0


def test_equal_values_have_no_variance():
    """Equal values have variance 0 exactly, and their own mean."""
    moments = of([0.1] * 1000)
    assert (moments.mean, moments.variance) == (0.1, 0.0)


@given(st.lists(floats, min_size=2, max_size=30), st.floats(0.5, 8), floats)
@settings(max_examples=100, deadline=None)
def test_shifting_and_scaling(values, scale, shift):
    """Scaled and shifted data scale and shift the answer."""
    plain, moved = of(values), of([scale * x + shift for x in values])
    np.testing.assert_allclose(moved.mean, scale * plain.mean + shift, atol=1e-6)
    np.testing.assert_allclose(
        moved.standard_deviation, scale * plain.standard_deviation, atol=1e-3
    )


def test_one_value_has_no_variance():
    """A variance takes two observations, a mean one."""
    moments = of([3.0])
    assert moments.mean == 3.0
    with pytest.raises(NotEnoughData, match="takes 2 observations, got 1"):
        _ = moments.standard_deviation
