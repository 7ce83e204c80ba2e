"""What is slow for this service: bars from the baseline's past latencies.

A fading histogram holds how long the baseline's requests took. A request is slow when
it takes longer than one of its quantiles; the canary's bar is higher by a tolerance, as
a millisecond more is no fault. Whoever bets on what exceeds a bar must fix it before
the bet, and so the past ends where the block begins.

A row is faded from its own last block, by a product of powers as in `decay`; so neither
who else was updated nor a silent block shows in its bits.
"""

from collections.abc import Mapping
from typing import Any, Final, Self

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
from models.decay import HalfLife
from models.quantile import BUCKETS, bucket_of, value_of

_VERSION = 1
QUANTILES: Final = (0.5, 0.95, 0.99, 0.999)
HALF_LIFE_SECONDS: Final = 600.0
LEAST_REQUESTS: Final = 100.0
TOLERANCE_RATIO: Final = 0.1
TOLERANCE_MS: Final = 5.0
UNKNOWN: Final = -1


class PastLatency:
    """Fading histograms of many rows.

    Parameters
    ----------
    half_life_seconds
        Event time after which a request counts half; finite, > 0.

    Notes
    -----
    8 kB a row. O(BUCKETS) per row and update.

    Examples
    --------
    >>> past, row = PastLatency(), np.array([0])
    >>> past.grow(1)
    >>> counts = np.bincount(bucket_of(np.array([100.0] * 200)), minlength=BUCKETS)
    >>> past.update(row, np.array([0]), counts[np.newaxis])
    >>> bars = past.bars(5, row)
    >>> [round(value_of(int(bar))) for bar in bars[:, 0, 0]]
    [111, 100]
    """

    __slots__ = ("_half_life", "_last", "_values")

    def __init__(self, half_life_seconds: float = HALF_LIFE_SECONDS) -> None:
        self._half_life = HalfLife(half_life_seconds)
        self._values: Floats = np.zeros((0, BUCKETS))
        self._last: Ints = np.zeros(0, np.int64)

    def grow(self, rows: int) -> None:
        """Make room for so many rows; never shrinks."""
        more = rows - self._last.size
        if more > 0:
            self._values = np.pad(self._values, ((0, more), (0, 0)))
            self._last = np.pad(self._last, (0, more))

    def forget(self, rows: Ints) -> None:
        """Drop what these rows have counted."""
        self._values[rows] = 0.0
        self._last[rows] = 0

    def update(self, rows: Ints, seconds: Ints, counts: Ints) -> None:
        """Take in the requests of a block.

        Parameters
        ----------
        rows, seconds
            Distinct rows there is room for, and the instant of each, >= 0, not before
            the row's last.
        counts
            Array [rows, BUCKETS] of requests, >= 0.
        """
        kept = self._kept(rows, seconds)
        self._values[rows] = self._values[rows] * kept[:, np.newaxis] + counts
        self._last[rows] = seconds

    def bars(self, second: int, rows: Ints) -> Ints:
        """Greatest bucket that is not slow yet: array [2, QUANTILES, rows].

        As everywhere the canary comes first: its bar is that of a latency 10 % higher
        than the baseline's, and at least 5 ms. The baseline's is the bucket of its
        quantile. UNKNOWN while fewer than 100 requests, faded, are known.

        Parameters
        ----------
        second
            Event time; not before the last update of these rows.
        rows
            Rows there is room for.

        Raises
        ------
        NotEnoughData
            When there is no room for one of the rows.
        """
        if rows.max(initial=0) >= self._last.size:
            raise NotEnoughData(
                f"a bar takes room for row {rows.max(initial=0)}, "
                f"got {self._last.size} rows"
            )
        sums: Floats = np.add.accumulate(self._values[rows], axis=1)
        totals = sums[:, -1]
        bars = np.empty((2, len(QUANTILES), rows.size), np.int64)
        for index, quantile in enumerate(QUANTILES):
            is_below = sums < (quantile * totals)[:, np.newaxis]
            bucket: Ints = is_below.sum(axis=1)
            value: Floats = value_of(bucket)
            higher = np.maximum(value * (1 + TOLERANCE_RATIO), value + TOLERANCE_MS)
            bars[:, index] = bucket_of(higher), bucket
        known = totals * self._kept(rows, np.full(rows.size, second))
        bars[:, :, known < LEAST_REQUESTS] = UNKNOWN
        return bars

    def _kept(self, rows: Ints, seconds: Ints) -> Floats:
        """What of these rows' values is left at these seconds, 0 to 1."""
        return self._half_life.fade(np.ones(rows.size), seconds - self._last[rows])

    def state(self) -> State:
        """Give the cells that hold something."""
        cells = np.flatnonzero(self._values)
        return {
            "version": _VERSION,
            "half_life_seconds": self._half_life.seconds,
            "last": pack(self._last),
            "cells": pack(cells),
            "values": pack(self._values.reshape(-1)[cells], "<f8"),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Make it again; ValueError on another version."""
        check_version(state, _VERSION)
        made = cls(state["half_life_seconds"])
        made._last = unpack(state["last"])
        made._values = np.zeros((made._last.size, BUCKETS))
        values = unpack_floats(state["values"])
        made._values.reshape(-1)[unpack(state["cells"])] = values
        return made
