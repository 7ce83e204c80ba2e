"""When a rollout cannot be judged, at once or after a while, and the way back."""

import msgspec
import numpy as np
import pytest

from guard.blindness import (
    EVALUATE,
    HOLD,
    Blind,
    Blindness,
    Lag,
    Plight,
    Silence,
    Split,
)
from guard.pane import NO_DELAY, REQUESTS
from guard.policy import Policy
from guard.rules import Side, Sides
from guard.tally import COLUMNS, LATE
from models.quantile import BUCKETS

POLICY = Policy(
    name="p",
    metrics=(),
    least_requests=100,
    hold_after_seconds=3,
    clear_after_seconds=4,
    silent_after_seconds=20,
    silent_least_expected=30,
    late_share_limit=0.01,
)
NOBODY_SILENT = (0, 1000, 0.0, 0, 0.0)


def side(requests, late=0):
    sums = np.zeros((1, COLUMNS), np.int64)
    sums[0, [REQUESTS, LATE]] = requests, late
    return Side(sums, np.zeros((1, BUCKETS), np.int64), np.zeros(1, np.int64))


class Looking:
    """One rollout, looked at a second after another."""

    def __init__(self, policy=POLICY):
        self.blindness = Blindness(policy)
        self.blindness.grow(1)
        self.second = 0

    def at(self, canary, beside, silence=NOBODY_SILENT, **words):
        self.second += 1
        late, late_beside = words.get("late", 0), words.get("late_beside", 0)
        split = words.get("split", (1, 9))
        main = Sides(side(canary, late), side(beside, late_beside))
        silent = Silence(*(np.array([number]) for number in silence))
        now = Split(self.second, *(np.array([requests]) for requests in split))
        lag = Lag(*(np.array([n]) for n in words.get("lag", (0, 0, True))))
        return int(self.blindness.look(np.array([0]), main, silent, now, lag)[0])

    @property
    def why(self):
        plight = self.blindness.plight(0)
        return plight and (plight.why, plight.now)


@pytest.mark.parametrize(
    ("canary", "beside", "why"),
    [
        (99, 1000, Blind.LITTLE_TRAFFIC),
        (1000, 99, Blind.LITTLE_TRAFFIC),
        (1000, 0, Blind.NO_BASELINE),
        (0, 0, Blind.NO_BASELINE | Blind.LITTLE_TRAFFIC),
    ],
)
def test_what_cannot_be_judged_for_long_is_held(canary, beside, why):
    """In the third second, and not before."""
    looking = Looking()
    assert [looking.at(canary, beside) for _ in range(3)] == [0, 0, HOLD]
    assert looking.blindness.plight(0) == Plight(why, why, 3, 0)


def test_a_second_of_sight_begins_anew():
    """Enough of both is enough."""
    looking = Looking()
    for seen in (99, 99, 100, 99, 99):
        assert looking.at(seen, 100) == 0
    assert looking.why is None


def test_it_must_be_seen_for_the_clear_time():
    """Four seconds without a break; until then it says what it was."""
    looking = Looking()
    for _ in range(3):
        looking.at(0, 1000)
    assert [looking.at(100, 100) for _ in range(3)] == [HOLD] * 3
    assert looking.why == (Blind.LITTLE_TRAFFIC, Blind.NOTHING)
    assert not looking.blindness.is_seen(0)
    assert looking.at(99, 100) == HOLD
    assert [looking.at(100, 100) for _ in range(4)] == [HOLD, HOLD, HOLD, 0]
    assert looking.blindness.is_seen(0)


@pytest.mark.parametrize(
    ("silence", "expected"),
    [
        ((20, 50, 30.0), EVALUATE),
        ((19, 50, 30.0), 0),
        ((20, 49, 30.0), 0),
        ((20, 50, 29.9), 0),
    ],
)
def test_a_silence_is_evaluated_at_once(silence, expected):
    """Long enough, of one that was seen, where so many were promised."""
    assert Looking().at(100, 1000, (*silence, 0, 0.0)) == expected
    seconds, seen, promised = silence
    all_of_it = Looking().at(100, 1000, (seconds, seen, 0.0, seconds, promised))
    assert all_of_it == (HOLD if expected else 0)


def test_a_silence_of_both_is_not_that_of_the_canary():
    """It says so, and is trusted again after the clear time."""
    looking = Looking()
    assert looking.at(100, 1000, (25, 50, 0.0, 20, 30.0)) == HOLD
    assert looking.why == (Blind.TELEMETRY_SILENT, Blind.TELEMETRY_SILENT)
    assert [looking.at(100, 100) for _ in range(4)] == [HOLD, HOLD, HOLD, 0]


def test_a_silence_stays_the_reason_until_trust_is_back():
    """Also where there is too little traffic by then."""
    looking = Looking()
    looking.at(100, 1000, (20, 50, 30.0, 0, 0.0))
    assert looking.at(0, 1000) == EVALUATE
    both = Blind.CANARY_SILENT | Blind.LITTLE_TRAFFIC
    assert looking.why == (both, Blind.LITTLE_TRAFFIC)
    assert [looking.at(100, 100) for _ in range(4)] == [EVALUATE] * 3 + [0]
    looking.at(0, 1000)
    looking.at(0, 1000)
    looking.at(0, 1000)
    assert looking.why == (Blind.LITTLE_TRAFFIC, Blind.LITTLE_TRAFFIC)


@pytest.mark.parametrize(
    ("requests", "late", "expected"),
    [(990, 10, 0), (989, 11, HOLD), (90, 9, 0), (90, 10, HOLD)],
)
def test_late_telemetry_is_held_at_once(requests, late, expected):
    """More than the share, of enough requests."""
    assert Looking().at(requests, 1000, late=late) == expected
    looking = Looking()
    assert looking.at(1000, requests, late_beside=late) == expected
    assert (looking.why is None) == (not expected)
    assert not expected or Blind.BASELINE_LATE in looking.why[1]


def test_a_share_that_does_not_fit_is_held_until_the_weight_changes():
    """Whatever comes after; without a weight nobody looks."""
    policy = msgspec.structs.replace(POLICY, weight=0.1)
    looking = Looking(policy)
    assert [looking.at(100, 900, split=(1, 9)) for _ in range(600)] == [0] * 600
    looking = Looking(policy)
    wanted = [looking.at(500, 500, split=(5, 5)) for _ in range(60)]
    assert wanted[0] == 0
    assert wanted[-1] == HOLD
    assert looking.at(100, 900) == HOLD
    assert looking.why == (Blind.SAMPLE_RATIO, Blind.SAMPLE_RATIO)
    assert looking.blindness.mismatch(0).counts(0)[2] >= 6
    assert Looking().blindness.mismatch(0) is None
    again = Blindness(policy)
    again.restore(looking.blindness.state())
    assert again.state() == looking.blindness.state()
    again.forget(0)
    assert again.mismatch(0) is None
    assert [Looking().at(500, 500, split=(5, 5)) for _ in range(60)] == [0] * 60


@pytest.mark.parametrize(
    ("lag", "expected"),
    [
        ((2000, 0, True), 0),
        ((2001, 0, True), HOLD),
        ((0, 2001, True), HOLD),
        ((30_000, 29_000, True), 0),
        ((1500, -501, True), HOLD),
        ((2001, 0, False), 0),
        ((NO_DELAY, 0, False), 0),
        ((-2000, 0, False), 0),
        ((-2001, 0, False), HOLD),
        ((-2001, -2001, True), HOLD),
        ((NO_DELAY, -2001, False), HOLD),
    ],
)
def test_clocks_that_are_apart_are_held_at_once(lag, expected):
    """From each other, or ahead of Kafka's; then trusted again after the clear time."""
    looking = Looking()
    assert looking.at(100, 100, lag=lag) == expected
    assert (looking.why is None) == (not expected)
    assert not expected or looking.why[1] == Blind.CLOCK_SKEW
    kept = [HOLD] * 3 if expected else [0] * 3
    assert [looking.at(100, 100) for _ in range(4)] == [*kept, 0]


def test_clocks_of_few_requests_say_nothing():
    """One that is ahead needs enough of its own, two that are apart of both."""
    limit = Blind.CLOCK_SKEW
    for canary, beside, lag in (
        (99, 100, (2001, 0, True)),
        (100, 99, (2001, 0, True)),
        (99, 100, (-2001, 0, True)),
        (100, 99, (0, -2001, True)),
    ):
        looking = Looking()
        for _ in range(3):
            looking.at(canary, beside, lag=lag)
        assert looking.why[1] == Blind.LITTLE_TRAFFIC
    for canary, beside, lag in (
        (100, 99, (-2001, 0, True)),
        (99, 100, (0, -2001, True)),
    ):
        looking = Looking()
        assert looking.at(canary, beside, lag=lag) == HOLD
        assert looking.why[1] == Blind.LITTLE_TRAFFIC | limit


def test_distrust_holds_from_now_on():
    """And takes nothing back from what is graver."""
    looking = Looking()
    for _ in range(9):
        looking.at(100, 100)
    looking.blindness.distrust(0)
    assert [looking.at(100, 100) for _ in range(4)] == [HOLD] * 3 + [0]
    looking.at(100, 1000, (20, 50, 30.0, 0, 0.0))
    looking.blindness.distrust(0)
    assert looking.at(100, 100) == EVALUATE


def test_rows_are_forgotten_and_kept():
    """A snapshot holds every clock; a forgotten row none."""
    looking = Looking()
    looking.blindness.grow(2)
    assert looking.blindness.rows == 3
    looking.at(0, 0)
    again = Blindness(POLICY)
    again.restore(looking.blindness.state())
    assert again.state() == looking.blindness.state()
    again.forget(0)
    empty = Blindness(POLICY)
    empty.grow(3)
    assert again.state() == empty.state()
