"""Who was seen when, and which share it had."""

import numpy as np
import pytest

from guard.pane import FOREVER
from guard.presence import Presence

NONE = np.zeros(0, np.int64)


def rows(*numbers):
    return np.array(numbers, np.int64)


def seen(presence, second, **requests):
    at = rows(*(int(name[1:]) for name in requests))
    return presence.note(second, at, rows(*requests.values())).tolist()


def made(size=8):
    presence = Presence()
    presence.grow(size)
    return presence


def test_a_row_is_new_once():
    """Until it is forgotten."""
    presence = made()
    assert seen(presence, 100, r1=5, r2=5) == [1, 2]
    assert seen(presence, 101, r1=5, r3=5) == [3]
    assert (presence.since(1), presence.since(3), presence.since(7)) == (100, 101, 0)
    presence.forget(rows(1))
    assert seen(presence, 102, r1=5) == [1]
    assert presence.since(1) == 102


def test_stale_rows_are_those_not_seen_since():
    """A reserved row is as if it were seen then; the oldest is told but for some."""
    presence = made()
    assert presence.oldest(NONE) == FOREVER
    seen(presence, 100, r1=5, r2=5)
    seen(presence, 110, r2=5)
    presence.reserve(105, rows(2, 3))
    assert presence.stale(104).tolist() == [1]
    assert presence.stale(105).tolist() == [1, 3]
    assert (presence.oldest(NONE), presence.oldest(rows(1))) == (100, 105)
    assert presence.since(3) == 0


@pytest.mark.parametrize("age", [1, 20, 300, 3000])
def test_the_share_is_right_from_the_start(age):
    """A canary that came late has its share, however young it is."""
    presence = made()
    for second in range(6000):
        requests = {"r1": 90} | ({"r2": 10} if second >= 6000 - age else {})
        seen(presence, 1000 + second, **requests)
    share = presence.share(6999, rows(2), rows(1))
    assert share[0] == pytest.approx(10 / 90, rel=0.003)
    seen(presence, 7060, r1=90)
    later = presence.share(7060, rows(2), rows(1))
    assert later[0] == pytest.approx(10 / 80, rel=0.05)


def test_a_silence_of_days_promises_nothing_that_is_no_number():
    """The rate has faded to 0 by then."""
    presence = made()
    seen(presence, 1000, r1=90, r2=10)
    seen(presence, 1000 + 3_000_000, r1=90)
    assert presence.share(3_001_000, rows(2), rows(1)).tolist() == [0.0]


def test_a_snapshot_holds_everything():
    """Bit for bit, and grown by the same steps."""
    presence = made(3)
    seen(presence, 100, r1=5, r2=7)
    again = Presence.from_state(presence.state())
    assert again.state() == presence.state()
    for one in (presence, again):
        one.grow(4)
        one.grow(2)
        seen(one, 101, r3=1)
    assert again.state() == presence.state()
    assert again.share(101, rows(2), rows(1)) == presence.share(101, rows(2), rows(1))


def test_the_past_promises_nothing_of_who_was_never_seen():
    """Nor has that one a last second, reserved or not."""
    presence, rows = Presence(), np.arange(3)
    presence.grow(3)
    presence.reserve(5, rows[:1])
    assert presence.promised(9, rows).tolist() == [0.0, 0.0, 0.0]
    for second in range(10, 20):
        presence.note(second, rows[1:2], np.array([7]))
    promised = presence.promised(40, rows)
    assert promised[[0, 2]].tolist() == [0.0, 0.0]
    assert promised[1] == pytest.approx(7, rel=0.01)
    assert [presence.last(row) for row in range(3)] == [None, 19, None]
