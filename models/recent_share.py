"""Whether the canary looks worse than the baseline just now.

The bad shares of the last ten seconds are compared by their difference in pooled
standard errors. This promises nothing, as it is looked at every second; it only holds
an account back during the first seconds of a fault that both share, when the side with
fewer requests has shown less of it.
"""

from collections.abc import Mapping
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from models.contract import Ints, NotEnoughData, State, check_version, pack, unpack

_VERSION = 1
RECENT_SECONDS: Final = 10
STANDARD_ERRORS: Final = 3.0
_COLUMNS = 4  # requests of canary and baseline, bad ones of canary and baseline
_NEVER = -1


class RecentShare:
    """Counts of the last ten seconds, each second in its own place, for many rows.

    Notes
    -----
    A place is known by its second, so no second need be taken away and none is
    counted twice. 400 bytes a row; O(rows given) per update.

    Examples
    --------
    >>> recent = RecentShare()
    >>> recent.grow(1)
    >>> row = np.array([0])
    >>> recent.update(row, np.array([5]), np.array([[100], [900], [20], [9]]))
    >>> recent.is_worse(6, row).tolist(), recent.is_worse(16, row).tolist()
    ([True], [False])
    """

    __slots__ = ("_counts", "_seconds")

    def __init__(self) -> None:
        self._counts: Ints = np.zeros((RECENT_SECONDS, _COLUMNS, 0), np.int64)
        self._seconds: Ints = np.zeros((RECENT_SECONDS, 0), np.int64)

    def grow(self, rows: int) -> None:
        """Make room for so many rows; never shrinks."""
        more = rows - self._seconds.shape[1]
        if more > 0:
            self._counts = np.pad(self._counts, ((0, 0), (0, 0), (0, more)))
            self._seconds = np.pad(
                self._seconds, ((0, 0), (0, more)), constant_values=_NEVER
            )

    def forget(self, rows: Ints) -> None:
        """Drop what these rows have counted."""
        self._counts[:, :, rows] = 0
        self._seconds[:, rows] = _NEVER

    def update(self, rows: Ints, seconds: Ints, counts: Ints) -> None:
        """Take in a second that is over, of each row.

        Parameters
        ----------
        rows, seconds
            Distinct rows there is room for, and the second of each, >= 0, later than
            the row's last.
        counts
            Array [4, rows]: requests of canary and baseline, bad ones of both.
        """
        place = seconds % RECENT_SECONDS
        self._counts[place, :, rows] = counts.T
        self._seconds[place, rows] = seconds

    def is_worse(self, second: int, rows: Ints) -> NDArray[np.bool_]:
        """Whether the canary's bad share is above the baseline's by 3 standard errors.

        x / n - y / m > 3 sqrt( p (1 - p) (1 / n + 1 / m) ),  p = (x + y) / (n + m)

        Parameters
        ----------
        second
            Event time; what lies in the ten seconds before it is compared.
        rows
            Rows there is room for. One without a baseline in these seconds is worse,
            one without a canary is not.

        Raises
        ------
        NotEnoughData
            When there is no room for one of the rows.
        """
        if rows.max(initial=0) >= self._seconds.shape[1]:
            raise NotEnoughData(
                f"a comparison takes room for row {rows.max(initial=0)}, "
                f"got {self._seconds.shape[1]} rows"
            )
        stamps = self._seconds[:, rows]
        is_recent = (stamps >= max(second - RECENT_SECONDS, 0)) & (stamps < second)
        sums: Ints = (self._counts[:, :, rows] * is_recent[:, np.newaxis]).sum(axis=0)
        canary, baseline, x, y = sums
        n, m = np.maximum(canary, 1), np.maximum(baseline, 1)
        above = x / n - y / m
        pooled = (x + y) / np.maximum(canary + baseline, 1)
        variance = pooled * (1 - pooled) * (1 / n + 1 / m)
        is_above = (above > 0) & (above * above > STANDARD_ERRORS**2 * variance)
        return np.asarray((canary > 0) & (is_above | (baseline == 0)))

    def state(self) -> State:
        """Give two packed tables, in proportion to the rows."""
        return {
            "version": _VERSION,
            "counts": pack(self._counts),
            "seconds": pack(self._seconds),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Make it again; ValueError on another version."""
        check_version(state, _VERSION)
        made = cls()
        made._seconds = unpack(state["seconds"]).reshape(RECENT_SECONDS, -1)
        rows = made._seconds.shape[1]
        made._counts = unpack(state["counts"]).reshape(RECENT_SECONDS, _COLUMNS, rows)
        return made
