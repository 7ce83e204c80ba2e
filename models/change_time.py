"""How much of a bet has been placed by now, when a change may come at any time.

Who bets from the first second on has lost nearly all of it when the fault comes after
four hours. So only a quarter is placed at once. Of the rest, half is spread evenly over
the days, of which day d (from 1) gets 2^-d, and half evenly in the logarithm of the
time since the start, over one day: faults mostly come soon after the canary does.

Any shares that are fixed beforehand keep a bet fair (Howard, Ramdas, McAuliffe and
Sekhon, Annals of Statistics 49, 2021, on mixtures); these only decide how soon it
wins.

The logarithm is made of sums, products and quotients: they round alike on every
machine, which neither numpy's nor the C library's need do.
"""

from typing import Final

import numpy as np

from models.contract import Floats, Ints

AT_ONCE: Final = 0.25
_DAY_SECONDS = 86_400
_SOON_SECONDS = 10.0
_TERMS = 13  # of the series; the next one is below 2^-64


def _log(x: Floats) -> Floats:
    """Natural logarithm of x >= 1, to about 4 units of the last place.

    log m = 2 (z + z^3 / 3 + z^5 / 5 + ...),  z = (m - 1) / (m + 1),  0.7 <= m <= 1.42
    """
    fraction, bits = np.frexp(x)
    is_low = fraction < 0.7071
    fraction = np.where(is_low, 2 * fraction, fraction)
    bits = bits - is_low
    z = (fraction - 1) / (fraction + 1)
    square, series = z * z, np.zeros_like(z)
    for term in range(_TERMS - 1, -1, -1):
        series = series * square + 1 / (2 * term + 1)
    logs: Floats = bits * 0.6931471805599453 + 2 * z * series
    return logs


_WHOLE = _log(np.array([1 + _DAY_SECONDS / _SOON_SECONDS]))


def mass_started(age_seconds: Ints, at_once: float = AT_ONCE) -> Floats:
    """Share of a bet that is placed by an age; the rest waits for later changes.

    w_0 + (1 - w_0) / 2 * (days + log(1 + t / 10 s) / log(1 + 86400 / 10))

    Parameters
    ----------
    age_seconds
        Event time since the account began; >= 0.
    at_once
        w_0, placed at age 0; above 0, at most 1.

    Raises
    ------
    ValueError
        When an age is negative or `at_once` is out of its range.

    Examples
    --------
    >>> mass_started(np.array([0, 60, 86_400])).tolist()
    [0.25, 0.33, 0.81]
    """
    if not 0 < at_once <= 1:
        raise ValueError(f"at_once must be above 0, at most 1, got {at_once}")
    if age_seconds.min(initial=0) < 0:
        raise ValueError(f"age_seconds must be >= 0, got {age_seconds.min()}")
    days, seconds = np.divmod(age_seconds, _DAY_SECONDS)
    left = np.ldexp(1.0, -np.minimum(days, 1000).astype(np.int32))
    even = 1 - left * (1 - seconds / (2 * _DAY_SECONDS))
    first_day = np.minimum(age_seconds, _DAY_SECONDS)
    soon = np.minimum(_log(1 + first_day / _SOON_SECONDS) / _WHOLE, 1.0)
    mass: Floats = at_once + (1 - at_once) * (0.5 * even + 0.5 * soon)
    return mass
