"""Count, mean and variance of a stream, in one pass."""

import math
from collections.abc import Mapping
from typing import Any, Self

from models.contract import NotEnoughData, State, check_version

_VERSION = 1


class Moments:
    """Count, mean and variance (Welford, Technometrics 4, 1962; merge by Chan).

    n = n_a + n_b;  d = mean_b - mean_a
    mean = mean_a + d n_b / n
    S = S_a + S_b + d^2 n_a n_b / n          variance = S / (n - 1)

    Notes
    -----
    One observation is merged as a stream of length one, so S grows by squares only and
    the variance is never negative. Constant memory, O(1) per update and per merge.
    Merging is Chan, Golub and LeVeque, The American Statistician 37 (1983), equation
    2.1.

    Examples
    --------
    >>> m = Moments()
    >>> for x in (2.0, 4.0, 6.0):
    ...     m.update(x)
    >>> m.mean, m.variance
    (4.0, 4.0)
    """

    __slots__ = ("_count", "_mean", "_squares")

    def __init__(self) -> None:
        self._count = 0
        self._mean = 0.0
        self._squares = 0.0

    def update(self, x: float) -> None:
        """Take in one observation; ValueError unless it is finite."""
        if not math.isfinite(x):
            raise ValueError(f"x must be finite, got {x}")
        self._join(1, x, 0.0)

    def merge(self, other: Self, /) -> None:
        """Become the moments of both streams."""
        if other._count:
            self._join(other._count, other._mean, other._squares)

    def _join(self, count: int, mean: float, squares: float) -> None:
        total = self._count + count
        shift = mean - self._mean
        self._squares += squares + shift * shift * (self._count * count / total)
        self._mean += shift * (count / total)
        self._count = total

    @property
    def count(self) -> int:
        """Number of observations; 0 is a count, so this never raises."""
        return self._count

    @property
    def mean(self) -> float:
        """Arithmetic mean; NotEnoughData before the first observation."""
        if not self._count:
            raise NotEnoughData("a mean takes 1 observation, got 0")
        return self._mean

    @property
    def variance(self) -> float:
        """Sample variance (divided by n - 1); NotEnoughData before the second one."""
        if self._count < 2:
            raise NotEnoughData(f"a variance takes 2 observations, got {self._count}")
        return self._squares / (self._count - 1)

    @property
    def standard_deviation(self) -> float:
        """Square root of the variance, in units of x; NotEnoughData likewise."""
        return math.sqrt(self.variance)

    def state(self) -> State:
        """Four plain values."""
        return {
            "version": _VERSION,
            "count": self._count,
            "mean": self._mean,
            "squares": self._squares,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Make it again; ValueError on another version."""
        check_version(state, _VERSION)
        made = cls()
        made._count = state["count"]
        made._mean = state["mean"]
        made._squares = state["squares"]
        return made
