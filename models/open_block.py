"""Counts of the block of seconds that is not over yet, for many rows.

Blocks are cut at multiples of their length in event time. So what a block counted does
not show how a second was added up, nor in how many calls: the bits of whatever is made
of it are a function of the counts alone. A block in which nothing was counted is never
handed on.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, Self

import numpy as np

from models.contract import Ints, State, check_version, pack, unpack

_VERSION = 1
_NEVER = -1


class Closed(NamedTuple):
    """Blocks that are over: their rows, first seconds, and counts [columns, rows]."""

    rows: Ints
    seconds: Ints
    counts: Ints


class OpenBlock:
    """Counts in columns, one block a row.

    Parameters
    ----------
    block_seconds
        Length in whole seconds, >= 1.
    columns
        Numbers that are counted, >= 1.

    Notes
    -----
    O(rows given) per update; 8 (1 + columns) bytes a row.

    Examples
    --------
    >>> block = OpenBlock(block_seconds=5, columns=1)
    >>> block.grow(1)
    >>> for second in (10, 14, 15):
    ...     closed = block.update(second, np.array([0]), np.array([[3]]))
    >>> closed.seconds.tolist(), closed.counts.tolist()
    ([10], [[6]])
    """

    __slots__ = ("_table", "block_seconds")

    def __init__(self, block_seconds: int, columns: int) -> None:
        for name, value in (("block_seconds", block_seconds), ("columns", columns)):
            if value < 1:
                raise ValueError(f"{name} must be >= 1, got {value}")
        self.block_seconds: int = block_seconds
        self._table: Ints = np.zeros((1 + columns, 0), np.int64)

    def grow(self, rows: int) -> None:
        """Make room for so many rows; never shrinks."""
        have = self._table.shape[1]
        if rows > have:
            self._table = np.pad(self._table, ((0, 0), (0, rows - have)))
            self.forget(np.arange(have, rows, dtype=np.int64))

    def forget(self, rows: Ints) -> None:
        """Drop what these rows have counted."""
        self._table[1:, rows] = 0
        self._table[0, rows] = _NEVER

    def rows_before(self, second: int, rows: Ints) -> Ints:
        """Those of these rows for which the second begins a new block."""
        over: Ints = rows[self._table[0, rows] < second // self.block_seconds]
        return over

    def update(self, second: int, rows: Ints, counts: Ints) -> Closed:
        """Take in the counts of one second; give the blocks that were over before it.

        Parameters
        ----------
        second
            Event time, >= 0; not before the block of any of these rows.
        rows, counts
            Distinct rows there is room for; array [columns, rows], >= 0.

        Raises
        ------
        ValueError
            When shapes differ, a count is negative or the second is too early.
        """
        shape = (self._table.shape[0] - 1, rows.size)
        if counts.shape != shape:
            raise ValueError(f"counts must be {list(shape)}, got {list(counts.shape)}")
        if counts.min(initial=0) < 0:
            raise ValueError(f"counts must be >= 0, got {counts.min()}")
        number = second // self.block_seconds
        newest = int(self._table[0, rows].max(initial=0))
        if number < newest:
            raise ValueError(f"block of the second must be >= {newest}, got {number}")
        over = self.rows_before(second, rows)
        full = over[self._table[1:, over].any(axis=0)]
        closed = Closed(
            full, self._table[0, full] * self.block_seconds, self._table[1:, full]
        )
        self._table[1:, over] = 0
        self._table[0, over] = number
        self._table[1:, rows] += counts
        return closed

    def state(self) -> State:
        """Give a packed table, in proportion to the rows."""
        return {
            "version": _VERSION,
            "block_seconds": self.block_seconds,
            "columns": self._table.shape[0] - 1,
            "table": pack(self._table),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Make it again; ValueError on another version."""
        check_version(state, _VERSION)
        made = cls(state["block_seconds"], state["columns"])
        made._table = unpack(state["table"]).reshape(1 + state["columns"], -1)
        return made
