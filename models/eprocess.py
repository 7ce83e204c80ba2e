"""Accounts that bet against "nothing is wrong", valid however often one looks.

An account begins at 1 and cannot grow on average while the null hypothesis holds. So
P(it ever reaches 1 / alpha) <= alpha (Ville), whenever and how often it is read
(Ramdas, Gruenwald, Vovk and Shafer, Statistical Science 38, 2023). Products of fair
factors, mixtures with fixed weights and cutting an account down all keep this.

Each row mixes K alternatives, and the times at which a change may come:

    E = sum_k w_k [ w_0 prod_i L_k,i + sum_j pi_j prod_{i > j} L_k,i ] + rest

where `rest` is what waits for changes still to come. One number an alternative is
enough: m_k <- (m_k + pi w_k) L_k.

The m_k are plain floats, not logarithms. They cannot overflow, as each is cut at 1e4: a
past incident can so be forgotten. Nor is it harm that they underflow, as every step
puts new mass beside what is lost; what is below the smallest float is no part of any
sum. So no logarithm is taken, whose last bit differs between machines. The K are added
in their order: a reduction of numpy's may add in another order for another shape.
"""

from collections.abc import Mapping
from typing import Any, Final, Self

import numpy as np

from models.change_time import AT_ONCE, mass_started
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
MOST_ACCOUNT: Final = 1e4
_STAKE, _STARTED, _FIRST = 0, 1, 2


class EProcess:
    """Accounts of many rows, each a mixture over alternatives and change times.

    Parameters
    ----------
    alternatives
        Their number K, >= 1; all weigh 1 / K.
    at_once
        Share w_0 that is placed with the first step; above 0, at most 1.

    Notes
    -----
    A row's time begins with its first step. A step in which nothing was seen is left
    out, not taken with a factor of 1: the sum is the same, and its bits then depend on
    the counts alone. 16 + 8 K bytes a row; O(K) per step.

    Examples
    --------
    >>> account = EProcess(alternatives=2)
    >>> account.grow(1)
    >>> account.step(np.array([0]), np.array([7]), np.array([[2.0], [10.0]]))
    >>> account.evidence(np.array([0])).tolist()
    [2.25]
    """

    __slots__ = ("_at_once", "_floats", "_origin")

    def __init__(self, alternatives: int, at_once: float = AT_ONCE) -> None:
        if alternatives < 1:
            raise ValueError(f"alternatives must be >= 1, got {alternatives}")
        if not 0 < at_once <= 1:
            raise ValueError(f"at_once must be above 0, at most 1, got {at_once}")
        self._at_once = float(at_once)
        self._floats: Floats = np.zeros((_FIRST + alternatives, 0))
        self._origin: Ints = np.zeros(0, np.int64)

    @property
    def alternatives(self) -> int:
        """Their number; never raises."""
        return len(self._floats) - _FIRST

    def grow(self, rows: int) -> None:
        """Make room for so many rows; never shrinks."""
        have = self._origin.size
        if rows > have:
            self._floats = np.pad(self._floats, ((0, 0), (0, rows - have)))
            self._origin = np.pad(self._origin, (0, rows - have))
            self.begin(np.arange(have, rows, dtype=np.int64))

    def begin(self, rows: Ints, stakes: float | Floats = 1.0) -> None:
        """Begin these rows anew.

        Parameters
        ----------
        rows
            Rows there is room for.
        stakes
            What each begins with, 0 to 1. A stage that follows another begins with what
            the last one left, `np.minimum(1, evidence)`, so that alpha is for both
            together. Not with more: what waits for later changes is never lost, and a
            suspicion that was refuted would stand all day.

        Raises
        ------
        ValueError
            When a stake is not 0 to 1.
        """
        given = np.asarray(stakes, np.float64)
        if not bool(((given >= 0) & (given <= 1)).all()):
            raise ValueError(f"stakes must be 0 to 1, got {stakes}")
        self._floats[:, rows] = 0.0
        self._floats[_STAKE, rows] = given
        self._origin[rows] = -1

    def step(self, rows: Ints, seconds: Ints, factors: Floats) -> None:
        """Multiply the accounts of these rows by what was seen.

        Parameters
        ----------
        rows
            Distinct rows there is room for.
        seconds
            Event time, >= 0, at which what was seen by each row began; later than the
            row's last.
        factors
            Array [K, rows], >= 0, with a mean of at most 1 while nothing is wrong.

        Raises
        ------
        ValueError
            When shapes differ, or a second or a factor is out of its range.
        """
        if factors.shape != (self.alternatives, rows.size):
            raise ValueError(
                f"factors must be [{self.alternatives}, {rows.size}], "
                f"got {list(factors.shape)}"
            )
        if not bool((factors >= 0).all()):
            raise ValueError(f"factors must be >= 0, got {factors.min(initial=0)}")
        origin = self._origin[rows]
        origin = np.where(origin < 0, seconds, origin)
        started = mass_started(seconds - origin, self._at_once)
        placed = started - self._floats[_STARTED, rows]
        if placed.min(initial=0.0) < 0:
            raise ValueError("seconds must be later than the last step, got earlier")
        self._origin[rows] = origin
        new = self._floats[_STAKE, rows] * placed / self.alternatives
        accounts = (self._floats[_FIRST:, rows] + new) * factors
        self._floats[_FIRST:, rows] = np.minimum(accounts, MOST_ACCOUNT)
        self._floats[_STARTED, rows] = started

    def cut(self, rows: Ints) -> None:
        """Take from these rows what they have won; what they lost stays lost."""
        stake, started = self._floats[_STAKE, rows], self._floats[_STARTED, rows]
        given = stake * started / self.alternatives
        self._floats[_FIRST:, rows] = np.minimum(self._floats[_FIRST:, rows], given)

    def evidence(self, rows: Ints) -> Floats:
        """E of these rows: what they began with when nothing was seen since.

        NotEnoughData when there is no room for one of them: it never began.
        """
        if rows.max(initial=0) >= self._origin.size:
            raise NotEnoughData(
                f"an account takes room for row {rows.max(initial=0)}, "
                f"got {self._origin.size} rows"
            )
        total: Floats = self._floats[_STAKE, rows] * (1 - self._floats[_STARTED, rows])
        for account in self._floats[_FIRST:, rows]:
            total = total + account
        return total

    def accounts(self, row: int) -> Floats:
        """The m_k of a row, to name the alternative that fits best.

        NotEnoughData when there is no room for it.
        """
        self.evidence(np.array([row]))
        return self._floats[_FIRST:, row].copy()

    def state(self) -> State:
        """Give two packed tables, in proportion to the rows."""
        return {
            "version": _VERSION,
            "alternatives": self.alternatives,
            "at_once": self._at_once,
            "origin": pack(self._origin),
            "floats": pack(self._floats, "<f8"),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Make it again; ValueError on another version."""
        check_version(state, _VERSION)
        made = cls(state["alternatives"], state["at_once"])
        made._origin = unpack(state["origin"])
        floats = unpack_floats(state["floats"])
        made._floats = floats.reshape(_FIRST + made.alternatives, -1)
        return made
