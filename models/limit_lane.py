"""Whether the canary is over an absolute limit, and by a fault of its own.

An account bets that it is. The same account is run on the baseline, because a fault
that both share is no reason to roll back: while the baseline's account is at 20 or
more, this lane counts nothing and the canary's account is cut down to what it was
given. Were it only not read meanwhile, it would outlive the baseline's when the
incident ends: that rolled back every canary in a simulated shared outage.

And the lane counts only while the canary also looks worse just now, or has no baseline:
the baseline's account may need some seconds more when it is the smaller side.
"""

from collections.abc import Mapping
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from models.change_time import AT_ONCE
from models.contract import Floats, Ints, State, check_version, pack, unpack_floats
from models.eprocess import EProcess
from models.limit_bet import check_alternatives, limit_factors, most_factor
from models.nested_state import nested, within
from models.open_block import OpenBlock
from models.recent_share import RecentShare

_VERSION = 1
SHARED_EVIDENCE: Final = 20.0


class LimitLane:
    """Accounts of many rollouts against one limit.

    Parameters
    ----------
    limit_ratio
        Bad share that is allowed; above 0, below 1.
    alternatives
        Bad shares to bet on, each above the limit and at most 1; at least one.
    lane_weight
        The lane's part in the decision; above 0, at most 1.
    alpha
        Chance of a false alarm over a whole rollout; above 0, at most 1.
    at_once
        Share of the account that is bet from the first second on; above 0, at most 1.

    Notes
    -----
    A second is accounted for when a later one arrives. O(rows given) per update.

    Examples
    --------
    >>> lane = LimitLane(0.005, (0.01, 0.1), lane_weight=0.2)
    >>> lane.grow(1)
    >>> row, requests = np.array([0]), np.array([[10], [90]])
    >>> for second in range(30):
    ...     lane.update(second, row, requests, np.array([[2], [0]]))
    >>> lane.evidence(29, row) > 500
    array([ True])
    """

    __slots__ = (
        "_alpha", "_alternatives", "_baseline", "_block", "_canary", "_lane_weight",
        "_limit_ratio", "_most", "_recent",
    )  # fmt: skip

    def __init__(
        self,
        limit_ratio: float,
        alternatives: tuple[float, ...],
        *,
        lane_weight: float,
        alpha: float = 0.01,
        at_once: float = AT_ONCE,
    ) -> None:
        check_alternatives(limit_ratio, alternatives)
        self._limit_ratio = float(limit_ratio)
        self._alternatives = tuple(float(ratio) for ratio in alternatives)
        self._lane_weight = float(lane_weight)
        self._alpha = float(alpha)
        count = len(alternatives)
        self._most = most_factor(count, alpha=alpha, lane_weight=lane_weight)
        self._canary = EProcess(count, at_once)
        self._baseline = EProcess(count, at_once)
        self._block = OpenBlock(block_seconds=1, columns=4)
        self._recent = RecentShare()

    def grow(self, rows: int) -> None:
        """Make room for so many rows; never shrinks."""
        for part in (self._canary, self._baseline, self._block, self._recent):
            part.grow(rows)

    def begin(self, rows: Ints, stakes: float | Floats = 1.0) -> None:
        """Begin these rows anew, with these stakes; ValueError unless they are 0 to 1.

        The baseline's account begins with 1.
        """
        self._canary.begin(rows, stakes)
        self._baseline.begin(rows)
        self._block.forget(rows)
        self._recent.forget(rows)

    def update(self, second: int, rows: Ints, requests: Ints, bad: Ints) -> None:
        """Take in requests of one second; a second that is over is accounted for.

        Parameters
        ----------
        second
            Event time, >= 0; not before the last update of any of these rows.
        rows
            Distinct rows there is room for.
        requests, bad
            Arrays [2, rows], of the canary and of the baseline; 0 <= bad <= requests.

        Raises
        ------
        ValueError
            When shapes differ, or a count or the second is out of its range.
        """
        shape = (2, rows.size)
        if not requests.shape == bad.shape == shape:
            raise ValueError(
                f"requests and bad must be {list(shape)}, "
                f"got {list(requests.shape)}, {list(bad.shape)}"
            )
        if not bool(((bad >= 0) & (bad <= requests)).all()):
            raise ValueError("bad must be 0 to requests, got more or less")
        closed = self._block.update(second, rows, np.concatenate([requests, bad]))
        if not closed.rows.size:
            return
        for side, account in enumerate((self._canary, self._baseline)):
            seen = closed.counts[side] > 0
            factors = limit_factors(
                closed.counts[side, seen],
                closed.counts[2 + side, seen],
                limit_ratio=self._limit_ratio,
                alternatives=self._alternatives,
                most=self._most,
            )
            account.step(closed.rows[seen], closed.seconds[seen], factors)
        self._canary.cut(closed.rows[self.is_shared(closed.rows)])
        self._recent.update(*closed)

    def is_shared(self, rows: Ints) -> NDArray[np.bool_]:
        """Whether the baselines of these rows are over the limit too.

        NotEnoughData when there is no room for one of them.
        """
        return np.asarray(self._baseline.evidence(rows) >= SHARED_EVIDENCE)

    def evidence(self, second: int, rows: Ints) -> Floats:
        """What counts in the decision, of the seconds before this one.

        E of the canaries; 0 for a fault that is shared, and for a canary that does not
        look worse just now. NotEnoughData when there is no room for one of the rows.
        """
        counts = self._recent.is_worse(second, rows) & ~self.is_shared(rows)
        return np.where(counts, self._canary.evidence(rows), 0.0)

    def account(self, rows: Ints) -> Floats:
        """E of the canaries of these rows, whether it counts or not.

        It is what a later stage begins with. NotEnoughData when there is no room for
        one of them.
        """
        return self._canary.evidence(rows)

    def state(self) -> State:
        """Give what it was made with, and its tables, in proportion to the rows."""
        return {
            "version": _VERSION,
            "limit_ratio": self._limit_ratio,
            "alternatives": pack(np.array(self._alternatives), "<f8"),
            "lane_weight": self._lane_weight,
            "alpha": self._alpha,
            **nested(
                canary=self._canary.state(),
                baseline=self._baseline.state(),
                block=self._block.state(),
                recent=self._recent.state(),
            ),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Make it again; ValueError on another version."""
        check_version(state, _VERSION)
        made = cls(
            state["limit_ratio"],
            tuple(unpack_floats(state["alternatives"]).tolist()),
            lane_weight=state["lane_weight"],
            alpha=state["alpha"],
            at_once=state["canary_at_once"],
        )
        made._canary = EProcess.from_state(within(state, "canary"))
        made._baseline = EProcess.from_state(within(state, "baseline"))
        made._block = OpenBlock.from_state(within(state, "block"))
        made._recent = RecentShare.from_state(within(state, "recent"))
        return made
