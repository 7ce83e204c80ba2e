"""Quantities with units, as people write them: ``0.5 %``, ``300 ms``, ``10 min``.

Read through Decimal, so that ``0.15 %`` is the very float 0.0015 and a policy's
fingerprint does not depend on the unit it was written in.
"""

import math
import re
from decimal import Decimal
from typing import NamedTuple

from guard.fault import hint, nearest, shown

NUMBER = r"[-+]?[0-9]{1,12}(?:\.[0-9]{1,18})?"
GREATEST = 10**15  # of a bare number; beyond it int and float part ways


class Scale(NamedTuple):
    """What is measured, and its units.

    Parameters
    ----------
    units
        From a unit's word to its size; the size 1 is how a quantity is kept.
    is_bare_known
        Whether a number without a unit is understood, in the unit it is kept in.
    """

    noun: str
    example: str
    units: dict[str, Decimal]
    is_bare_known: bool

    @property
    def pattern(self) -> str:
        """A regular expression of the quantities with a known unit."""
        unit = "|".join(re.escape(word) for word in self.units)
        return f"^{NUMBER} *(?:{unit}){'?' if self.is_bare_known else ''}$"


DURATION = Scale(
    "duration",
    "10 s",
    {"s": Decimal(1), "min": Decimal(60), "h": Decimal(3600), "d": Decimal(86400)},
    is_bare_known=True,
)
RATIO = Scale("ratio", "0.5 %", {"%": Decimal("0.01")}, is_bare_known=True)
LATENCY = Scale(
    "latency",
    "300 ms",
    {"us": Decimal("0.001"), "ms": Decimal(1), "s": Decimal(1000)},
    is_bare_known=False,
)

_QUANTITY = re.compile(rf"({NUMBER}) *([^ 0-9.]*)", re.ASCII)


def read(value: object, scale: Scale) -> float:
    """Return the quantity in seconds, as a ratio, or in milliseconds.

    Raises
    ------
    ValueError
        When it is not a finite quantity of this scale.

    Examples
    --------
    >>> read("10 min", DURATION), read("0.15 %", RATIO), read("0.3 s", LATENCY)
    (600.0, 0.0015, 300.0)
    """
    if isinstance(value, str):
        return _read_text(value, scale)
    number = finite(value)
    if number is None:
        raise ValueError(_expected(value, scale))
    if not scale.is_bare_known:
        raise ValueError(f"needs a unit, such as {scale.example}, is {shown(value)}")
    return number


def finite(value: object) -> float | None:
    """Return a number as a float; None when it is no number, or no finite one.

    >>> finite(2), finite(True), finite(float("nan"))
    (2.0, None, None)
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if not -GREATEST <= value <= GREATEST or math.isnan(value):
        return None
    return float(value)


def in_words(number: float, scale: Scale) -> str:
    """Return the quantity in the largest unit that keeps it whole.

    >>> in_words(600, DURATION), in_words(0.0015, RATIO), in_words(1500, LATENCY)
    ('10 min', '0.15 %', '1500 ms')
    """
    exact = Decimal(repr(float(number)))
    units = sorted(scale.units.items(), key=lambda unit: unit[1], reverse=True)
    whole = (unit for unit in units if exact and exact % unit[1] == 0)
    word, size = next(whole, units[-1])
    return f"{(exact / size).normalize():f} {word}"


def _read_text(text: str, scale: Scale) -> float:
    found = _QUANTITY.fullmatch(text)
    if found is None:
        raise ValueError(_expected(text, scale))
    number, unit = found.groups()
    if not unit:
        return read(float(number), scale)
    if unit not in scale.units:
        known = ", ".join(scale.units)
        raise ValueError(
            f'unknown unit "{unit[:20]}" of a {scale.noun}, known are: {known}'
            f"{hint(nearest(unit, scale.units))}"
        )
    return float(Decimal(number) * scale.units[unit])


def _expected(value: object, scale: Scale) -> str:
    return f"must be a {scale.noun} such as {scale.example}, is {shown(value)}"
