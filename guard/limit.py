"""A bound on a metric, and what is asked for when the canary is beyond it."""

import enum
import math
from typing import Literal

import msgspec

from guard.verdict import Action, Severity

STAGES = ("infrastructure", "integration", "canary", "partial", "full")
"""The stages of a rollout, in their order."""


class Measure(enum.Enum):
    """What a metric measures."""

    ERROR_RATIO = "error_ratio"
    SUCCESS_RATIO = "success_ratio"
    LATENCY = "latency"


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """What is not tolerated, for how long, in which stages.

    Parameters
    ----------
    bound
        A ratio from 0 to 1, or milliseconds of latency; 0 and unused when the
        limit is against the baseline.
    over
        Whether above the bound is worse. True for error_ratio and latency.
    sustain_seconds
        Seconds of event time that the breach must last; 0 is at once.
    stages
        The stages in which the limit applies; empty is every stage.
    in_stage
        A stage's own bound, which wins over ``bound``.
    against
        "absolute" compares with ``bound``, "baseline" with ``bound_beside``.
    times, plus
        The margin to the baseline; ``plus`` in the unit of ``bound``.
    critical_endpoints
        Whether only requests marked critical are looked at.

    Raises
    ------
    ValueError
        When a number is NaN or infinite.

    Examples
    --------
    >>> limit = Limit(
    ...     severity=Severity.WARNING, action=Action.HOLD,
    ...     bound=0.002, in_stage={"canary": 0.0015},
    ... )
    >>> limit.bound_in("canary"), limit.bound_in("partial")
    (0.0015, 0.002)
    """

    severity: Severity
    action: Action
    bound: float = 0.0
    over: bool = True
    sustain_seconds: int = 0
    stages: tuple[str, ...] = ()
    in_stage: dict[str, float] = {}
    against: Literal["absolute", "baseline"] = "absolute"
    times: float = 1.0
    plus: float = 0.0
    critical_endpoints: bool = False

    def __post_init__(self) -> None:
        numbers = (self.bound, self.times, self.plus, *self.in_stage.values())
        if not all(math.isfinite(number) for number in numbers):
            raise ValueError(f"a limit's numbers must be finite, are {numbers}")

    def applies_in(self, stage: str) -> bool:
        """Whether the limit is looked at in this stage."""
        return not self.stages or stage in self.stages

    def bound_in(self, stage: str) -> float:
        """Return the bound in this stage; the stage's own wins.

        Raises
        ------
        ValueError
            When the limit is against the baseline: it has no bound of its own, and
            a 0 in its place would roll back everything.
        """
        if self.against == "baseline":
            raise ValueError("a limit against the baseline has no absolute bound")
        return self.in_stage.get(stage, self.bound)

    def bound_beside(self, baseline: float) -> float:
        """Return the bound that the baseline's reading sets.

        ``baseline * times + plus`` when above is worse, ``baseline - plus`` when
        below is.

        Raises
        ------
        ValueError
            When the limit is absolute.
        """
        if self.against == "absolute":
            raise ValueError("an absolute limit does not look at the baseline")
        return baseline * self.times + self.plus if self.over else baseline - self.plus

    def is_broken_by(self, reading: float, bound: float) -> bool:
        """Whether the reading is beyond the bound; on the bound is not."""
        return reading > bound if self.over else reading < bound


class Metric(msgspec.Struct, frozen=True, kw_only=True):
    """One metric, how it is read, and its limits.

    Parameters
    ----------
    name
        The word in the policy, such as "error_ratio" or "latency_p95".
    quantile
        Of the latency, 0 to 1; None for ratios.
    target
        What is wished for, shown beside the limits and never judged.
    window_seconds, least_requests
        The rolling window it is read over, and the requests needed in it.
    limits
        In canonical order, from mild to grave; see ``guard.policy``.
    """

    name: str
    measure: Measure
    quantile: float | None = None
    target: float | None = None
    window_seconds: int = 60
    least_requests: int = 100
    limits: tuple[Limit, ...] = ()
