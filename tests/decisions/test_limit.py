"""A limit: where it applies, its bound, which side is worse."""

import math

import pytest

from guard.limit import Limit
from guard.verdict import Action, Severity


def limit(**fields):
    return Limit(severity=Severity.WARNING, action=Action.HOLD, **fields)


def test_no_stage_named_is_every_stage():
    """A limit applies everywhere unless it names its stages."""
    assert limit().applies_in("full")
    assert limit(stages=("canary",)).applies_in("canary")
    assert not limit(stages=("canary",)).applies_in("full")


def test_a_stages_own_bound_wins():
    """The general bound is for the stages without their own."""
    warning = limit(bound=0.002, in_stage={"canary": 0.0015})
    assert warning.bound_in("canary") == 0.0015
    assert warning.bound_in("partial") == 0.002


@pytest.mark.parametrize(
    ("fields", "baseline", "expected"),
    [
        ({"times": 2.0, "plus": 0.005}, 0.01, 0.025),
        ({"plus": 0.25, "over": False}, 1.0, 0.75),
    ],
)
def test_the_baseline_sets_the_bound(fields, baseline, expected):
    """Over is worse: times and plus; below is worse: less the margin."""
    assert limit(against="baseline", **fields).bound_beside(baseline) == expected


def test_the_wrong_kind_of_bound_is_refused():
    """A bound that is not there must not read as 0."""
    with pytest.raises(ValueError, match="no absolute bound"):
        limit(against="baseline", times=2.0).bound_in("canary")
    with pytest.raises(ValueError, match="does not look at the baseline"):
        limit(bound=0.1).bound_beside(0.5)


def test_on_the_bound_is_within():
    """A limit is broken beyond its bound, on its own side."""
    above, below = limit(bound=0.5), limit(bound=0.5, over=False)
    readings = (0.4, 0.5, 0.6)
    assert [above.is_broken_by(x, 0.5) for x in readings] == [False, False, True]
    assert [below.is_broken_by(x, 0.5) for x in readings] == [True, False, False]


@pytest.mark.parametrize("number", [math.nan, math.inf])
@pytest.mark.parametrize("field", ["bound", "times", "plus"])
def test_a_limit_holds_finite_numbers_only(field, number):
    """NaN would compare as not broken, for ever."""
    with pytest.raises(ValueError, match="must be finite"):
        limit(**{field: number})
    with pytest.raises(ValueError, match="must be finite"):
        limit(in_stage={"canary": number})
