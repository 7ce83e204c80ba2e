"""What dashboards see: every rollout's windows, and how near it is to its limits."""

import math
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest

from guard.engine import Engine
from guard.limit import Limit
from guard.pane import FOREVER, Panes
from guard.reading import _nearness, behind_seconds, readings
from guard.verdict import Action, Severity, Verdict

sys.path.insert(0, str(Path(__file__).parent.parent / "replay"))

from rollouts import START, Event, Sources, limit, metric, policy_of

POLICY = policy_of(
    metric(
        "error_ratio",
        limit(Severity.WARNING, Action.HOLD, 0.1),
        limit(Severity.CRITICAL, Action.ROLLBACK, 0.5),
        Limit(
            severity=Severity.CRITICAL,
            action=Action.EVALUATE,
            against="baseline",
            times=4.0,
        ),
        limit(Severity.CRITICAL, Action.EVALUATE, 0.5, critical_endpoints=True),
    ),
    metric("latency_p95", limit(Severity.WARNING, Action.HOLD, 200.0)),
    metric("success_ratio", limit(Severity.WARNING, Action.HOLD, 0.6, over=False)),
)


def test_the_source_that_holds_all_up_is_shown():
    """How far each is behind; who has said nothing, or has ended, is not."""
    engine = Engine(POLICY)
    assert behind_seconds(engine) == {}
    both = {"t": 3}
    for partition, to in enumerate((START + 50, START + 8)):
        message = Panes(topic="t", partition=partition, sources=both, block_size=9,
                        block=0, start=0, to=to)  # fmt: skip
        engine.apply(partition, message)
    assert behind_seconds(engine) == {("t", 0): 0, ("t", 1): 42}
    end = msgspec.structs.replace(message, start=START + 8, to=FOREVER)
    engine.apply(9, end)
    assert behind_seconds(engine) == {("t", 0): 0}


def test_before_the_first_second_there_is_nothing_to_read():
    """An engine without a rollout has no readings."""
    assert readings(Engine(POLICY)) == []


def test_a_reading_shows_both_sides_and_every_limit():
    """Beyond a limit is above 1; limits for critical endpoints are left out."""
    events = [
        Event(START + n, "s0", cohort, version, 100.0, is_error)
        for n in range(10)
        for cohort, version, errors in (("canary", "v2", 2), ("baseline", "v1", 1))
        for is_error in [True] * errors + [False] * (10 - errors)
    ]
    engine = Engine(POLICY)
    for offset, panes in enumerate(Sources(events).log()):
        engine.apply(offset, panes)
    (reading,) = readings(engine)
    assert (reading.service, reading.version, reading.state) == ("s0", "v2", "held")
    assert reading.verdict is Verdict.WARNING
    assert (reading.canary.requests, reading.canary.errors) == (100, 20)
    assert (reading.baseline.requests, reading.baseline.errors) == (100, 10)
    assert reading.canary.quantiles_ms.keys() == {"0.5", "0.95", "0.99"}
    ratios = [(one.metric, one.severity, one.ratio) for one in reading.limits]
    p95 = reading.canary.quantiles_ms["0.95"] / 200.0
    assert ratios == [
        ("error_ratio", "warning", 2.0),
        ("error_ratio", "critical", 0.4),
        ("error_ratio", "critical", 0.5),
        ("latency_p95", "warning", p95),
        ("success_ratio", "warning", pytest.approx(0.5)),
    ]


def test_who_has_no_requests_has_no_quantiles_and_no_limits():
    """Once the window is empty."""
    events = [
        *(Event(START + n, "s0", "canary", "v2", 1.0) for n in range(3)),
        *(Event(START + n, "s1", "canary", None, 1.0) for n in range(40)),
    ]
    events.sort(key=lambda event: event.second)
    engine = Engine(POLICY)
    for offset, panes in enumerate(Sources(events).log()):
        engine.apply(offset, panes)
    empty, alone = readings(engine)
    assert (empty.canary.requests, empty.canary.quantiles_ms) == (0, {})
    assert (empty.limits, alone.version) == ((), None)
    assert [one.ratio for one in alone.limits if one.metric == "error_ratio"] == [0, 0]


def test_nearness_is_1_at_the_limit():
    """Also at a limit of nothing; beyond that it is infinite."""
    reading, bound = np.array([0.0, 0.1, np.nan]), np.zeros(3)
    near = _nearness(reading, bound, is_over_worse=True)
    np.testing.assert_equal(near, [1.0, math.inf, math.nan])
    whole = _nearness(np.array([1.0, 0.9]), np.ones(2), is_over_worse=False)
    np.testing.assert_equal(whole, [1.0, math.inf])
