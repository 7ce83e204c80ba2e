"""What the judge looks at: limits as rules, windows as views, readings of metrics."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from guard.limit import Limit, Measure, Metric
from guard.pane import ERRORS, REQUESTS, Ints
from guard.policy import Policy
from guard.verdict import Action, Severity
from models.quantile import quantile_of

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

_AT_ONCE = 64  # sketches: gathered all at once, those of 1,000 rollouts are 8 MB


class View(NamedTuple):
    """A rolling window over all requests, or over the critical ones."""

    window_seconds: int
    is_critical: bool = False


class Rule(NamedTuple):
    """One limit of one metric."""

    metric: Metric
    limit: Limit

    @property
    def view(self) -> View:
        """What the rule looks at."""
        return View(self.metric.window_seconds, self.limit.critical_endpoints)

    @property
    def code(self) -> int:
        """Action and severity as one number; the order of gravity."""
        return encode(self.limit.action, self.limit.severity)


class Side:
    """What a rolling window holds of one cohort of each rollout.

    Parameters
    ----------
    sums, sketches
        All rows of the window.
    rows
        The cohort's row, a rollout each. `counts` are its sums: (rollouts, columns).
    """

    __slots__ = ("_rows", "_sketches", "counts")

    def __init__(self, sums: Ints, sketches: Ints, rows: Ints) -> None:
        self.counts: Ints = sums[rows]
        self._sketches = sketches
        self._rows = rows

    def quantile(self, q: float, places: Ints) -> Floats:
        """Latency quantile of these rollouts; NaN where there is no request."""
        rows = self._rows[places]
        parts = [
            quantile_of(self._sketches[rows[start : start + _AT_ONCE]], q)
            for start in range(0, len(rows), _AT_ONCE)
        ]
        return np.concatenate(parts) if parts else np.zeros(0)


class Sides(NamedTuple):
    """Canary and baseline in the same window."""

    canary: Side
    baseline: Side


def encode(action: Action, severity: Severity) -> int:
    """Action and severity as one number.

    >>> decode(encode(Action.ROLLBACK, Severity.IMMEDIATE))[0].word
    'rollback'
    """
    return int(action) * 4 + int(severity) if action else 0


def decode(code: int) -> tuple[Action, Severity]:
    """Take `encode` back; a clear is as grave as a warning."""
    return Action(code // 4), Severity(code % 4 or Severity.WARNING)


def rules_of(policy: Policy, stage: str) -> tuple[Rule, ...]:
    """Return the rules in force in a stage, in the order of the policy."""
    return tuple(
        Rule(metric, limit)
        for metric in policy.metrics
        for limit in metric.limits
        if limit.applies_in(stage)
    )


def read(metric: Metric, side: Side, places: Ints) -> Floats:
    """Return the metric of these rollouts; NaN where there is no request."""
    if metric.measure is Measure.LATENCY:
        return side.quantile(metric.quantile or 0.0, places)
    counts = side.counts[places]
    good_or_bad = counts[:, ERRORS]
    if metric.measure is Measure.SUCCESS_RATIO:
        good_or_bad = counts[:, REQUESTS] - good_or_bad
    with np.errstate(invalid="ignore"):
        return np.asarray(good_or_bad / counts[:, REQUESTS])


def bound_of(limit: Limit, stage: str, beside: Floats) -> Floats:
    """Return the bound of each row; `beside` is the baseline's reading."""
    if limit.against == "baseline":
        return np.asarray(limit.bound_beside(beside))  # type: ignore[arg-type]
    return np.full(len(beside), limit.bound_in(stage))
