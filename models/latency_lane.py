"""Whether the canary is slower than the baseline, by bets on who exceeds its bars.

A request is slow when it takes longer than a quantile of the baseline's past. Four
quantiles are bet on beside each other: the middle sees a shift of everything, the last
a slow tail of one request in a hundred, and a bet on the p95 alone misses both. Bars
are fixed when a block begins, so the bets of the block stay fair whatever the service
does.
"""

from collections.abc import Mapping
from typing import Any, Self

import numpy as np

from models.change_time import AT_ONCE
from models.contract import Floats, Ints, State, check_version, pack, unpack
from models.nested_state import nested, within
from models.past_latency import HALF_LIFE_SECONDS, QUANTILES, UNKNOWN, PastLatency
from models.quantile import BUCKETS
from models.share_bet import LATENCY_MARGIN, LATENCY_RATIOS, LEAST_SECONDS
from models.share_lane import ShareLane

_VERSION = 1
_NEVER = -1


class LatencyLane:
    """Accounts of many rollouts whose canaries get the same weight.

    Parameters
    ----------
    weight
        The canary's share of the requests; above 0, below 1.
    half_life_seconds
        Of the baseline's past; finite, > 0.
    least_seconds
        How long a total fault must last to be called, at least; finite, > 0.
    at_once
        Share of the account that is bet from the first block on; above 0, at most 1.

    Notes
    -----
    Nothing is bet before the baseline's past holds 100 requests. 16 kB a row; O(cells)
    per update, and O(BUCKETS) per row where a block begins.

    Examples
    --------
    >>> lane, row = LatencyLane(0.1), np.array([0])
    >>> lane.grow(1)
    >>> slower, usual = np.array([[0], [700], [10]]), np.array([[0], [600], [90]])
    >>> for second in range(90):
    ...     lane.update(second, row, slower, usual)
    >>> lane.evidence(row) > 1000
    array([ True])
    """

    __slots__ = ("_bars", "_begun", "_lane", "_now", "_past")

    def __init__(
        self,
        weight: float,
        *,
        half_life_seconds: float = HALF_LIFE_SECONDS,
        least_seconds: float = LEAST_SECONDS,
        at_once: float = AT_ONCE,
    ) -> None:
        self._lane = ShareLane(
            weight,
            margin=LATENCY_MARGIN,
            ratios=LATENCY_RATIOS,
            comparisons=len(QUANTILES),
            least_seconds=least_seconds,
            at_once=at_once,
        )
        self._past = PastLatency(half_life_seconds)
        self._bars: Ints = np.zeros((2, len(QUANTILES), 0), np.int64)
        self._begun: Ints = np.zeros(0, np.int64)
        self._now: Ints = np.zeros((0, BUCKETS), np.int64)

    def grow(self, rows: int) -> None:
        """Make room for so many rows; never shrinks."""
        more = rows - self._begun.size
        if more > 0:
            edge = ((0, 0), (0, 0), (0, more))
            self._bars = np.pad(self._bars, edge, constant_values=UNKNOWN)
            self._begun = np.pad(self._begun, (0, more), constant_values=_NEVER)
            self._now = np.pad(self._now, ((0, more), (0, 0)))
            self._lane.grow(rows)
            self._past.grow(rows)

    def begin(self, rows: Ints, stakes: float | Floats = 1.0) -> None:
        """Begin these rows anew, with these stakes; ValueError unless they are 0 to 1.

        The past is forgotten too.
        """
        self._lane.begin(rows, stakes)
        self._past.forget(rows)
        self._bars[:, :, rows] = UNKNOWN
        self._begun[rows] = _NEVER
        self._now[rows] = 0

    def update(self, second: int, rows: Ints, canary: Ints, baseline: Ints) -> None:
        """Take in one second; blocks that are over are accounted for.

        Parameters
        ----------
        second
            Event time, >= 0; not before the block of any of these rows.
        rows
            Distinct rows there is room for.
        canary, baseline
            Arrays [3, cells]: row (one of `rows`), bucket of the latency, requests.

        Raises
        ------
        ValueError
            When a shape, a cell or the second is out of its range.
        """
        _check(rows, canary)
        _check(rows, baseline)
        begins = second - second % self._lane.block_seconds
        newest = int(self._begun[rows].max(initial=0))
        if begins < newest:
            raise ValueError(f"second must be >= {newest}, got {second}")
        self._turn(begins, rows[self._begun[rows] < begins])
        requests = np.zeros((2, self._begun.size), np.int64)
        slow = np.zeros((2, len(QUANTILES), self._begun.size), np.int64)
        for side, (row, bucket, count) in enumerate((canary, baseline)):
            counted = np.where(self._bars[side, 0, row] == UNKNOWN, 0, count)
            np.add.at(requests[side], row, counted)
            for index, bars in enumerate(self._bars[side]):
                np.add.at(slow[side, index], row, counted * (bucket > bars[row]))
        np.add.at(self._now, (baseline[0], baseline[1]), baseline[2])
        self._lane.update(second, rows, requests[:, rows], slow[:, :, rows])

    def _turn(self, begins: int, rows: Ints) -> None:
        """Begin a block: what the last one held is past, and bars are set."""
        full = rows[self._now[rows].any(axis=1)]
        self._past.update(full, self._begun[full], self._now[full])
        self._now[full] = 0
        self._bars[:, :, rows] = self._past.bars(begins, rows)
        self._begun[rows] = begins

    def evidence(self, rows: Ints) -> Floats:
        """E of these rows, of the blocks that are over.

        NotEnoughData when there is no room for one of them.
        """
        return self._lane.evidence(rows)

    def accounts(self, row: int) -> Floats:
        """What each bet of a row holds: array [QUANTILES, ratios].

        NotEnoughData when there is no room for it.
        """
        return self._lane.accounts(row)

    def state(self) -> State:
        """Give its tables; of histograms the cells that hold something."""
        cells = np.flatnonzero(self._now)
        return {
            "version": _VERSION,
            "bars": pack(self._bars),
            "begun": pack(self._begun),
            "cells": pack(cells),
            "counts": pack(self._now.reshape(-1)[cells]),
            **nested(lane=self._lane.state(), past=self._past.state()),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Make it again; ValueError on another version."""
        check_version(state, _VERSION)
        made = cls(state["lane_weight"])
        made._lane = ShareLane.from_state(within(state, "lane"))
        made._past = PastLatency.from_state(within(state, "past"))
        made._begun = unpack(state["begun"])
        rows = made._begun.size
        made._bars = unpack(state["bars"]).reshape(2, len(QUANTILES), rows)
        made._now = np.zeros((rows, BUCKETS), np.int64)
        made._now.reshape(-1)[unpack(state["cells"])] = unpack(state["counts"])
        return made


def _check(rows: Ints, cells: Ints) -> None:
    if cells.ndim != 2 or len(cells) != 3:
        raise ValueError(f"cells must be [3, cells], got {list(cells.shape)}")
    row, bucket, count = cells
    if not bool(np.isin(row, rows).all()):
        raise ValueError("rows of cells must be given as rows, got another")
    if not 0 <= bucket.min(initial=0) <= bucket.max(initial=0) < BUCKETS:
        raise ValueError(f"buckets must be 0 to {BUCKETS - 1}, got another")
    if count.min(initial=0) < 0:
        raise ValueError(f"counts must be >= 0, got {count.min()}")
