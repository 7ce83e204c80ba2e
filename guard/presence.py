"""Who was seen when, and how much: what silence and forgetting go by.

Rows are those of the windows. A rate that fades starts at 0, so a young row reads low:
a canary that hangs in its first minute would have promised next to nothing. Divided by
how far a row of its age can have filled, the past share is right from the start. Nor
does a silence lower it while it lasts.
"""

from typing import Any

import numpy as np

from guard.pane import FOREVER, Ints
from guard.rules import Floats
from models.decay import FadingRate, HalfLife

HALF_LIFE_SECONDS = 300.0  # of the traffic's past share
_HALF_LIFE = HalfLife(HALF_LIFE_SECONDS)


class Presence:
    """First and last second of every cohort, and its fading rate."""

    def __init__(self) -> None:
        self._rates = FadingRate(HALF_LIFE_SECONDS)
        self._first: Ints = np.zeros(0, np.int64)  # by row; 0 for never
        self._last: Ints = np.zeros(0, np.int64)

    def grow(self, rows: int) -> None:
        """Make room for so many rows; doubles when it must."""
        size = len(self._last)
        if rows > size:
            more = max(rows - size, size)
            self._first = np.pad(self._first, (0, more))
            self._last = np.pad(self._last, (0, more))

    def note(self, second: int, rows: Ints, requests: Ints) -> Ints:
        """Note who is there in this second; the rows that are new."""
        self._rates.update(second, rows, requests)
        new: Ints = rows[self._first[rows] == 0]
        self._first[new] = second
        self._last[rows] = second
        return new

    def reserve(self, second: int, rows: Ints) -> None:
        """Keep rows that have not been seen yet as if they were seen now."""
        unseen = rows[self._last[rows] == 0]
        self._last[unseen] = second

    def since(self, row: int) -> int:
        """First second of a row; what came before it was another's."""
        return int(self._first[row])

    def last(self, row: int) -> int | None:
        """Last second of a row that was seen; None for one that never was."""
        return int(self._last[row]) if self._first[row] else None

    def promised(self, second: int, rows: Ints) -> Floats:
        """Past requests of each row in a second; 0 for one that never had any."""
        promised = np.zeros(len(rows))
        seen = np.flatnonzero(self._first[rows] > 0)
        if seen.size:
            promised[seen] = self._rate(second, rows[seen])
        return promised

    def share(self, second: int, rows: Ints, beside: Ints) -> Floats:
        """Past requests of `rows` for each one of `beside`, which must have some.

        Each as it was when it last had any, so that a silence does not lower it.
        """
        return np.asarray(self._rate(second, rows) / self._rate(second, beside))

    def _rate(self, second: int, rows: Ints) -> Floats:
        first, last = self._first[rows], self._last[rows]
        silence = np.maximum(_faded(second - last), np.finfo(float).tiny)
        filled = 1.0 - _faded(last + 1 - first)
        return self._rates.read(second, rows) / silence / filled

    def stale(self, upto: int) -> Ints:
        """Rows that were last seen in this second or before."""
        return np.flatnonzero((self._last > 0) & (self._last <= upto))

    def oldest(self, kept: Ints) -> int:
        """The earliest last second of all rows but these; `FOREVER` without any."""
        seen = self._last > 0
        seen[kept] = False
        return int(self._last[seen].min(initial=FOREVER))

    def forget(self, rows: Ints) -> None:
        """Drop these rows, so that their numbers can be used again."""
        self._rates.forget(rows)
        self._first[rows] = self._last[rows] = 0

    def state(self) -> dict[str, Any]:
        """Return everything, for a snapshot."""
        return {
            "rates": self._rates.state(),
            "first": self._first.tobytes(),
            "last": self._last.tobytes(),
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> "Presence":
        """Go on where `state` was taken."""
        presence = cls()
        presence._rates = FadingRate.from_state(state["rates"])
        presence._first = np.frombuffer(state["first"], np.int64).copy()
        presence._last = np.frombuffer(state["last"], np.int64).copy()
        return presence


def _faded(seconds: Ints) -> Floats:
    """2^(-seconds / half-life)."""
    return _HALF_LIFE.fade(np.ones(len(seconds)), seconds)
