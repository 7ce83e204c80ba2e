"""When a rule stands: its truth, sustain, gaps, and the way back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard.blindness import HOLD as BLIND_HOLD
from guard.blindness import Lag, Silence
from guard.judge import Judge, Sight
from guard.limit import Limit, Measure, Metric
from guard.pane import ERRORS, REQUESTS
from guard.policy import Policy
from guard.rules import Side, Sides, View, decode
from guard.tally import COLUMNS
from guard.verdict import Action, Severity, Verdict
from models.quantile import BUCKETS, bucket_of

WARNING, CRITICAL = Severity.WARNING, Severity.CRITICAL
HOLD, EVALUATE, ROLLBACK = Action.HOLD, Action.EVALUATE, Action.ROLLBACK


def limit(severity=CRITICAL, action=ROLLBACK, bound=0.1, **words):
    return Limit(severity=severity, action=action, bound=bound, **words)


def metric(name, *limits, least=100):
    measure = Measure.LATENCY if name == "latency_p95" else Measure(name)
    quantile = 0.95 if name == "latency_p95" else None
    return Metric(
        name=name,
        measure=measure,
        quantile=quantile,
        limits=limits,
        least_requests=least,
    )


def policy_of(*metrics, **words):
    short = {"gap_seconds": 3, "clear_after_seconds": 4, "hold_after_seconds": 50}
    return Policy(name="p", metrics=metrics, **{**short, **words})


def errors(*limits, **words):
    return policy_of(metric("error_ratio", *limits), **words)


def sides(judge, canary, baseline=(1000, 0, 1.0)):
    """Requests, errors and latency of both; every view shows the same."""
    made = []
    for requests, failed, latency in (canary, baseline):
        sums = np.zeros((1, COLUMNS), np.int64)
        sums[0, [REQUESTS, ERRORS]] = requests, failed
        sketches = np.zeros((1, BUCKETS), np.int64)
        sketches[0, bucket_of(np.array([latency]))] = requests
        made.append(Side(sums, sketches, np.zeros(1, np.int64)))
    return dict.fromkeys(judge.views, Sides(*made))


class Court:
    """One rollout before a judge, a second after another."""

    def __init__(self, policy, stage="canary"):
        self.judge = Judge(policy, stage)
        self.judge.grow(1)
        self.second = 1_700_000_000

    def sees(self, canary, baseline=(1000, 0, 1.0), *, now=10):
        self.second += 1
        views = sides(self.judge, canary, baseline)
        none, nothing = np.array([0]), np.array([0.0])
        silence = Silence(none, np.array([1000]), nothing, none, nothing)
        lag = Lag(none, none, none == 0)
        sight = Sight(self.second, views, np.array([now]), none, silence, lag)
        return int(self.judge.judge(np.array([0]), sight)[0])

    def wants(self, *seen, **words):
        return [decode(self.sees(one, **words))[0] for one in seen]


OVER, WITHIN, ON, FEW = (
    (1000, 101, 1.0),
    (1000, 0, 1.0),
    (1000, 100, 1.0),
    (99, 99, 1.0),
)


@pytest.mark.parametrize(
    ("name", "words", "over", "within"),
    [
        ("error_ratio", {"bound": 0.1}, (1000, 101, 1.0), (1000, 100, 1.0)),
        (
            "success_ratio",
            {"bound": 0.9, "over": False},
            (1000, 101, 1.0),
            (1000, 100, 1.0),
        ),
        ("latency_p95", {"bound": 500.0}, (1000, 0, 520.0), (1000, 0, 480.0)),
        (
            "error_ratio",
            {"against": "baseline", "times": 2.0, "plus": 0.01},
            (1000, 51, 1.0),
            (1000, 50, 1.0),
        ),
        (
            "success_ratio",
            {"against": "baseline", "over": False, "plus": 0.01},
            (1000, 31, 1.0),
            (1000, 30, 1.0),
        ),
        (
            "latency_p95",
            {"against": "baseline", "times": 2.0},
            (1000, 0, 620.0),
            (1000, 0, 580.0),
        ),
        ("error_ratio", {"bound": 0.9, "in_stage": {"canary": 0.1}}, OVER, ON),
    ],
)
def test_a_rule_is_broken_beyond_its_bound(name, words, over, within):
    """On the bound is not beyond it."""
    policy = policy_of(metric(name, limit(**words)))
    baseline = (1000, 20, 300.0)
    assert Court(policy).sees(over, baseline) == judge_code(policy)
    assert Court(policy).sees(within, baseline) == 0


def judge_code(policy):
    return Judge(policy, "canary").rules[0].code


@pytest.mark.parametrize("sustain", [0, 1, 2, 5])
def test_a_breach_stands_once_it_was_held(sustain):
    """At once without sustain; else in the last second of it."""
    court = Court(errors(limit(sustain_seconds=sustain)))
    quiet = max(1, sustain) - 1
    assert court.wants(*[OVER] * quiet) == [Action.CLEAR] * quiet
    assert court.wants(OVER) == [ROLLBACK]


def test_a_second_within_begins_anew():
    """Sustained is without a break."""
    court = Court(errors(limit(sustain_seconds=3)))
    assert ROLLBACK not in court.wants(OVER, OVER, WITHIN, OVER, OVER)
    assert court.wants(OVER) == [ROLLBACK]


@pytest.mark.parametrize(
    ("gap", "is_bridged"), [(0, True), (1, True), (3, True), (4, False)]
)
@pytest.mark.parametrize("is_silent", [True, False])
def test_a_gap_stops_the_clock_then_resets_it(gap, is_bridged, is_silent):
    """Seconds without requests, or with too few, up to the policy's three."""
    court = Court(errors(limit(sustain_seconds=3)))
    court.wants(OVER, OVER)
    for _ in range(gap):
        court.sees(WITHIN if is_silent else FEW, now=0 if is_silent else 10)
    assert court.wants(OVER) == [ROLLBACK if is_bridged else Action.CLEAR]


def test_without_any_gap_allowed_seconds_in_a_row_still_count():
    """A gap of 0 is between neighbours no gap at all."""
    court = Court(errors(limit(sustain_seconds=3), gap_seconds=0))
    assert court.wants(OVER, OVER, OVER)[-1] is ROLLBACK
    court.sees(FEW)
    assert court.judge.breach(0, 0, court.second).held == 0
    assert court.judge.breach(0, 0, court.second - 1).held == 3


def test_it_stands_until_it_was_kept_for_the_clear_time():
    """Four seconds within; one over begins them anew, and a gap resets them."""
    court = Court(errors(limit(sustain_seconds=2)))
    court.wants(OVER, OVER)
    assert court.wants(WITHIN, WITHIN, WITHIN, OVER) == [ROLLBACK] * 4
    assert court.wants(WITHIN, WITHIN, WITHIN) == [ROLLBACK] * 3
    for _ in range(4):
        assert decode(court.sees(FEW))[0] is ROLLBACK
    assert court.wants(*[WITHIN] * 4) == [*[ROLLBACK] * 3, Action.CLEAR]


def test_the_gravest_rule_speaks():
    """And the breach of each can be read, in the order of gravity."""
    court = Court(
        errors(
            limit(WARNING, HOLD, 0.01),
            limit(CRITICAL, EVALUATE, 0.05, sustain_seconds=2),
            limit(CRITICAL, ROLLBACK, 0.5),
        )
    )
    assert court.wants(OVER, OVER) == [HOLD, EVALUATE]
    assert court.judge.standing(0) == [1, 0]
    assert court.judge.verdict(0) is Verdict.CRITICAL
    court.sees((1000, 60, 1.0))
    breach = court.judge.breach(0, 0, court.second)
    assert breach == (3, court.second - 2, (0.06, 0.01), 0, court.second)
    assert court.judge.breach(0, 0, court.second + 3).held == 3
    assert court.judge.breach(0, 0, court.second + 4).held == 0


def test_without_rules_only_blindness_speaks():
    """A stage may have no limit at all."""
    court = Court(errors(limit(stages=("full",)), hold_after_seconds=2))
    assert court.judge.rules == ()
    assert [court.sees(FEW), court.sees(FEW)] == [0, BLIND_HOLD]
    assert court.judge.plight(0) is not None
    assert court.judge.verdict(0) is Verdict.INCONCLUSIVE


def test_a_verdict_is_of_this_instant():
    """No data is never a pass; a breach is as grave as the gravest rule."""
    court = Court(errors(limit(WARNING, HOLD, 0.05), hold_after_seconds=1))
    assert court.judge.verdict(0) is Verdict.INCONCLUSIVE
    court.sees(WITHIN)
    assert court.judge.verdict(0) is Verdict.PASS
    court.sees(FEW)
    assert court.judge.verdict(0) is Verdict.INCONCLUSIVE
    court.sees(WITHIN)
    assert court.judge.verdict(0) is Verdict.INCONCLUSIVE
    court.sees(OVER)
    assert court.judge.verdict(0) is Verdict.WARNING


def test_a_limit_against_the_baseline_needs_one():
    """Too few requests of it, or none, and the rule is not judged."""
    court = Court(errors(limit(against="baseline", times=2.0)))
    assert court.sees(OVER, (99, 0, 1.0)) == court.sees(OVER, (0, 0, 1.0)) == 0
    assert court.sees(OVER, (100, 0, 1.0)) == judge_code(court.judge.policy)


def test_a_critical_view_is_a_view_of_its_own():
    """Judged by its own counts."""
    policy = errors(limit(critical_endpoints=True), limit(WARNING, HOLD, 0.01))
    judge = Judge(policy, "canary")
    assert judge.views == (View(60), View(60, is_critical=True))
    assert [gauge.view for gauge in judge._gauges] == [
        View(60, is_critical=True),
        View(60),
    ]


def test_a_forgotten_row_begins_anew():
    """Also after a snapshot; and room is made without touching anything."""
    court = Court(errors(limit()))
    court.wants(OVER)
    judge = Judge(court.judge.policy, "canary")
    judge.restore(court.judge.state())
    assert judge.state() == court.judge.state()
    assert judge.standing(0) == [0]
    judge.grow(3)
    judge.grow(1)
    assert (judge.standing(0), judge.standing(2)) == ([0], [])
    judge.forget(0)
    fresh = Judge(judge.policy, "canary")
    fresh.grow(3)
    assert judge.state() == fresh.state()


@given(
    st.lists(
        st.tuples(st.booleans(), st.booleans(), st.sampled_from([OVER, WITHIN, FEW])),
        max_size=60,
    )
)
def test_many_at_once_are_judged_as_each_alone(seconds):
    """The rows of a second do not see each other."""
    policy = errors(
        limit(sustain_seconds=2), limit(WARNING, HOLD, 0.01, sustain_seconds=1)
    )
    alone, together = Court(policy), Judge(policy, "canary")
    together.grow(8)
    for is_there, is_other_there, seen in seconds:
        wanted = alone.sees(seen, now=int(is_there))
        pair = [sides(together, one)[View(60)] for one in (seen, OVER)]
        views = {View(60): Sides(*(_joined([p[i] for p in pair]) for i in range(2)))}
        none, nothing = np.zeros(2, int), np.zeros(2)
        silence = Silence(none, np.ones(2, int), nothing, none, nothing)
        now = np.array([is_there, is_other_there], np.int64)
        lag = Lag(none, none, none == 0)
        sight = Sight(alone.second, views, now, none, silence, lag)
        assert wanted == together.judge(np.array([5, 2]), sight)[0]
        for number in range(2):
            breach = alone.judge.breach(0, number, alone.second)
            assert breach == together.breach(5, number, alone.second)


def _joined(parts):
    counts = np.concatenate([part.counts for part in parts])
    sketches = np.concatenate([part._sketches for part in parts])
    return Side(counts, sketches, np.arange(len(parts)))
