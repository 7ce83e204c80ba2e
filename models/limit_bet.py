"""Bets that more requests are bad than an absolute limit allows, a second at a time.

While the bad share is at most p_0, the mean of the bad ones among n requests is at most
n p_0. For an alternative p_1 > p_0 the factor of a second with x bad ones is

    L = 1 - f + f x / (n p_0),   f = min(0.95, n (p_1 - p_0))          1 when n is 0

It is linear in x: its mean is at most 1 however the requests of a second hang together,
so bursts do no harm (Waudby-Smith and Ramdas, JRSS-B 86, 2024, on bets of this form). f
is near the stake that grows fastest when requests are independent.

A factor may be cut, so that one second cannot decide: at a fifth of the way, in
logarithms, that a bet has to go. A fresh account then needs five bad seconds at least.
"""

import math
from typing import Final

import numpy as np

from models.contract import Floats, Ints

ERROR_LIMIT: Final = 0.005
ERROR_ALTERNATIVES: Final = (0.0075, 0.01, 0.02, 0.05, 0.2, 0.6)
LATENCY_LIMIT: Final = 0.05  # of requests slower than the limit of the p95
LATENCY_ALTERNATIVES: Final = (0.075, 0.1, 0.2, 0.5, 0.9)
_MOST_STAKE = 0.95
_LEAST_BAD_SECONDS = 5


def limit_factors(
    requests: Ints,
    bad: Ints,
    *,
    limit_ratio: float,
    alternatives: tuple[float, ...],
    most: float = math.inf,
) -> Floats:
    """What a second is worth to each alternative: array [alternatives, rows].

    Parameters
    ----------
    requests, bad
        n and x of each row; 0 <= bad <= requests.
    limit_ratio
        p_0, the bad share that is allowed; above 0, below 1.
    alternatives
        The p_1, each above the limit and at most 1; at least one.
    most
        No factor is more than this; >= 1.

    Raises
    ------
    ValueError
        When one of them is out of its range.

    Examples
    --------
    >>> requests, bad = np.array([1, 1, 0]), np.array([1, 0, 0])
    >>> limit_factors(requests, bad, limit_ratio=0.1, alternatives=(0.2,))
    array([[1.9, 0.9, 1. ]])
    """
    check_alternatives(limit_ratio, alternatives)
    if not most >= 1:
        raise ValueError(f"most must be >= 1, got {most}")
    if not bool(((bad >= 0) & (bad <= requests)).all()):
        raise ValueError("bad must be 0 to requests, got more or less")
    times_limit = bad / (np.maximum(requests, 1) * limit_ratio)
    factors: Floats = np.ones((len(alternatives), requests.size))
    for row, alternative in enumerate(alternatives):
        stake = np.minimum(_MOST_STAKE, requests * (alternative - limit_ratio))
        factors[row] = np.minimum(1 - stake + stake * times_limit, most)
    return factors


def most_factor(alternatives: int, *, alpha: float, lane_weight: float) -> float:
    """Greatest factor of a second: ( 2 K / (alpha * weight) )^(1/5).

    Parameters
    ----------
    alternatives
        Their number K; >= 1.
    alpha, lane_weight
        Chance of a false alarm, and the lane's part in the decision; above 0, at
        most 1.

    Raises
    ------
    ValueError
        When one of them is out of its range.

    Notes
    -----
    Rounded to nine places, so that the last bit of the C library's power, which
    differs between machines, does not reach the accounts.

    Examples
    --------
    >>> most_factor(6, alpha=0.01, lane_weight=0.2)
    5.69
    """
    if alternatives < 1:
        raise ValueError(f"alternatives must be >= 1, got {alternatives}")
    for name, value in (("alpha", alpha), ("lane_weight", lane_weight)):
        if not 0 < value <= 1:
            raise ValueError(f"{name} must be above 0, at most 1, got {value}")
    way = 2 * alternatives / (alpha * lane_weight)
    return round(math.pow(way, 1 / _LEAST_BAD_SECONDS), 9)


def check_alternatives(limit_ratio: float, alternatives: tuple[float, ...]) -> None:
    """Refuse a limit or alternatives that make no bet; raises ValueError."""
    if not 0 < limit_ratio < 1:
        raise ValueError(f"limit_ratio must be above 0, below 1, got {limit_ratio}")
    if not alternatives or not all(limit_ratio < p <= 1 for p in alternatives):
        raise ValueError(
            f"alternatives must be above {limit_ratio}, at most 1, got {alternatives}"
        )
