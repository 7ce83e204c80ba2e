"""When a bet is placed: against its formula, and that it adds up."""

import math

import numpy as np
import pytest

from models.change_time import AT_ONCE, mass_started

DAY = 86_400


def slow(age):
    """The formula in plain Python."""
    days, seconds = divmod(age, DAY)
    even = (
        sum(2.0**-day for day in range(1, days + 1))
        + 2.0 ** -(days + 1) * seconds / DAY
    )
    soon = min(math.log1p(age / 10) / math.log(1 + DAY / 10), 1)
    return AT_ONCE + (1 - AT_ONCE) * (even + soon) / 2


def test_it_is_the_formula():
    """To the rounding of a few sums, over days."""
    ages = np.array([0, 1, 2, 59, 3600, DAY - 1, DAY, DAY + 1, 3 * DAY + 5, 40 * DAY])
    expected = [slow(age) for age in ages.tolist()]
    np.testing.assert_allclose(mass_started(ages), expected, rtol=1e-15)


def test_it_never_falls_and_never_passes_one():
    """Second by second over two days, and after ten years."""
    masses = mass_started(np.arange(2 * DAY))
    assert masses[0] == AT_ONCE
    assert (np.diff(masses) > 0).all()
    assert mass_started(np.array([3650 * DAY, 3651 * DAY])).tolist() == [1.0, 1.0]


def test_a_step_places_the_log_uniform_part():
    """The difference over dt is log1p(dt / (t + 10)) / log(8641), and dt / day / 2."""
    for age, step in ((0, 5), (5, 5), (600, 2), (7200, 15)):
        placed = np.diff(mass_started(np.array([age, age + step])))[0]
        soon = math.log1p(step / (age + 10)) / math.log(1 + DAY / 10)
        expected = 0.375 * (soon + step / DAY / 2)
        assert placed == pytest.approx(expected, rel=1e-10)


def test_all_at_once_leaves_nothing():
    """With w_0 = 1 there is no later start."""
    assert mass_started(np.array([0, 9]), 1.0).tolist() == [1.0, 1.0]


@pytest.mark.parametrize(("age", "at_once"), [(-1, 0.5), (0, 0.0), (0, 1.5)])
def test_bad_arguments_are_refused(age, at_once):
    """A negative age, and a share that is none."""
    with pytest.raises(ValueError, match=r"must be .*got"):
        mass_started(np.array([age]), at_once)
