"""Is the canary worse than the baseline? An account of share bets on blocks.

Errors are one comparison, latency several (one for each quantile that a request can
be slower than). Each comparison makes a bet on each alternative; all weigh the same.
With alternatives below 1 it is the mirror account: evidence that the canary is not
worse than the margin. The same account without the instances that looked worst is one
more of these, fed with fewer counts.
"""

from collections.abc import Mapping
from typing import Any, Self

import numpy as np

from models.change_time import AT_ONCE
from models.contract import Floats, Ints, State, check_version, pack, unpack_floats
from models.eprocess import EProcess
from models.nested_state import nested, within
from models.open_block import OpenBlock
from models.share_bet import (
    ERROR_MARGIN,
    ERROR_RATIOS,
    LEAST_SECONDS,
    block_seconds,
    check_ratios,
    share_factors,
)

_VERSION = 1


class ShareLane:
    """Accounts of many rollouts whose canaries get the same weight.

    Parameters
    ----------
    weight
        The canary's share of the requests, from which the length of a block follows;
        above 0, below 1.
    margin
        Odds ratio that is tolerated; finite, above 0.
    ratios
        Alternatives, as factors of the margin's odds; all above 1, or all below.
    comparisons
        Kinds of bad requests, >= 1.
    least_seconds
        How long a total fault must last to be called, at least; finite, > 0.
    at_once
        Share of the account that is bet from the first block on; above 0, at most 1.

    Notes
    -----
    A block is accounted for when a second beyond it arrives. O(rows given) per update.

    Examples
    --------
    >>> lane = ShareLane(0.1)
    >>> lane.grow(1)
    >>> row, requests = np.array([0]), np.array([[100], [900]])
    >>> for second in range(60):
    ...     lane.update(second, row, requests, np.array([[[10]], [[1]]]))
    >>> lane.evidence(row) > 100
    array([ True])
    """

    __slots__ = (
        "_account", "_block", "_comparisons", "_least_seconds", "_margin", "_ratios",
        "_weight",
    )  # fmt: skip

    def __init__(
        self,
        weight: float,
        *,
        margin: float = ERROR_MARGIN,
        ratios: tuple[float, ...] = ERROR_RATIOS,
        comparisons: int = 1,
        least_seconds: float = LEAST_SECONDS,
        at_once: float = AT_ONCE,
    ) -> None:
        check_ratios(margin, ratios)
        if comparisons < 1:
            raise ValueError(f"comparisons must be >= 1, got {comparisons}")
        self._weight = float(weight)
        self._margin = float(margin)
        self._ratios = tuple(float(ratio) for ratio in ratios)
        self._comparisons = comparisons
        self._least_seconds = float(least_seconds)
        seconds = block_seconds(weight, least_seconds)
        self._block = OpenBlock(seconds, 2 + 2 * comparisons)
        self._account = EProcess(comparisons * len(ratios), at_once)

    @property
    def block_seconds(self) -> int:
        """Length of its blocks; never raises."""
        return self._block.block_seconds

    def grow(self, rows: int) -> None:
        """Make room for so many rows; never shrinks."""
        self._block.grow(rows)
        self._account.grow(rows)

    def begin(self, rows: Ints, stakes: float | Floats = 1.0) -> None:
        """Begin these rows anew, with these stakes; ValueError unless they are 0 to 1.

        A block that is not over is not accounted for.
        """
        self._account.begin(rows, stakes)
        self._block.forget(rows)

    def update(self, second: int, rows: Ints, requests: Ints, bad: Ints) -> None:
        """Take in one second; blocks that are over are accounted for.

        Parameters
        ----------
        second
            Event time, >= 0; not before the block of any of these rows.
        rows
            Distinct rows there is room for.
        requests, bad
            Arrays [2, rows] and [2, comparisons, rows], of the canary and of the
            baseline; each 0 <= bad <= requests.

        Raises
        ------
        ValueError
            When shapes differ, or a count or the second is out of its range.
        """
        shapes = (2, rows.size), (2, self._comparisons, rows.size)
        if (requests.shape, bad.shape) != shapes:
            raise ValueError(
                f"requests and bad must be {list(map(list, shapes))}, "
                f"got {list(requests.shape)}, {list(bad.shape)}"
            )
        if not bool(((bad >= 0) & (bad <= requests[:, np.newaxis])).all()):
            raise ValueError("bad must be 0 to requests, got more or less")
        counts = np.concatenate([requests, bad.reshape(-1, rows.size)])
        closed = self._block.update(second, rows, counts)
        if closed.rows.size:
            factors = self._factors(closed.counts)
            self._account.step(closed.rows, closed.seconds, factors)

    def _factors(self, counts: Ints) -> Floats:
        """Factors [comparisons * ratios, rows] of blocks, comparison by comparison."""
        requests, bad = counts[:2], counts[2:].reshape(2, self._comparisons, -1)
        return np.concatenate(
            [
                share_factors(
                    requests, bad[:, kind], margin=self._margin, ratios=self._ratios
                )
                for kind in range(self._comparisons)
            ]
        )

    def evidence(self, rows: Ints) -> Floats:
        """E of these rows, of the blocks that are over.

        NotEnoughData when there is no room for one of them.
        """
        return self._account.evidence(rows)

    def accounts(self, row: int) -> Floats:
        """What each bet of a row holds: array [comparisons, ratios].

        NotEnoughData when there is no room for it.
        """
        return self._account.accounts(row).reshape(self._comparisons, -1)

    def state(self) -> State:
        """Give what it was made with, and its tables, in proportion to the rows."""
        return {
            "version": _VERSION,
            "weight": self._weight,
            "margin": self._margin,
            "ratios": pack(np.array(self._ratios), "<f8"),
            "comparisons": self._comparisons,
            "least_seconds": self._least_seconds,
            **nested(block=self._block.state(), account=self._account.state()),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Make it again; ValueError on another version."""
        check_version(state, _VERSION)
        made = cls(
            state["weight"],
            margin=state["margin"],
            ratios=tuple(unpack_floats(state["ratios"]).tolist()),
            comparisons=state["comparisons"],
            least_seconds=state["least_seconds"],
            at_once=state["account_at_once"],
        )
        made._block = OpenBlock.from_state(within(state, "block"))
        made._account = EProcess.from_state(within(state, "account"))
        return made
