"""Which offsets the windows' requests came from, and how late they were."""

import numpy as np

from guard.origin import Origin
from guard.tally import COLUMNS, Second

NONE = np.zeros(0, np.int64)
SOURCES = [("b", 0), ("a", 3)]  # in the order in which they spoke first


def second(number, *blocks, behind=None):
    """Blocks as (row, source, block), ascending."""
    columns = np.array(blocks or [(0, 0, 0)], np.int64).T
    counts = np.zeros((0, COLUMNS), np.int64)
    told = tuple(columns) if blocks else (NONE, NONE, NONE)
    return Second(number, NONE, counts, NONE, NONE, NONE, told, behind or {}, NONE)


def made(seconds=10):
    origin = Origin(seconds)
    origin.note_size(("b", 0), 100)
    origin.note_size(("a", 3), 10)
    return origin


def test_offsets_are_those_of_the_blocks():
    """Of the rows and seconds asked for, in each source's own block size."""
    origin = made()
    origin.add(second(20, (1, 0, 4), (2, 0, 1)))
    origin.add(second(21, (1, 0, 7), (1, 1, 2), (3, 1, 0)))
    assert origin.offsets(SOURCES, {1: 20}) == {"a/3": (20, 29), "b/0": (400, 799)}
    assert origin.offsets(SOURCES, {1: 21, 2: 20}) == {
        "a/3": (20, 29),
        "b/0": (100, 799),
    }
    assert origin.offsets(SOURCES, {1: 22}) == {}
    assert list(origin.offsets(SOURCES, {1: 20})) == ["a/3", "b/0"]


def test_what_is_too_old_is_dropped():
    """When time goes on, with or without requests."""
    origin = made(seconds=3)
    origin.add(second(20, (1, 0, 4), behind={1: 7.0}))
    origin.add(second(21, (1, 0, 5), behind={1: 2.0, 2: 9.0}))
    origin.advance(22)
    assert origin.worst_behind(1, 20) == 7.0
    assert origin.worst_behind(1, 21) == 2.0
    assert origin.worst_behind(3, 20) is None
    origin.advance(23)
    assert origin.offsets(SOURCES, {1: 0}) == {"b/0": (500, 599)}
    origin.advance(24)
    assert origin.offsets(SOURCES, {1: 0}) == {}
    assert origin.worst_behind(1, 0) is None


def test_a_snapshot_holds_everything():
    """Bit for bit."""
    origin = made()
    origin.add(second(20, (1, 0, 4), behind={1: 7.0}))
    again = Origin(10)
    again.restore(origin.state())
    assert again.state() == origin.state()
    assert again.offsets(SOURCES, {1: 0}) == origin.offsets(SOURCES, {1: 0})
    assert again.worst_behind(1, 0) == 7.0
