"""The open block: what is handed on, and when."""

import numpy as np
import pytest

from models.open_block import OpenBlock

ROW = np.array([0])


def one(seconds=5, columns=2):
    block = OpenBlock(seconds, columns)
    block.grow(1)
    return block


def test_a_block_is_handed_on_when_it_is_over():
    """Once, with all it counted, by the first second beyond it."""
    block = one()
    for second in (10, 12, 14):
        assert not block.update(second, ROW, np.array([[1], [second]])).rows.size
    closed = block.update(21, ROW, np.array([[7], [7]]))
    assert closed.rows.tolist() == [0]
    assert closed.seconds.tolist() == [10]
    assert closed.counts.tolist() == [[3], [36]]
    assert block.update(25, ROW, np.array([[0], [0]])).seconds.tolist() == [20]
    assert not block.update(30, ROW, np.array([[0], [0]])).rows.size


def test_rows_have_blocks_of_their_own():
    """A row that is not given is not closed, and one forgotten has counted nothing."""
    block = one(columns=1)
    block.grow(3)
    block.grow(2)
    block.update(0, np.arange(3), np.array([[1, 2, 3]]))
    block.forget(np.array([2]))
    assert block.rows_before(5, np.arange(3)).tolist() == [0, 1, 2]
    closed = block.update(5, np.array([2, 1]), np.array([[1, 1]]))
    assert (closed.rows.tolist(), closed.counts.tolist()) == ([1], [[2]])
    assert block.rows_before(5, np.arange(3)).tolist() == [0]
    assert block.update(9, ROW, np.array([[0]])).seconds.tolist() == [0]


def test_bad_counts_are_refused():
    """Before anything is counted."""
    block = one()
    block.update(10, ROW, np.array([[1], [1]]))
    before = block.state()
    for second, counts in ((9, [[1], [1]]), (10, [[1]]), (10, [[1], [-1]])):
        with pytest.raises(ValueError, match=r"must be .*got"):
            block.update(second, ROW, np.array(counts))
    assert block.state() == before
    for bad in ((0, 1), (1, 0)):
        with pytest.raises(ValueError, match=r"must be >= 1, got 0"):
            OpenBlock(*bad)
