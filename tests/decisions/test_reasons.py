"""Reasons for what cannot be judged: the numbers, and what they ask for."""

import pytest

from guard.blindness import Blind, Hush, Plight
from guard.decision import SplitEvidence
from guard.policy import Policy
from guard.reasons import Seen, Told, late_share, of_blindness, of_clear

POLICY = Policy(name="p", metrics=(), late_share_limit=0.02, weight=0.25)
SPLIT = SplitEvidence(weight=0.25, canary=30, requests=240, blocks=9, log_evidence=4.7)
CANARY, BASELINE = Told(90, 10, 3.25), Told(180, 20, 0.5)
SEEN = Seen(CANARY, BASELINE, 1_700_000_000, Hush(25, 44.0, 21, 99.0), SPLIT)
ALL = Blind(255)


def reasons(why, now):
    return of_blindness(Plight(why, now, 70, 5), POLICY, SEEN)


def test_the_gravest_comes_first():
    """A silence is evaluated; the rest is held."""
    found = reasons(ALL, ALL)
    rules = ["canary_silent", "no_baseline", "little_traffic", "telemetry_silent"]
    rules += ["late_telemetry", "late_baseline", "sample_ratio", "clock_skew"]
    assert [reason.rule for reason in found] == rules
    asked = [(reason.action, reason.severity) for reason in found]
    assert asked == [("evaluate", "critical"), *[("hold", "warning")] * 7]


@pytest.mark.parametrize(
    ("why", "numbers"),
    [
        (
            Blind.CANARY_SILENT,
            {"reading": 44.0, "bound": 30.0, "held_seconds": 25, "sustain_seconds": 20},
        ),
        (
            Blind.NO_BASELINE,
            {"requests": 90, "held_seconds": 70, "since": "2023-11-14T22:13:21Z"},
        ),
        (
            Blind.TELEMETRY_SILENT,
            {"reading": 99.0, "bound": 30.0, "held_seconds": 21, "sustain_seconds": 20},
        ),
        (Blind.BASELINE_LATE, {"reading": 0.1, "bound": 0.02, "requests": 200}),
        (Blind.SAMPLE_RATIO, {"reading": 0.125, "bound": 0.25, "requests": 240}),
        (
            Blind.LITTLE_TRAFFIC,
            {"requests": 90, "least_requests": 100, "held_seconds": 70},
        ),
        (Blind.LATE, {"reading": 0.1, "bound": 0.02, "requests": 100}),
        (
            Blind.CLOCK_SKEW,  # the canary's 90 requests are too few to say anything
            {"reading": None, "beside": 0.5, "bound": 2.0, "requests": 90},
        ),
    ],
)
def test_a_reason_has_its_numbers_while_it_is_so(why, numbers):
    """After that, for how long it can be judged again."""
    (now,) = reasons(why, why)
    assert {name: getattr(now, name) for name in numbers} == numbers
    assert (now.kept_seconds, now.window_seconds) == (None, 60)
    (before,) = reasons(why, Blind.NOTHING)
    assert (before.kept_seconds, before.clear_seconds) == (5, 60)
    assert (before.reading, before.held_seconds, before.rule) == (None, None, now.rule)


def test_the_share_of_nothing_is_nothing():
    """No request, none late."""
    assert (late_share(90, 10), late_share(0, 0)) == (0.1, 0.0)


def test_a_clear_asks_for_nothing():
    """It only says for how long everything was kept."""
    clear = of_clear(POLICY)
    assert (clear.rule, clear.action, clear.clear_seconds) == ("clear", "clear", 60)
