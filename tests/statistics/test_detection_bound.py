"""What anything valid at any time needs, by closed form."""

import math

import pytest
from scipy import special

from models.detection_bound import divergence, requests_needed, seconds_needed


@pytest.mark.parametrize(
    ("bad", "expected"),
    [(0.01, 2368.85), (0.02, 358.67), (0.05, 64.71), (0.2, 8.18)],
)
def test_reference_numbers_of_requests(bad, expected):
    """To refute "at most 0.5 %" at alpha 1 %."""
    assert requests_needed(bad, 0.005, alpha=0.01) == pytest.approx(expected, abs=5e-3)


@pytest.mark.parametrize(("times", "expected"), [(2, 272.41), (10, 8.49)])
def test_reference_numbers_of_seconds(times, expected):
    """Two samples, 1,000 req/s, a canary of 10 %, 0.05 % errors."""
    found = seconds_needed(1000, 0.1, 0.0005, times, alpha=0.01)
    assert found == pytest.approx(expected, rel=5e-5)


def test_divergence_is_the_relative_entropy():
    """As SciPy has it."""
    for p, q in ((0.1, 0.2), (0.9, 0.0005), (0.3, 0.3)):
        expected = special.rel_entr(p, q) + special.rel_entr(1 - p, 1 - q)
        assert divergence(p, q) == pytest.approx(float(expected), abs=1e-15)


def test_bad_arguments_are_refused():
    """With the range and the value."""
    for bad in (
        lambda: divergence(0.0, 0.5),
        lambda: divergence(0.5, 1.0),
        lambda: requests_needed(0.005, 0.005, 0.01),
        lambda: requests_needed(0.01, 0.005, 1.0),
        lambda: seconds_needed(0, 0.1, 0.01, 2, alpha=0.01),
        lambda: seconds_needed(1, 1.0, 0.01, 2, alpha=0.01),
        lambda: seconds_needed(1, 0.1, 0.01, 1, alpha=0.01),
        lambda: seconds_needed(1, 0.1, 0.01, 2, alpha=math.nan),
    ):
        with pytest.raises(ValueError, match=r"must be .*got"):
            bad()
