"""Reasons for what cannot be judged: the numbers, and what they ask for."""

import pytest

from guard.blindness import Blind, Plight
from guard.policy import Policy
from guard.reasons import Seen, late_share, of_blindness, of_clear

POLICY = Policy(name="p", metrics=(), late_share_limit=0.02)
SEEN = Seen(requests=90, late=10, silent_seconds=25, expected=44.0)
ALL = Blind.CANARY_SILENT | Blind.NO_BASELINE | Blind.LITTLE_TRAFFIC | Blind.LATE


def reasons(why, now):
    return of_blindness(Plight(why, now, 70, 5), POLICY, SEEN)


def test_the_gravest_comes_first():
    """A silence is evaluated; the rest is held."""
    found = reasons(ALL, ALL)
    rules = ["canary_silent", "no_baseline", "little_traffic", "late_telemetry"]
    assert [reason.rule for reason in found] == rules
    asked = [(reason.action, reason.severity) for reason in found]
    assert asked == [("evaluate", "critical"), *[("hold", "warning")] * 3]


@pytest.mark.parametrize(
    ("why", "numbers"),
    [
        (
            Blind.CANARY_SILENT,
            {"reading": 44.0, "bound": 30.0, "held_seconds": 25, "sustain_seconds": 20},
        ),
        (
            Blind.NO_BASELINE,
            {"requests": 90, "held_seconds": 70, "sustain_seconds": 60},
        ),
        (
            Blind.LITTLE_TRAFFIC,
            {"requests": 90, "least_requests": 100, "held_seconds": 70},
        ),
        (Blind.LATE, {"reading": 0.1, "bound": 0.02, "requests": 100}),
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
