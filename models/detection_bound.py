"""How much must be seen before a fault can be told from chance, at the least.

An account grows, per observation, by at most the information that one carries: the
Kullback-Leibler divergence. So log(1 / alpha) divided by it is how much a test that is
valid at any time needs on average, whatever the test (Wald, Sequential Analysis, 1947).
"""

import math


def divergence(p: float, q: float) -> float:
    """Information of one request, bad with chance p, against a chance q, in nats.

    p ln(p / q) + (1 - p) ln((1 - p) / (1 - q))

    ValueError unless both are above 0 and below 1.

    Examples
    --------
    >>> round(divergence(0.05, 0.005), 4)
    0.0712
    """
    for name, value in (("p", p), ("q", q)):
        if not 0 < value < 1:
            raise ValueError(f"{name} must be above 0, below 1, got {value}")
    return p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))


def requests_needed(bad_ratio: float, limit_ratio: float, alpha: float) -> float:
    """Requests, on average, to refute that the bad share is within its limit.

    ln(1 / alpha) / KL(bad_ratio, limit_ratio)

    ValueError unless all are above 0 and below 1, and the bad share above the limit.

    Examples
    --------
    >>> round(requests_needed(0.05, 0.005, alpha=0.01), 1)
    64.7
    """
    _check(alpha)
    if not bad_ratio > limit_ratio:
        raise ValueError(f"bad_ratio must be above {limit_ratio}, got {bad_ratio}")
    return math.log(1 / alpha) / divergence(bad_ratio, limit_ratio)


def seconds_needed(
    per_second: float, weight: float, bad_ratio: float, times: float, *, alpha: float
) -> float:
    """Seconds, on average, to refute that the canary is like its baseline.

    ln(1 / alpha) / ( n w KL(times * p, q) + n (1 - w) KL(p, q) ),  q their mean

    Parameters
    ----------
    per_second
        n, requests of both; > 0.
    weight
        w, the canary's share of them; above 0, below 1.
    bad_ratio, times
        p, the baseline's bad share, and the canary's as a multiple of it; above 1.
    alpha
        Chance of a false alarm; above 0, below 1.

    Raises
    ------
    ValueError
        When one of them is out of its range.

    Examples
    --------
    >>> round(seconds_needed(1000, 0.1, 0.0005, 2, alpha=0.01))
    272
    """
    _check(alpha)
    if not (per_second > 0 and times > 1 and 0 < weight < 1):
        raise ValueError(
            "per_second must be > 0, times above 1, weight above 0 and below 1, "
            f"got {per_second}, {times}, {weight}"
        )
    worse = times * bad_ratio
    mean = weight * worse + (1 - weight) * bad_ratio
    canary = weight * divergence(worse, mean)
    baseline = (1 - weight) * divergence(bad_ratio, mean)
    return math.log(1 / alpha) / (per_second * (canary + baseline))


def _check(alpha: float) -> None:
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must be above 0, below 1, got {alpha}")
