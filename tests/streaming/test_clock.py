"""The watermark against its definition, record by record, and for every cut."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard.clock import Clock

LATENESS, PATIENCE = 5.0, 60.0


def clock():
    return Clock(LATENESS, PATIENCE)


def pass_(clock, stamps, times=(), owners=()):
    met = clock.advance(
        np.array(stamps, np.float64),
        np.array(times, np.float64),
        np.array(owners, np.int64),
    )
    return met.tolist()


@pytest.mark.parametrize(
    ("lateness", "patience", "message"),
    [
        (-1.0, 60.0, "lateness_seconds must be >= 0, not -1.0"),
        (math.nan, 60.0, "lateness_seconds must be >= 0, not nan"),
        (5.0, 4.0, "patience_seconds must be at least the lateness, 5.0, not 4.0"),
        (5.0, math.nan, "patience_seconds must be at least the lateness, 5.0, not nan"),
    ],
)
def test_settings_out_of_range_are_refused(lateness, patience, message):
    """The lateness is not negative, and patience not shorter."""
    with pytest.raises(ValueError, match=message):
        Clock(lateness, patience)


def test_a_first_record_ends_a_silence():
    """Before the first record there was silence: its Kafka time counts."""
    c = clock()
    assert pass_(c, [100], [98], [0]) == [95]
    assert c.watermark == 95


def test_an_event_is_judged_before_it_counts():
    """An event meets the watermark of those before it."""
    c = clock()
    pass_(c, [100])
    assert pass_(c, [103, 104], [102, 103], [0, 1]) == [95, 97]
    assert c.watermark == 98


def test_an_event_from_the_future_makes_nothing_late():
    """Event time counts up to the Kafka time of its own record."""
    c = clock()
    pass_(c, [100, 101], [150], [1])
    assert c.watermark == 96


def test_records_that_say_nothing_count_after_the_patience():
    """A source of rejected values still passes seconds, `patience` behind."""
    c = clock()
    pass_(c, [100 + n for n in range(100)])
    assert c.watermark == 199 - PATIENCE


def test_a_silence_longer_than_the_lateness_is_over_at_once():
    """A record after a silence counts by its Kafka time less the lateness."""
    c = clock()
    pass_(c, [100, 105])
    assert c.watermark == 95
    pass_(c, [110.5])
    assert c.watermark == 105.5


def test_first_record_of_a_block_hands_nothing_on_by_kafka_time():
    """A worker that begins with this block cannot know the record before it."""
    c = clock()
    pass_(c, [100])
    c.begin_block()
    pass_(c, [200, 201], [150], [1])
    assert c.watermark == 195
    c.begin_block()
    assert c.watermark == 145


def test_an_empty_block_forgets_nothing():
    """Blocks without records leave the watermark as it is."""
    c = clock()
    pass_(c, [100, 101], [100], [1])
    c.begin_block()
    c.begin_block()
    assert c.watermark == 95


def test_silent_is_who_has_said_nothing_for_the_lateness():
    """Silence begins more than the lateness after the last record."""
    c = clock()
    assert c.is_silent(0.0)
    pass_(c, [100])
    assert [c.is_silent(now) for now in (100, 105, 105.001)] == [False, False, True]


records = st.lists(
    st.tuples(
        st.integers(0, 12),  # after the record before, in seconds
        st.lists(st.integers(-30, 10), max_size=3),  # events, from its Kafka time
    ),
    min_size=1,
    max_size=30,
)


def columns(drawn):
    stamps = 1000 + np.cumsum([after for after, _ in drawn])
    owners = [n for n, (_, events) in enumerate(drawn) for _ in events]
    times = [stamps[n] + at for n, (_, events) in enumerate(drawn) for at in events]
    return stamps.tolist(), times, owners


@given(records, st.data())
def test_cuts_of_batches_do_not_show(drawn, data):
    """Records in one batch or in several: every event meets the same watermark."""
    stamps, times, owners = columns(drawn)
    cut = data.draw(st.integers(1, len(drawn)))
    whole, parts = clock(), clock()
    met = pass_(whole, stamps, times, owners)
    low = [n for n in owners if n < cut]
    found = pass_(parts, stamps[:cut], times[: len(low)], low)
    if cut < len(drawn):
        high = [n - cut for n in owners if n >= cut]
        found += pass_(parts, stamps[cut:], times[len(low) :], high)
    assert found == met
    assert parts.watermark == whole.watermark
    whole.begin_block()
    parts.begin_block()
    assert parts.watermark == whole.watermark


@given(records, st.integers(-(10**6), 10**6))
def test_shifting_all_times_shifts_the_watermark(drawn, shift):
    """Only differences of times matter."""
    stamps, times, owners = columns(drawn)
    here, there = clock(), clock()
    met = pass_(here, stamps, times, owners)
    moved = pass_(
        there, [s + shift for s in stamps], [t + shift for t in times], owners
    )
    assert moved == [m + shift for m in met]
    assert there.watermark == here.watermark + shift
    assert here.watermark <= stamps[-1] - LATENESS
