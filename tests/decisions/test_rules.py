"""Limits as rules, and the readings of many rollouts at once."""

import numpy as np
import pytest

from guard.limit import Limit, Measure, Metric
from guard.policy import Policy
from guard.rules import Rule, Side, View, bound_of, decode, encode, read, rules_of
from guard.tally import COLUMNS
from guard.verdict import Action, Severity
from models.quantile import BUCKETS, Sketch, bucket_of


def metric(measure, *limits, quantile=None, window=60):
    return Metric(
        name=measure.value,
        measure=measure,
        quantile=quantile,
        limits=limits,
        window_seconds=window,
    )


HOLD = Limit(severity=Severity.WARNING, action=Action.HOLD, bound=0.1)


def test_codes_are_in_the_order_of_gravity():
    """The action first, then the severity; and they can be taken back."""
    pairs = [(a, s) for a in Action if a for s in Severity]
    codes = [encode(*pair) for pair in pairs]
    assert codes == sorted(codes)
    assert [decode(code) for code in codes] == pairs
    assert encode(Action.CLEAR, Severity.CRITICAL) == 0
    assert decode(0) == (Action.CLEAR, Severity.WARNING)


def test_rules_are_those_of_the_stage():
    """In the order of the policy; each looks through its own window."""
    critical = Limit(
        severity=Severity.CRITICAL,
        action=Action.ROLLBACK,
        critical_endpoints=True,
        stages=("full",),
    )
    errors = metric(Measure.ERROR_RATIO, HOLD, critical, window=30)
    policy = Policy(name="p", metrics=(errors,))
    assert rules_of(policy, "canary") == (Rule(errors, HOLD),)
    full = rules_of(policy, "full")
    assert [rule.view for rule in full] == [View(30), View(30, is_critical=True)]
    assert [decode(rule.code)[0] for rule in full] == [Action.HOLD, Action.ROLLBACK]


def side(rows):
    sums = np.zeros((4, COLUMNS), np.int64)
    sums[:, :2] = [[0, 0], [200, 3], [0, 0], [10, 10]]
    sketches = np.zeros((4, BUCKETS), np.int64)
    sketches[1, bucket_of(np.linspace(1.0, 200.0, 200))] += 1
    sketches[3, 500] = 10
    return Side(sums, sketches, np.array(rows))


def test_a_metric_is_read_where_it_is_asked_for():
    """NaN where there is no request; places are those of the rollouts."""
    seen = side([3, 2, 1])
    at = np.array([2, 1, 0])
    errors = read(metric(Measure.ERROR_RATIO), seen, at)
    np.testing.assert_equal(errors, [0.015, np.nan, 1.0])
    successes = read(metric(Measure.SUCCESS_RATIO), seen, at)
    np.testing.assert_equal(successes, [0.985, np.nan, 0.0])
    latencies = read(metric(Measure.LATENCY, quantile=0.5), seen, at)
    sketch = Sketch.from_entries([(500, 10)])
    assert latencies[2] == sketch.quantile(0.5)
    assert np.isnan(latencies[1])


@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 200])
def test_quantiles_are_gathered_some_at_a_time(count):
    """However many rollouts there are."""
    rows = np.arange(count) % 4
    found = side(rows).quantile(0.5, np.arange(count))
    one_by_one = [side([row]).quantile(0.5, np.array([0]))[0] for row in rows]
    np.testing.assert_equal(found, np.array(one_by_one))


def test_a_bound_is_the_stages_own_or_the_baselines():
    """One for every rollout."""
    limit = Limit(
        severity=Severity.WARNING,
        action=Action.HOLD,
        bound=0.002,
        in_stage={"canary": 0.0015},
    )
    beside = np.array([0.1, np.nan])
    assert bound_of(limit, "canary", beside).tolist() == [0.0015, 0.0015]
    relative = Limit(
        severity=Severity.WARNING,
        action=Action.HOLD,
        against="baseline",
        times=2.0,
        plus=0.1,
    )
    np.testing.assert_allclose(bound_of(relative, "canary", beside), [0.3, np.nan])
