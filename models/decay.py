"""Events per second, fading with event time, for many rows at once.

A row is faded lazily, from its own last update. Fading all rows whenever one is touched
or read would be simpler, but then the bits of a value depend on who looked and when:
2^-a 2^-b is not 2^-(a+b) in floats, and a replay cut at other places would differ.

The factor is a product of powers of 2^(-1/half_life), each the square of the one
before, chosen by the bits of the gap. `0.5 ** array` is as short, but numpy picks
another algorithm for it on another processor; products round alike everywhere, and only
the first power is left to the C library.
"""

import math
from collections.abc import Mapping
from typing import Any, Self

import numpy as np

from models.contract import (
    Floats,
    Ints,
    NotEnoughData,
    State,
    check_version,
    pack,
    unpack,
    unpack_floats,
)

_VERSION = 1
_NEVER = np.iinfo(np.int64).min
_BITS = 63  # of a gap in seconds


class HalfLife:
    """A time after which what is kept counts half.

    Parameters
    ----------
    seconds
        Event time; finite, > 0.

    Examples
    --------
    >>> HalfLife(10.0).fade(np.array([8.0, 8.0]), np.array([0, 20])).round(9).tolist()
    [8.0, 2.0]
    """

    __slots__ = ("_powers", "seconds")

    def __init__(self, seconds: float) -> None:
        if not 0 < seconds < math.inf:
            raise ValueError(f"half_life_seconds must be finite and > 0, got {seconds}")
        self.seconds = float(seconds)
        self._powers = [0.5 ** (1.0 / self.seconds)]
        for _ in range(_BITS - 1):
            self._powers.append(self._powers[-1] * self._powers[-1])

    def fade(self, values: Floats, gaps: Ints) -> Floats:
        """What is left of values after gaps in seconds, each >= 0; shapes are equal."""
        for bit in range(int(gaps.max(initial=0)).bit_length()):
            values = np.where(gaps >> bit & 1, values * self._powers[bit], values)
        return values


class FadingRate:
    """Events per second, each event's weight halving every half-life.

    rate(t) = ln 2 / half_life * sum_i count_i 2^(-(t - t_i) / half_life)

    Parameters
    ----------
    half_life_seconds
        Event time after which an event counts half; finite, > 0.

    Notes
    -----
    The normalisation ln 2 / half_life is that of continuous time: of a steady c per
    second, the mean over each second tends to c. Read in the second of the update
    itself it stands ln 2 / (2 half_life) above (0.06 % at 600 s), and as much below
    just before the next one. It starts at 0, so a row that is younger than some
    half-lives reads low.

    Rows are numbers from 0 up; arrays grow to the greatest. O(rows given) per update
    and read.

    Examples
    --------
    >>> rate = FadingRate(half_life_seconds=10.0)
    >>> rate.update(100, np.array([0]), np.array([50]))
    >>> rate.read(100, np.array([0])) / rate.read(110, np.array([0]))
    array([2.])
    """

    __slots__ = ("_half_life", "_last", "_values")

    def __init__(self, half_life_seconds: float) -> None:
        self._half_life = HalfLife(half_life_seconds)
        self._values: Floats = np.zeros(0)
        self._last: Ints = np.zeros(0, np.int64)

    @property
    def half_life_seconds(self) -> float:
        """The half-life it was made with."""
        return self._half_life.seconds

    def update(self, second: int, rows: Ints, counts: Ints) -> None:
        """Take in the events of one second.

        Parameters
        ----------
        second
            Event time; not before the last update of any of these rows.
        rows, counts
            Distinct row numbers >= 0, and the number of events of each.

        Raises
        ------
        ValueError
            When the lengths differ, a row is negative or the second is too early.
        """
        if rows.shape != counts.shape:
            raise ValueError(
                f"counts must be as many as rows ({rows.size}), got {counts.size}"
            )
        if not rows.size:
            return
        self._grow(rows)
        faded = self._faded(second, rows)
        self._values[rows] = faded + counts * (math.log(2) / self.half_life_seconds)
        self._last[rows] = second

    def read(self, second: int, rows: Ints) -> Floats:
        """Events per second as of `second`; NaN for rows that never had an update.

        Raises
        ------
        NotEnoughData
            When no row at all had an update.
        ValueError
            When a row is negative or the second is before its last update.
        """
        if not self._known().size:
            raise NotEnoughData("a rate takes 1 update, got 0")
        self._grow(rows)
        return np.where(self._last[rows] == _NEVER, np.nan, self._faded(second, rows))

    def forget(self, rows: Ints) -> None:
        """Drop these rows, so that their numbers can be used again."""
        self._grow(rows)
        self._values[rows] = 0.0
        self._last[rows] = _NEVER

    def merge(self, other: Self, /) -> None:
        """Add the other's events, row by row; ValueError on another half-life.

        Each row stands at the later of its two last updates.
        """
        if other.half_life_seconds != self.half_life_seconds:
            raise ValueError(
                f"half_life_seconds must be {self.half_life_seconds}, "
                f"got {other.half_life_seconds}"
            )
        rows = other._known()
        if not rows.size:
            return
        self._grow(rows)
        at = np.maximum(self._last[rows], other._last[rows])
        self._values[rows] = self._faded(at, rows) + other._faded(at, rows)
        self._last[rows] = at

    def state(self) -> State:
        """Give the rows that had an update: proportional to their number."""
        rows = self._known()
        return {
            "version": _VERSION,
            "half_life_seconds": self.half_life_seconds,
            "rows": pack(rows),
            "seconds": pack(self._last[rows]),
            "values": pack(self._values[rows], "<f8"),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Make it again; ValueError on another version."""
        check_version(state, _VERSION)
        made = cls(state["half_life_seconds"])
        rows = unpack(state["rows"])
        made._grow(rows)
        made._last[rows] = unpack(state["seconds"])
        made._values[rows] = unpack_floats(state["values"])
        return made

    def _known(self) -> Ints:
        return np.flatnonzero(self._last != _NEVER)

    def _grow(self, rows: Ints) -> None:
        if not rows.size:
            return
        if rows.min() < 0:
            raise ValueError(f"rows must be >= 0, got {rows.min()}")
        if rows.max() >= self._last.size:
            more = max(int(rows.max()) + 1, 2 * self._last.size) - self._last.size
            self._values = np.concatenate([self._values, np.zeros(more)])
            self._last = np.concatenate([self._last, np.full(more, _NEVER)])

    def _faded(self, second: int | Ints, rows: Ints) -> Floats:
        """Values of these rows as of `second`; 0 where there was no update."""
        last = self._last[rows]
        gap = second - np.where(last == _NEVER, second, last)
        if gap.size and gap.min() < 0:
            late = int(np.argmin(gap))
            raise ValueError(
                f"second must be >= {last[late]}, the last of row {rows[late]}, "
                f"got {last[late] + gap[late]}"
            )
        return self._half_life.fade(self._values[rows], gap)
