"""Messages of panes: packing, and grouping against plain dictionaries."""

from collections import Counter

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from streaming.fold_reference import unpacked

from guard.cohort import Cell
from guard.pane import (
    MOST_INSTANCES,
    Columns,
    Grouped,
    Panes,
    pack_ints,
    unpack_ints,
)

BOUNDS = [
    0,
    1,
    -1,
    *(s * (2**b + d) for b in (7, 15, 31) for s in (1, -1) for d in (-1, 0, 1)),
]
int64s = st.integers(-(2**63), 2**63 - 1) | st.sampled_from(BOUNDS)


@given(st.lists(int64s))
def test_integers_round_trip(values):
    """What was packed is read again, whatever its width."""
    packed = pack_ints(np.array(values, np.int64))
    assert unpack_ints(packed).tolist() == values


@pytest.mark.parametrize(
    ("value", "width"),
    [(127, 1), (-128, 1), (128, 2), (-129, 2), (2**15, 4), (2**31, 8), (-(2**63), 8)],
)
def test_the_narrowest_width_is_taken(value, width):
    """A column takes as many bytes a number as its widest one needs."""
    assert len(pack_ints(np.array([0, value]))) == 1 + 2 * width


@pytest.mark.parametrize("packed", [b"", b"\x04\x00", b"\x01\x00"])
def test_other_bytes_are_refused(packed):
    """What `pack_ints` did not write raises ValueError."""
    with pytest.raises(ValueError, match=r"not a packed column|buffer size"):
        unpack_ints(packed)


def test_a_message_without_panes_reads_as_empty():
    """The defaults of a message are columns of nothing."""
    panes = Panes(
        topic="t", partition=3, sources={"t": 4}, block_size=4, block=0, start=0, to=9
    )
    packed = msgspec.msgpack.encode(panes)
    assert msgspec.msgpack.decode(packed, type=Panes) == panes
    assert unpacked(panes) == {}
    assert panes.source == ("t", 3)


# second, cell, error, class, bucket, instance, weight, delay
rows = st.tuples(
    st.integers(0, 3),
    st.integers(0, 4),
    st.integers(0, 1),
    st.integers(0, 5),
    st.integers(0, 1036),
    st.integers(0, 6),
    st.integers(1, 10**6),
    st.integers(-(10**5), 10**8),
)
CELLS = [Cell(f"s{n}", "v", None, critical=False) for n in range(5)]
TARGETS = np.array([2, 0, 2, 0, 3])
NAMES = ["", *"abcdef"]
HASHES = np.array([0, 60, 50, 40, 30, 20, 10], np.uint64)


def said_of(columns, target, *, names=NAMES, hashes=HASHES):
    grouped = Grouped(columns, TARGETS, hashes, 0)
    fields = grouped.columns(target, CELLS, names)
    return Panes(
        topic="t",
        partition=0,
        sources={},
        block_size=4,
        block=0,
        start=0,
        to=9,
        **fields,
    )


@given(st.lists(rows, min_size=1, max_size=60), st.integers(0, 4))
def test_groups_are_what_dictionaries_count(drawn, target):
    """Counts, sketches, instances, least delays by second and cell, for one target."""
    found = unpacked(said_of(Columns(*np.array(drawn).T), target))
    counts, sketches, instances, delays = Counter(), Counter(), Counter(), {}
    for second, cell, error, class_, bucket, instance, weight, delay in drawn:
        if TARGETS[cell] == target:
            at = second, CELLS[cell]
            delays[at] = min(delay, delays.get(at, delay))
            counts[*at, 0] += weight
            counts[*at, 1] += weight * error
            counts[*at, 2 + class_] += weight
            sketches[*at, bucket] += weight
            if instance:
                instances[*at, NAMES[instance], 0] += weight
                instances[*at, NAMES[instance], 1] += weight * error
    panes = [(s, c, p) for (_, s), cells in found.items() for c, p in cells.items()]
    assert +Counter(
        {(s, c, k): n for s, c, p in panes for k, n in enumerate(p.counts)}
    ) == (+counts)
    assert {(s, c, b): n for s, c, p in panes for b, n in p.sketch.items()} == sketches
    assert {(s, c): p.delay for s, c, p in panes} == delays
    assert +Counter(
        {
            (s, c, name, k): n
            for s, c, p in panes
            for name, both in p.instances.items()
            for k, n in enumerate(both)
        }
    ) == (+instances)


@given(st.lists(rows, min_size=1, max_size=30), st.permutations(range(5)))
def test_numbers_of_words_do_not_show(drawn, order):
    """A worker that met the words in another order says the same, byte for byte."""
    columns = Columns(*np.array(drawn).T)
    cells = [CELLS[n] for n in order]
    renumbered = np.argsort(order)[columns.cells]
    there = Grouped(columns._replace(cells=renumbered), TARGETS[order], HASHES, 0)
    for target in range(4):
        here = Grouped(columns, TARGETS, HASHES, 0).columns(target, CELLS, NAMES)
        assert there.columns(target, cells, NAMES) == here


def test_entries_stand_in_the_order_of_their_appearance():
    """Within a second cells come as they first appeared."""
    drawn = [(n, c, 0, 2, 5, 0, 1, 0) for n, c in ((1, 2), (0, 0), (1, 0))]
    panes = said_of(Columns(*np.array(drawn).T), 2)
    assert panes.cells == [CELLS[0], CELLS[2]]
    assert unpack_ints(panes.seconds).tolist() == [0, 1, 1]
    assert unpack_ints(panes.cell_numbers).tolist() == [0, 1, 0]


def test_the_instances_with_the_smallest_hashes_are_kept():
    """Of very many instances 64 are told; events without a name take no place."""
    names = ["", *(f"i{n}" for n in range(100))]
    hashes = np.array([0, *(100 - n for n in range(100))], np.uint64)
    drawn = [(0, 0, 0, 2, 5, n, 1, 0) for n in range(101)]
    panes = said_of(Columns(*np.array(drawn).T), 2, names=names, hashes=hashes)
    assert panes.names == names[: -MOST_INSTANCES - 1 : -1]


def test_columns_join_in_their_order():
    """Parts are joined as they come; nothing is no rows."""
    part = Columns(*np.arange(16).reshape(8, 2))
    assert Columns.joined([]).seconds.tolist() == []
    assert Columns.joined([part]) is part
    joined = Columns.joined([part, part])
    assert joined.weights.tolist() == [12, 13, 12, 13]
    assert part.where(np.array([True, True])) is part
    assert part.where(np.array([False, True])).cells.tolist() == [3]
