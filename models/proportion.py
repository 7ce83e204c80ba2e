"""Good events among valid ones."""

import math
from collections.abc import Mapping
from statistics import NormalDist
from typing import Any, Self

from models.contract import NotEnoughData, State, check_version

_VERSION = 1


class Proportion:
    """Counts of good and of valid events, and their ratio.

    Notes
    -----
    Constant memory, O(1) per update and per merge. Counts are integers: exact.

    Examples
    --------
    >>> p = Proportion()
    >>> p.update(good=9, valid=10)
    >>> p.ratio
    0.9
    """

    __slots__ = ("_good", "_valid")

    def __init__(self) -> None:
        self._good = 0
        self._valid = 0

    def update(self, *, good: int, valid: int) -> None:
        """Take in some events; ValueError unless 0 <= good <= valid."""
        if not 0 <= good <= valid:
            raise ValueError(f"good must be 0 to valid ({valid}), got {good}")
        self._good += good
        self._valid += valid

    def merge(self, other: Self, /) -> None:
        """Count the other's events too."""
        self._good += other._good
        self._valid += other._valid

    @property
    def good(self) -> int:
        """Number of good events; never raises."""
        return self._good

    @property
    def valid(self) -> int:
        """Number of valid events; never raises."""
        return self._valid

    @property
    def ratio(self) -> float:
        """Good / valid, 0 to 1; NotEnoughData without a valid event."""
        if not self._valid:
            raise NotEnoughData("a ratio takes 1 valid event, got 0")
        return self._good / self._valid

    def wilson_interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Interval of the ratio, for display: fixed counts, one look (Wilson 1927).

        ( p + z^2 / 2n  -+  z sqrt( p (1 - p) / n + z^2 / 4n^2 ) ) / ( 1 + z^2 / n )

        Parameters
        ----------
        confidence
            Two-sided level, above 0 and below 1; z is the normal quantile of its upper
            end.

        Raises
        ------
        NotEnoughData
            Without a valid event.
        ValueError
            When the confidence is out of its range.

        Notes
        -----
        Nothing is decided by it: who looks every second sees it exclude the truth
        sooner or later. Wilson, JASA 22 (1927), page 209; Newcombe, Statistics in
        Medicine 17 (1998), method 3.

        Examples
        --------
        >>> p = Proportion()
        >>> p.update(good=81, valid=263)
        >>> [round(x, 4) for x in p.wilson_interval()]
        [0.2553, 0.3662]
        """
        if not 0 < confidence < 1:
            raise ValueError(f"confidence must be above 0, below 1, got {confidence}")
        p, n = self.ratio, self._valid
        z = NormalDist().inv_cdf((1 + confidence) / 2)
        middle = p + z * z / (2 * n)
        half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        scale = 1 + z * z / n
        # Rounding may step over 0 or 1 by one bit, and over p itself when p is there.
        low, high = (middle - half) / scale, (middle + half) / scale
        return max(0.0, min(low, p)), min(1.0, max(high, p))

    def state(self) -> State:
        """Three integers."""
        return {"version": _VERSION, "good": self._good, "valid": self._valid}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Make it again; ValueError on another version."""
        check_version(state, _VERSION)
        made = cls()
        made.update(good=state["good"], valid=state["valid"])
        return made
