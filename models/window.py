"""Sums over the last so many seconds, for many rows and several lengths at once.

Seconds come in closed and in order, each as sparse cells. A ring keeps them; a second
that leaves a length is taken away from the sums of that length. Elsewhere windows merge
panes and never subtract, because taking a float away leaves its rounding behind. Here
all values are integers, so subtraction is exact: after any number of steps the sums are
the bits that a fresh addition gives (tested so). What it saves is adding up 60 seconds
at every one of them.

Forgetting a row does not search the ring. It clears the row's sums and notes the
second; what the ring still holds of the row up to then is skipped from there on.
"""

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from models.contract import (
    Ints,
    NotEnoughData,
    State,
    check_version,
    pack,
    unpack,
)
from models.quantile import BUCKETS

_VERSION = 1
_NEVER = np.iinfo(np.int64).min
_CODES = (("<i1", 2**7), ("<i2", 2**15), ("<i4", 2**31), ("<i8", 2**63))
_NOTHING: Ints = np.zeros(0, np.int64)


class _Pane(NamedTuple):
    """What one second brought: cells (row * width + column) and their counts."""

    second: int
    cells: NDArray[np.int32]
    counts: Ints


class _Ring:
    """Panes of the last seconds, and their sums for each length."""

    KEPT = ("seconds", "sizes", "cells", "counts", "code")

    __slots__ = ("forgotten", "newest_forgotten", "panes", "sums", "width")

    def __init__(self, lengths: tuple[int, ...], width: int) -> None:
        self.width = width
        self.sums: dict[int, Ints] = {
            n: np.zeros((0, width), np.int64) for n in lengths
        }
        self.panes: dict[int, deque[_Pane]] = {n: deque() for n in lengths}
        self.forgotten: Ints = np.zeros(
            0, np.int64
        )  # by row: skipped up to this second
        self.newest_forgotten: int = _NEVER

    def push(self, second: int, cells: Ints, counts: Ints) -> None:
        pane = _Pane(second, cells.astype(np.int32), counts.astype(np.int64))
        for length, panes in self.panes.items():
            flat = self.sums[length].reshape(-1)
            while panes and panes[0].second <= second - length:
                old = self.living(panes.popleft())
                np.subtract.at(flat, old.cells, old.counts)
            if cells.size:
                np.add.at(flat, pane.cells, pane.counts)
                panes.append(pane)

    def living(self, pane: _Pane) -> _Pane:
        """Leave out of a pane what has been forgotten since."""
        if pane.second > self.newest_forgotten:
            return pane
        keep = self.forgotten[pane.cells // self.width] < pane.second
        return _Pane(pane.second, pane.cells[keep], pane.counts[keep])

    def of_row(self, row: int, length: int) -> Iterator[tuple[int, Ints]]:
        """Second and counts of one row, dense; its cells must be sorted."""
        bounds = np.array([row, row + 1], np.int32) * self.width
        for pane in self.panes[length]:
            start, end = np.searchsorted(pane.cells, bounds.astype(np.int32))
            if start < end and pane.second > self.forgotten[row]:
                dense = np.zeros(self.width, np.int64)
                dense[pane.cells[start:end] - bounds[0]] = pane.counts[start:end]
                yield pane.second, dense

    def grow(self, capacity: int) -> None:
        more = capacity - self.forgotten.size
        self.forgotten = np.concatenate([self.forgotten, np.full(more, _NEVER)])
        for length, sums in self.sums.items():
            self.sums[length] = np.zeros((capacity, self.width), np.int64)
            self.sums[length][: len(sums)] = sums

    def forget(self, second: int, rows: Ints) -> None:
        self.forgotten[rows] = self.newest_forgotten = second
        for sums in self.sums.values():
            sums[rows] = 0

    def state(self) -> State:
        longest = self.panes[max(self.panes)] if self.panes else ()
        panes = [pane for pane in map(self.living, longest) if pane.cells.size]
        most = max((int(abs(pane.counts).max()) for pane in panes), default=0)
        code = next(code for code, end in _CODES if most < end)
        return {
            "seconds": pack(np.array([pane.second for pane in panes])),
            "sizes": pack(np.array([pane.cells.size for pane in panes])),
            "cells": b"".join(pack(pane.cells, "<i4") for pane in panes),
            "counts": b"".join(pack(pane.counts, code) for pane in panes),
            "code": code,
        }

    def replay(self, state: Mapping[str, Any]) -> None:
        """Push what a state holds; the sums come from it."""
        ends = unpack(state["sizes"]).cumsum()[:-1]
        cells = np.split(unpack(state["cells"], "<i4"), ends)
        counts = np.split(unpack(state["counts"], state["code"]), ends)
        for pane in zip(unpack(state["seconds"]).tolist(), cells, counts, strict=False):
            self.push(*pane)


class Window:
    """Sums of integer counts and of latency sketches over the last L seconds.

    sum_L(s) = sum of the counts of the seconds in (s - L, s];  s = newest second pushed

    Parameters
    ----------
    lengths
        Seconds, each >= 1, distinct, at least one: for the counts.
    columns
        Counts a row has, >= 1.
    sketch_lengths
        Seconds, each >= 1, distinct, may be none: for the sketches.

    Notes
    -----
    All rows share one clock. A row takes `columns` and `BUCKETS` integers for each
    length; the ring takes 12 bytes for each count that is not 0, once. A push is O(what
    comes + what leaves) for each length: 2,000 rows with 50,000 sketch entries take 1
    to 2 ms.

    Examples
    --------
    >>> w = Window(lengths=(2, 60), columns=1, sketch_lengths=())
    >>> w.grow(1)
    >>> for second in (10, 11, 12):
    ...     w.push(second, np.array([0]), np.array([[5]]))
    >>> int(w.sums(2)[0, 0]), int(w.sums(60)[0, 0])
    (10, 15)
    """

    __slots__ = ("_columns", "_counts", "_rows", "_second", "_sketches")

    def __init__(
        self, lengths: tuple[int, ...], columns: int, sketch_lengths: tuple[int, ...]
    ) -> None:
        if not lengths:
            raise ValueError("lengths must be at least one, got ()")
        for name, given in (("lengths", lengths), ("sketch_lengths", sketch_lengths)):
            if min(given, default=1) < 1 or len(set(given)) < len(given):
                raise ValueError(f"{name} must be >= 1 and distinct, got {given}")
        if columns < 1:
            raise ValueError(f"columns must be >= 1, got {columns}")
        self._columns = columns
        self._rows = 0
        self._second: int | None = None
        self._counts = _Ring(lengths, columns)
        self._sketches = _Ring(sketch_lengths, BUCKETS)

    @property
    def rows(self) -> int:
        """Number of rows there is room for; never raises."""
        return self._rows

    @property
    def second(self) -> int:
        """Newest second pushed; NotEnoughData before the first one."""
        if self._second is None:
            raise NotEnoughData("a window takes 1 second, got 0")
        return self._second

    def grow(self, rows: int) -> None:
        """Make room for so many rows in all; never shrinks.

        Doubles when it must, so that growing one by one costs O(1) a row; arrays read
        earlier then belong to the past. ValueError when a cell's number would pass 32
        bits.
        """
        most = (2**31 - 1) // max(BUCKETS, self._columns) - 1
        if not 0 <= rows <= most:
            raise ValueError(f"rows must be 0 to {most}, got {rows}")
        capacity = self._counts.forgotten.size
        if rows > capacity:
            for ring in (self._counts, self._sketches):
                ring.grow(max(rows, 2 * capacity))
        self._rows = max(rows, self._rows)

    def push(  # noqa: PLR0917 - what a second holds, in the order of a pane
        self,
        second: int,
        rows: Ints,
        counts: Ints,
        sketch_rows: Ints = _NOTHING,
        sketch_buckets: Ints = _NOTHING,
        sketch_counts: Ints = _NOTHING,
    ) -> None:
        """Take in one second that is over; seconds that were skipped had nothing.

        Parameters
        ----------
        second
            Event time, later than the last one.
        rows, counts
            Distinct rows in any order, and counts [rows, columns].
        sketch_rows, sketch_buckets, sketch_counts
            Entries of the sketches, of equal lengths; one cell may come several times.

        Raises
        ------
        ValueError
            When the second is not later, a row is out of its range or comes twice, a
            bucket is out of its range, or lengths differ; nothing is counted then.
        """
        if self._second is not None and second <= self._second:
            raise ValueError(f"second must be > {self._second}, got {second}")
        if counts.shape != (rows.size, self._columns):
            raise ValueError(
                f"counts must be {(rows.size, self._columns)}, got {counts.shape}"
            )
        if not sketch_rows.shape == sketch_buckets.shape == sketch_counts.shape:
            raise ValueError(
                f"sketch_buckets and sketch_counts must be as many as sketch_rows "
                f"({sketch_rows.size}), got {sketch_buckets.size}, {sketch_counts.size}"
            )
        self._check("rows", rows, self._rows)
        self._check("sketch_rows", sketch_rows, self._rows)
        self._check("sketch_buckets", sketch_buckets, BUCKETS)
        order = np.argsort(rows)
        rows = rows[order]
        if (rows[1:] == rows[:-1]).any():
            raise ValueError(f"rows must be distinct, got {rows.tolist()}")
        counts = counts[order]
        which, column = np.nonzero(counts)
        self._counts.push(
            second, rows[which] * self._columns + column, counts[which, column]
        )
        self._sketches.push(
            second, sketch_rows * BUCKETS + sketch_buckets, sketch_counts
        )
        self._second = second

    def advance(self, second: int) -> None:
        """Let the time come to this second, with nothing in it.

        However far ahead, it costs no more than what the ring holds.
        """
        self.push(second, _NOTHING, np.zeros((0, self._columns), np.int64))

    @property
    def lengths(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Seconds that counts and sketches are summed over."""
        return tuple(self._counts.sums), tuple(self._sketches.sums)

    def sums(self, length: int) -> Ints:
        """Read the counts of the last `length` seconds: [rows, columns], read-only.

        NotEnoughData before the first push; ValueError on a length it was not made
        with.
        """
        return self._read("length", self._counts, length)

    def sketches(self, length: int) -> Ints:
        """Read the sketches of the last `length` seconds: [rows, BUCKETS], likewise."""
        return self._read("sketch length", self._sketches, length)

    def series(self, row: int, length: int) -> tuple[Ints, Ints]:
        """Seconds in which a row had something, ascending, and its counts in each.

        NotEnoughData before the first push; ValueError when the row is out of its range
        or on a length it was not made with. O(log(rows)) for each second: 2 ms for 300.
        """
        self._read("length", self._counts, length)
        self._check("row", np.array([row]), self._rows)
        found = list(self._counts.of_row(row, length))
        seconds = np.array([second for second, _ in found], np.int64)
        counts = np.array([counts for _, counts in found], np.int64)
        return seconds, counts.reshape(-1, self._columns)

    def forget(self, rows: Ints) -> None:
        """Drop everything of these rows, so that their numbers can be used again.

        ValueError when a row is out of its range. O(rows given).
        """
        self._check("rows", rows, self._rows)
        if self._second is not None and rows.size:
            self._counts.forget(self._second, rows)
            self._sketches.forget(self._second, rows)

    def state(self) -> State:
        """Give integers, bytes and words, in proportion to what is in the ring."""
        state: State = {
            "version": _VERSION,
            "lengths": pack(np.array([*self._counts.sums])),
            "columns": self._columns,
            "sketch_lengths": pack(np.array([*self._sketches.sums])),
            "rows": self._rows,
            "second": pack(np.array([] if self._second is None else [self._second])),
        }
        for name, ring in (("counts", self._counts), ("sketches", self._sketches)):
            state |= {f"{name}.{key}": data for key, data in ring.state().items()}
        return state

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Make it again, sums from the ring; ValueError on another version."""
        check_version(state, _VERSION)
        made = cls(
            tuple(unpack(state["lengths"]).tolist()),
            state["columns"],
            tuple(unpack(state["sketch_lengths"]).tolist()),
        )
        made.grow(state["rows"])
        for name, ring in (("counts", made._counts), ("sketches", made._sketches)):
            ring.replay({key: state[f"{name}.{key}"] for key in _Ring.KEPT})
        for second in unpack(state["second"]).tolist():
            made._counts.push(second, _NOTHING, _NOTHING)
            made._sketches.push(second, _NOTHING, _NOTHING)
            made._second = second
        return made

    def _read(self, name: str, ring: _Ring, length: int) -> Ints:
        if length not in ring.sums:
            raise ValueError(f"{name} must be one of {[*ring.sums]}, got {length}")
        _ = self.second
        view = ring.sums[length][: self._rows]
        view.flags.writeable = False
        return view

    def _check(self, name: str, given: Ints, end: int) -> None:
        if given.size and not 0 <= given.min() <= given.max() < end:
            raise ValueError(
                f"{name} must be 0 to {end - 1}, got {given.min()} to {given.max()}"
            )
