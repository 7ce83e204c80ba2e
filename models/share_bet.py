"""Bets on the canary's share of what went bad, a block at a time.

In a block the canary answered a requests, x of them bad; the baseline b and y;
e = x + y. While the odds of a bad one are at most omega times the baseline's, the
canary's expected share of the bad ones is at most q = omega a / (omega a + b). Against
it bets, for an alternative r > 1,

    L_r = (x r + y) / (e (1 + q (r - 1)))          1 when e, a or b is 0

It is linear in x: its mean is at most 1 as soon as that of x is at most e q. One block,
however bad, counts once and for at most 1 / q, which makes it immune to bursts
inside a block; a product over requests would take each for evidence.

The mirror, r < 1, bets that the odds are below the margin. There the expected share
must not be overstated, and the plain q does that: the mean of L would reach 1.26 at a
margin of 2, and 1.43 at 3. Cornfield's mean of the non-central hypergeometric
(Proceedings of the Third Berkeley Symposium 4, 1956) keeps it at most 1: the root m of
m (b - e + m) = omega (a - m) (e - m).
"""

import math
from typing import Final

import numpy as np

from models.contract import Floats, Ints

ERROR_MARGIN: Final = 1.1
ERROR_RATIOS: Final = (1.5, 2.0, 3.0, 5.0, 10.0, 40.0)
LATENCY_MARGIN: Final = 1.0
LATENCY_RATIOS: Final = (2.0, 5.0, 20.0)
SAFE_MARGIN: Final = 2.0
SAFE_RATIOS: Final = (0.67, 0.5, 0.25)
LEAST_SECONDS: Final = 35.0


def block_seconds(weight: float, least_seconds: float = LEAST_SECONDS) -> int:
    """Length of a block, so that a total fault takes about as long at every weight.

    least_seconds * ln(1 / weight) / 16, in whole seconds, 1 to 15

    Parameters
    ----------
    weight
        The canary's share of the requests; above 0, below 1.
    least_seconds
        How long it must be bad, at least; > 0.

    Raises
    ------
    ValueError
        When one is out of its range.

    Examples
    --------
    >>> [block_seconds(weight) for weight in (0.01, 0.1, 0.5)]
    [10, 5, 2]
    """
    if not 0 < weight < 1:
        raise ValueError(f"weight must be above 0, below 1, got {weight}")
    if not 0 < least_seconds < math.inf:
        raise ValueError(f"least_seconds must be finite and > 0, got {least_seconds}")
    return min(max(round(least_seconds * math.log(1 / weight) / 16), 1), 15)


def cornfield_mean(canary: Ints, baseline: Ints, bad: Ints, margin: float) -> Floats:
    """Expected number of the bad ones that are the canary's, at these odds.

    Parameters
    ----------
    canary, baseline, bad
        a, b and e, all >= 0, with e <= a + b; equally long.
    margin
        omega, the odds ratio; above 0.

    Notes
    -----
    The root is taken as 2 c / (k + sqrt(k^2 - 4 (omega - 1) c)), which neither cancels
    nor divides by 0 at omega = 1.

    Examples
    --------
    >>> cornfield_mean(np.array([100]), np.array([900]), np.array([10]), 1.0).tolist()
    [1.0]
    """
    a, b, e = (np.asarray(count, np.float64) for count in (canary, baseline, bad))
    constant = margin * a * e
    linear = b + margin * a + (margin - 1) * e
    under = np.maximum(linear * linear - 4 * (margin - 1) * constant, 0.0)
    whole = linear + np.sqrt(under)
    root: Floats = 2 * constant / np.where(whole > 0, whole, 1.0)
    return root


def share_factors(
    requests: Ints, bad: Ints, *, margin: float, ratios: tuple[float, ...]
) -> Floats:
    """What a block is worth to each alternative: array [ratios, rows].

    Parameters
    ----------
    requests, bad
        Arrays [2, rows]: of the canary, of the baseline; 0 <= bad <= requests.
    margin
        omega, the odds ratio of the null hypothesis; above 0, finite.
    ratios
        The alternatives r, all above 1 (the canary is worse than the margin) or all
        below (it is not).

    Raises
    ------
    ValueError
        When one of them is out of its range.

    Examples
    --------
    >>> requests, bad = np.array([[100], [900]]), np.array([[1], [0]])
    >>> share_factors(requests, bad, margin=1.0, ratios=(2.0,)) * 1.1
    array([[2.]])
    """
    check_ratios(margin, ratios)
    if not bool(((bad >= 0) & (bad <= requests)).all()):
        raise ValueError("bad must be 0 to requests, got more or less")
    (canary, baseline), (x, y) = requests, bad
    worst = x + y
    is_telling = (canary > 0) & (baseline > 0) & (worst > 0)
    if ratios[0] > 1:
        odds = margin * canary
        expected = worst * (odds / np.where(is_telling, odds + baseline, 1.0))
    else:
        expected = cornfield_mean(canary, baseline, worst, margin)
    factors: Floats = np.ones((len(ratios), worst.size))
    for factor, ratio in zip(factors, ratios, strict=True):
        fair = np.where(is_telling, worst + expected * (ratio - 1), 1.0)
        factor[is_telling] = ((x * ratio + y) / fair)[is_telling]
    return factors


def check_ratios(margin: float, ratios: tuple[float, ...]) -> None:
    """Refuse a margin or alternatives that make no bet; raises ValueError."""
    if not 0 < margin < math.inf:
        raise ValueError(f"margin must be finite and > 0, got {margin}")
    is_above = bool(ratios) and all(1 < ratio < math.inf for ratio in ratios)
    is_below = bool(ratios) and all(0 < ratio < 1 for ratio in ratios)
    if not (is_above or is_below):
        raise ValueError(f"ratios must be all above 1 or all below, got {ratios}")
