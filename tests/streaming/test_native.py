"""The guard's own format: what is an event, what is several, what is none."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from streaming.fold_reference import parsed
from streaming.test_fold import RUBBISH, line

from guard.event import LARGEST_VALUE, Rejection
from guard.shell.inputs.native import decode

GOOD = line(service="a")
OTHER = line(service="b")


def services(values):
    events, owners, rejected = decode(values)
    return [event.service for event in events], owners.tolist(), rejected


def test_one_event_a_value():
    """Each value is one event of its own place."""
    assert services([GOOD, OTHER]) == (["a", "b"], [0, 1], [])


def test_nothing_decodes_to_nothing():
    """No values, no events."""
    assert services([]) == ([], [], [])


@pytest.mark.parametrize(
    "value",
    [
        b"[" + GOOD + b", " + OTHER + b"]",
        b" \n[" + GOOD + b",\n" + OTHER + b"]\n",
        GOOD + b"\n" + OTHER,
        b"\n" + GOOD + b"\r\n\n" + OTHER + b"\n",
    ],
)
def test_arrays_and_lines_are_several_events(value):
    """An array or NDJSON is as many events of one place, between its neighbours."""
    found = services([OTHER, value, GOOD])
    assert found == (["b", "a", "b", "a"], [0, 1, 1, 2], [])


@pytest.mark.parametrize(
    "value",
    [
        b"[" + GOOD + b", 7, " + OTHER + b"]",
        GOOD + b"\n7\n" + OTHER,
    ],
)
def test_a_bad_part_costs_itself(value):
    """The other events of the same value are kept."""
    assert services([value]) == (["a", "b"], [0, 0], [(0, Rejection.WRONG_TYPE)])


@pytest.mark.parametrize("value", RUBBISH)
def test_rubbish_among_good_values_costs_itself(value):
    """Rubbish never takes a neighbour along, and is told as the reference says."""
    expected = [part for part in parsed(value) if isinstance(part, Rejection)]
    names, owners, rejected = services([GOOD, value, OTHER])
    assert (names[0], names[-1], owners[0], owners[-1]) == ("a", "b", 0, 2)
    assert rejected == [(1, reason) for reason in expected]


def test_a_value_of_very_many_events_is_too_large():
    """Several events in more than 1 MiB are refused; one event may be any size."""
    padded = b'{"pad":"' + b"x" * LARGEST_VALUE + b'",' + GOOD[1:]
    many = b"[" + padded + b"]"
    assert services([padded, many]) == (["a"], [0], [(1, Rejection.TOO_LARGE)])


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b'{"latency_ms":1e999}', Rejection.BAD_LATENCY),
        (b'{"latency_ms":NaN}', Rejection.BAD_LATENCY),
        (b'{"latency_ms":"NaN","x":NaN}', Rejection.NOT_JSON),
        (b'{"latency_ms":1' + b"0" * 400 + b',"x":NaN}', Rejection.NOT_JSON),
        (b'{"count":1e999}', Rejection.BAD_COUNT),
        (b'{"status":1e999}', Rejection.BAD_STATUS),
        (b'{"ts":1e999}', Rejection.WRONG_TYPE),
        (b'{"ts":"yesterday"}', Rejection.WRONG_TYPE),
        (b'{"service":5,', Rejection.NOT_JSON),
        (b"[junk", Rejection.NOT_JSON),
        (b"[NaN]", Rejection.NOT_JSON),
        (b"NaN", Rejection.NOT_JSON),
        (b"7", Rejection.WRONG_TYPE),
        (None, Rejection.NOT_JSON),
    ],
)
def test_reasons(value, reason):
    """A field of the wrong type is one only in what is JSON."""
    assert services([value]) == ([], [], [(0, reason)])


@given(st.lists(st.binary(max_size=20) | st.none() | st.just(GOOD), max_size=20))
def test_decoding_never_raises_and_keeps_the_order(values):
    """Whatever the bytes: owners ascend, and what is an event alone is one here."""
    events, owners, rejected = decode(values)
    assert len(events) == len(owners)
    assert (np.diff(owners) >= 0).all()
    assert [place for place, _ in rejected] == sorted(place for place, _ in rejected)
    assert set(np.flatnonzero([value == GOOD for value in values])) <= set(owners)
