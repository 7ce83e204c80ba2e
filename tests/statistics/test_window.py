"""Sliding sums against a fresh addition of the same seconds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.contract import NotEnoughData
from models.quantile import BUCKETS
from models.window import Window

LENGTHS, SKETCH_LENGTHS, ROWS = (3, 1, 8), (2, 5), 4
NONE = np.array([], np.int64)

row = st.integers(0, ROWS - 1)
counted = st.dictionaries(row, st.tuples(st.integers(0, 9), st.integers(0, 2**40)))
entry = st.tuples(row, st.sampled_from([0, 7, BUCKETS - 1]), st.integers(0, 9))
step = st.tuples(
    st.sampled_from([1, 1, 1, 2, 4, 50]),
    counted,
    st.lists(entry, max_size=6),
    st.sets(row, max_size=1),
)
steps = st.lists(step, max_size=25)


def made():
    window = Window(LENGTHS, 2, SKETCH_LENGTHS)
    window.grow(ROWS)
    return window


def push(window, second, counts, entries):
    rows = np.array(list(counts), np.int64)
    values = np.array(list(counts.values()), np.int64).reshape(-1, 2)
    window.push(second, rows, values, *np.array(entries, np.int64).reshape(-1, 3).T)


class Plain:
    """What the window should hold, added up afresh from all that ever came."""

    def __init__(self):
        self.seen = []

    def push(self, second, counts, entries):
        self.now = second
        self.seen.append((second, dict(counts), list(entries)))

    def forget(self, rows):
        self.seen = [
            (
                second,
                {r: c for r, c in counts.items() if r not in rows},
                [e for e in entries if e[0] not in rows],
            )
            for second, counts, entries in self.seen
        ]

    def sums(self, length):
        out = np.zeros((ROWS, 2), np.int64)
        for second, counts, _ in self.seen:
            for r, c in counts.items():
                out[r] += np.array(c) * (second > self.now - length)
        return out

    def sketches(self, length):
        out = np.zeros((ROWS, BUCKETS), np.int64)
        for second, _, entries in self.seen:
            for r, bucket, count in entries:
                out[r, bucket] += count * (second > self.now - length)
        return out

    def series(self, row, length):
        return [
            (second, list(counts[row]))
            for second, counts, _ in self.seen
            if second > self.now - length and any(counts.get(row, ()))
        ]


def assert_same(plain, window):
    for length in LENGTHS:
        np.testing.assert_array_equal(window.sums(length), plain.sums(length))
        for r in range(ROWS):
            seconds, counts = window.series(r, length)
            got = list(zip(seconds.tolist(), counts.tolist(), strict=True))
            assert plain.series(r, length) == got
            assert counts.shape == (len(seconds), 2)
    for length in SKETCH_LENGTHS:
        np.testing.assert_array_equal(window.sketches(length), plain.sketches(length))


@pytest.mark.slow
@given(steps)
@settings(max_examples=60, deadline=None)
def test_sums_are_those_of_a_fresh_addition(steps):
    """At every step all sums and series equal what adding up afresh gives."""
    window, plain, second = made(), Plain(), 100
    for gap, counts, entries, forgotten in steps:
        second += gap
        push(window, second, counts, entries)
        plain.push(second, counts, entries)
        if forgotten:
            window.forget(np.array(list(forgotten)))
            plain.forget(forgotten)
        assert_same(plain, window)
        assert second == window.second


@pytest.mark.slow
@given(steps, st.integers(0, 25))
@settings(max_examples=60, deadline=None)
def test_going_on_from_a_state(steps, cut):
    """Restored at any point, forgotten rows included, a window goes on the same."""
    window, second = made(), 100
    for at, (gap, counts, entries, forgotten) in enumerate(steps):
        if at == cut:
            other = Window.from_state(window.state())
            assert window.state() == other.state()
            window = other
        second += gap
        push(window, second, counts, entries)
        window.forget(np.array(list(forgotten), np.int64))
    again, second = made(), 100
    for gap, counts, entries, forgotten in steps:
        second += gap
        push(again, second, counts, entries)
        again.forget(np.array(list(forgotten), np.int64))
    assert again.state() == window.state()


def test_advancing_is_pushing_nothing():
    """Time alone takes seconds out, and skipped seconds are empty ones."""
    window = made()
    push(window, 10, {1: (4, 5)}, [(1, 7, 2)])
    window.advance(12)
    assert window.sums(3)[1].tolist() == [4, 5]
    window.advance(13)
    assert window.sums(3)[1].tolist() == [0, 0]
    assert window.sums(8)[1].tolist() == [4, 5]
    window.advance(10**9)
    assert not window.sums(8).any()
    assert not window.sketches(5).any()
    assert window.series(1, 8)[0].size == 0


def test_a_state_is_as_large_as_its_ring():
    """A state does not grow with the rows, and shrinks again with the ring."""
    window = made()
    window.grow(1000)
    push(window, 1, {999: (1, 1)}, [(999, 3, 1)])
    size = sum(len(v) for v in window.state().values() if isinstance(v, bytes))
    assert size < 150
    window.advance(100)
    assert window.state()["counts.cells"] == b""


@pytest.mark.parametrize("count", [127, 128, 2**15, 2**31, 2**62, -(2**40)])
def test_counts_of_any_size_go_round(count):
    """Counts are packed as small as they allow, and come back whole."""
    window = made()
    push(window, 1, {0: (count, 1)}, [])
    assert Window.from_state(window.state()).sums(1)[0].tolist() == [count, 1]


def test_growing_keeps_what_is_there():
    """More rows leave the sums of the others, and start empty."""
    window = made()
    push(window, 1, {3: (1, 2)}, [(3, 7, 1)])
    window.grow(5)
    window.grow(2)
    assert window.rows == 5
    window.grow(100)
    assert window.sums(3).shape == (100, 2)
    assert window.sums(3).sum() == 3
    assert window.sketches(5)[3, 7] == 1
    push(window, 2, {99: (1, 1)}, [(99, 7, 1)])
    window.advance(3)
    assert window.sums(3)[99].tolist() == [1, 1]


def test_a_forgotten_row_can_be_used_again():
    """The new owner of a row has only what came after, also when seconds leave."""
    window = made()
    push(window, 1, {0: (5, 5), 1: (7, 7)}, [(0, 7, 5)])
    window.forget(np.array([0]))
    push(window, 2, {0: (1, 1)}, [(0, 7, 1)])
    assert window.sums(3)[:2].tolist() == [[1, 1], [7, 7]]
    assert window.series(0, 3)[0].tolist() == [2]
    window.advance(4)
    assert window.sums(3)[:2].tolist() == [[1, 1], [0, 0]]
    window.advance(7)
    assert not window.sums(3).any()
    assert not window.sketches(5).any()


def test_forgetting_before_the_first_second():
    """There is nothing to forget in an empty window."""
    window = made()
    window.forget(np.array([0]))
    assert made().state() == window.state()


def test_readings_cannot_be_written():
    """Sums are views of the window, and read-only; nor do arguments stay shared."""
    window, counts = made(), np.array([[1, 1]])
    window.push(1, np.array([0]), counts)
    counts += 5
    with pytest.raises(ValueError, match="read-only"):
        window.sums(3)[0, 0] = 1
    window.advance(50)
    assert not window.sums(8).any()


def test_no_sketches_at_all():
    """A window without sketch lengths takes entries and keeps none."""
    window = Window((2,), 1, ())
    window.grow(1)
    one = np.array([0])
    window.push(1, one, np.array([[3]]), one, one, one)
    assert Window.from_state(window.state()).sums(2).tolist() == [[3]]
    with pytest.raises(ValueError, match=r"sketch length must be one of \[\], got 2"):
        window.sketches(2)


def test_a_sketch_may_outlive_the_counts():
    """Lengths of sketches need not be lengths of counts."""
    window = Window((1,), 1, (9,))
    window.grow(1)
    one = np.array([0])
    window.push(1, one, np.array([[3]]), one, one, one + 1)
    window.advance(9)
    assert (window.sums(1).sum(), window.sketches(9).sum()) == (0, 1)


ONE, TWO = np.array([0]), np.array([0, 1])


@pytest.mark.parametrize(
    ("message", "push"),
    [
        ("second must be > 5, got 5", (5, NONE, np.zeros((0, 2)))),
        (r"counts must be \(1, 2\), got \(1, 1\)", (6, ONE, np.zeros((1, 1)))),
        ("rows must be 0 to 3, got -1 to -1", (6, ONE - 1, np.zeros((1, 2)))),
        ("rows must be 0 to 3, got 4 to 4", (6, ONE + 4, np.zeros((1, 2)))),
        ("rows must be distinct", (6, TWO * 0, np.zeros((2, 2)))),
        ("as many as sketch_rows", (6, NONE, np.zeros((0, 2)), ONE, TWO, ONE)),
        ("sketch_rows must be", (6, NONE, np.zeros((0, 2)), ONE + 4, ONE, ONE)),
        ("sketch_buckets must be", (6, NONE, np.zeros((0, 2)), ONE, ONE - 1, ONE)),
    ],
)
def test_pushes_are_checked(message, push):
    """A bad push raises ValueError, and leaves the window as it was."""
    window = made()
    window.push(5, ONE, np.array([[1, 2]]))
    before = window.state()
    with pytest.raises(ValueError, match=message):
        window.push(*push)
    assert before == window.state()


@pytest.mark.parametrize("rows", [-1, 2**31])
def test_the_number_of_rows_is_checked(rows):
    """A number of rows out of its range raises ValueError."""
    with pytest.raises(ValueError, match="rows must be 0 to"):
        made().grow(rows)


def test_readings_are_checked():
    """Lengths and rows that a window does not have raise ValueError."""
    window = made()
    with pytest.raises(NotEnoughData, match="takes 1 second, got 0"):
        _ = window.second
    window.advance(1)
    with pytest.raises(ValueError, match=r"length must be one of \[3, 1, 8\], got 2"):
        window.sums(2)
    with pytest.raises(ValueError, match="row must be 0 to 3, got 4"):
        window.series(4, 3)
    with pytest.raises(ValueError, match="rows must be 0 to 3, got 4"):
        window.forget(np.array([4]))
