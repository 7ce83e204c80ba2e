"""What a decision rests on, taken out of the windows."""

import math

import msgspec
import numpy as np
import pytest

from guard.cohort import Cohort, Role
from guard.evidence import Witness, cohort_evidence, error_interval, finite, latency_of
from guard.judge import Judge
from guard.limit import Limit, Measure, Metric
from guard.pane import ERRORS, REQUESTS, STATUS
from guard.policy import Policy
from guard.register import NOBODY, Register
from guard.rules import View
from guard.tally import COLUMNS, LATE, CohortRows
from guard.verdict import Action, Severity
from models.proportion import Proportion
from models.quantile import Sketch, bucket_of
from models.window import Window

START = 1_700_000_000
VIEW = View(60)


def windows():
    """Row 1: 10 requests in each of two seconds; 3 fail, 2 come late."""
    made = Window((60,), COLUMNS, (60,))
    made.grow(4)
    counts = np.zeros((1, COLUMNS), np.int64)
    for second, failed, late in ((0, 1, 0), (5, 2, 2)):
        counts[0, :] = 0
        counts[0, [REQUESTS, ERRORS, LATE]] = 10, failed, late
        counts[0, [STATUS + 2, STATUS + 5]] = 10 - failed, failed
        buckets = bucket_of(np.linspace(100.0, 200.0, 10))
        at = np.ones(10, np.int64)
        made.push(START + second, np.array([1]), counts, at, buckets, at)
    return made


def test_a_cohort_is_summed_up():
    """Counts, status, seconds and the whole sketch."""
    found = cohort_evidence(windows(), 1, VIEW, START - 54, "v2")
    assert (found.version, found.requests, found.errors, found.late) == ("v2", 20, 3, 2)
    assert found.error_ratio == 0.15
    assert found.status == {"2xx": 17, "5xx": 3}
    assert found.seconds == [(54, 10, 1), (59, 10, 2)]
    assert sum(count for _, count in found.buckets) == 20
    assert found.latency_ms == latency_of(found.buckets)


def test_nobody_did_nothing():
    """And that is no zero where a ratio would stand."""
    for row in (NOBODY, 2):
        found = cohort_evidence(windows(), row, VIEW, START, None)
        assert (found.requests, found.error_ratio, found.latency_ms) == (0, None, None)
        assert (found.error_interval, found.seconds, found.buckets) == (None, [], [])


def test_the_interval_is_wilsons_of_the_errors():
    """Of the errors, not of the good ones; none without requests."""
    proportion = Proportion()
    proportion.update(good=3, valid=20)
    assert error_interval(20, 3) == pytest.approx(proportion.wilson_interval())
    assert error_interval(0, 0) is None


@pytest.mark.parametrize("count", [1, 10, 58, 100, 9_999, 10_000])
def test_a_quantile_has_an_interval_that_json_can_hold(count):
    """An end that does not exist is none; none at all where requests are many."""
    sketch = Sketch()
    sketch.update(np.linspace(1.0, 100.0, count))
    latency = latency_of(sketch.entries())
    assert (latency.p50, latency.p99) == (sketch.quantile(0.5), sketch.quantile(0.99))
    assert (latency.p95_interval is None) == (count >= 10_000)
    if latency.p95_interval:
        low, high = sketch.interval(0.95)
        assert latency.p95_interval == (low, None if math.isinf(high) else high)
        assert (high == math.inf) == (count < 72)
    assert (
        msgspec.json.decode(msgspec.json.encode(latency), type=type(latency)) == latency
    )
    assert latency_of([]) is None


def test_json_has_no_nan():
    """Where there is no number, there is none."""
    assert [finite(x) for x in (1.5, math.nan, math.inf)] == [1.5, None, None]


def test_a_witness_reads_both_sides_of_a_view():
    """Critical ones from rows of their own; nobody's where there are none."""
    rows, register = CohortRows(), Register()
    canary = Cohort("cart", Role.CANARY, "v2")
    assert rows[canary] == 1
    register.enter(canary, rows, START)
    beside = Limit(
        severity=Severity.CRITICAL,
        action=Action.ROLLBACK,
        against="baseline",
        times=2.0,
        critical_endpoints=True,
    )
    plain = Limit(severity=Severity.WARNING, action=Action.HOLD, bound=0.1)
    errors = Metric(
        name="error_ratio", measure=Measure.ERROR_RATIO, limits=(plain, beside)
    )
    judge = Judge(Policy(name="p", metrics=(errors,)), "canary")
    judge.grow(register.size)
    witness = Witness(windows(), register, judge)
    everything = witness.sides(VIEW, np.array([0]))
    assert everything.canary.counts[0, REQUESTS] == 20
    assert everything.baseline.counts[0, REQUESTS] == 0
    critical = View(60, is_critical=True)
    assert witness.sides(critical, np.array([0])).canary.counts.sum() == 0
    seen = witness.view(0, VIEW, START + 5)
    assert (seen.canary.version, seen.baseline.version) == ("v2", None)
    assert (seen.start, seen.end) == ("2023-11-14T22:12:26Z", "2023-11-14T22:13:26Z")
    judge._clocks[4, 0] = 1
    relative, absolute = witness.reasons(0, START + 5)
    assert (relative.bound, relative.beside, relative.reading) == (None, None, None)
    assert (relative.times, relative.plus, relative.requests) == (2.0, 0.0, 0)
    assert (absolute.reading, absolute.bound, absolute.plus) == (0.15, 0.1, None)
