"""One decision from four accounts.

    E = 0.35 E_errors + 0.35 E_latency + 0.2 E_abs_errors + 0.1 E_abs_latency

A mean with weights that were fixed beforehand of accounts that are each fair is fair
again, whatever they have to do with each other (Vovk and Wang, Annals of Statistics 49,
2021). So one alpha is for all four, and none need be looked at on its own.
"""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.contract import Floats

ERRORS_WEIGHT: Final = 0.35
LATENCY_WEIGHT: Final = 0.35
LIMIT_ERRORS_WEIGHT: Final = 0.2
LIMIT_LATENCY_WEIGHT: Final = 0.1
WARNING_EVIDENCE: Final = 5.0


class Combination(NamedTuple):
    """What each lane adds to the evidence, row by row; >= 0."""

    errors: Floats
    latency: Floats
    limit_errors: Floats
    limit_latency: Floats

    @property
    def evidence(self) -> Floats:
        """E, their sum, added in this order; never raises."""
        return self.errors + self.latency + self.limit_errors + self.limit_latency

    @property
    def is_warning(self) -> NDArray[np.bool_]:
        """Whether E is at 5 or more: to be said as such, and never a rollback."""
        return np.asarray(self.evidence >= WARNING_EVIDENCE)

    def is_reached(self, alpha: float) -> NDArray[np.bool_]:
        """Whether E is at 1 / alpha or more; see `is_reached`."""
        return is_reached(self.evidence, alpha)


def combined(
    *, errors: Floats, latency: Floats, limit_errors: Floats, limit_latency: Floats
) -> Combination:
    """Weigh the four accounts of each row.

    Parameters
    ----------
    errors, latency, limit_errors, limit_latency
        E of each lane and row, >= 0. A lane that has seen nothing stands at 1; one that
        does not count just now, at 0.

    Raises
    ------
    ValueError
        When their lengths differ, or one is negative or not a number.

    Examples
    --------
    >>> one, much = np.array([1.0]), np.array([300.0])
    >>> both = combined(errors=much, latency=one, limit_errors=one, limit_latency=one)
    >>> both.evidence, both.is_reached(0.01)
    (array([105.65]), array([ True]))
    """
    lanes = {
        "errors": errors,
        "latency": latency,
        "limit_errors": limit_errors,
        "limit_latency": limit_latency,
    }
    for name, lane in lanes.items():
        if lane.shape != errors.shape:
            raise ValueError(
                f"{name} must be as many as errors ({errors.size}), got {lane.size}"
            )
        if not bool((lane >= 0).all()):
            raise ValueError(f"{name} must be >= 0, got {lane.min(initial=0)}")
    return Combination(
        ERRORS_WEIGHT * errors,
        LATENCY_WEIGHT * latency,
        LIMIT_ERRORS_WEIGHT * limit_errors,
        LIMIT_LATENCY_WEIGHT * limit_latency,
    )


def is_reached(evidence: Floats, alpha: float) -> NDArray[np.bool_]:
    """Whether evidence is at 1 / alpha or more: a rollback, or of the mirror a pass.

    P(it ever is, while nothing is wrong) <= alpha (Ville). ValueError unless alpha is
    above 0 and below 1.

    Examples
    --------
    >>> is_reached(np.array([99.0, 100.0]), alpha=0.01).tolist()
    [False, True]
    """
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must be above 0, below 1, got {alpha}")
    return np.asarray(evidence >= 1 / alpha)
