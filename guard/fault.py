"""What is wrong in a policy, where, and how to say it to the person who wrote it."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import TypeGuard

import msgspec

Path = tuple[str | int, ...]
"""Keys and indices from the root of the data to a value."""

LONGEST_SHOWN = 40


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is wrong.

    Parameters
    ----------
    path
        To the value, or to the mapping that lacks something.
    at_key
        Whether the key itself is at fault, not its value.
    """

    path: Path
    message: str
    at_key: bool = False


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that was probably meant, or None.

    >>> nearest("Sustian", ["above", "sustain"])
    'sustain'
    """
    if len(word) > LONGEST_SHOWN:  # difflib is quadratic
        return None
    return next(iter(get_close_matches(word.lower(), list(known), n=1)), None)


def hint(meant: str | None) -> str:
    """Return the question that ends a message, or nothing.

    >>> hint("sustain"), hint(None)
    (' (did you mean "sustain"?)', '')
    """
    return "" if meant is None else f' (did you mean "{meant}"?)'


def shown(value: object) -> str:
    """Return what was found in few words, whatever it is.

    >>> shown("yes"), shown(0.5), shown(None), shown([1, 2])
    ('"yes"', '0.5', 'nothing', 'a list')
    """
    match value:
        case None:
            return "nothing"
        case str():
            whole = len(value) <= LONGEST_SHOWN
            return f'"{value if whole else value[:LONGEST_SHOWN] + "..."}"'
        case bool():
            return "true" if value else "false"
        case float():
            return f"{value}"
        case int():  # Python refuses to print more than 4300 digits
            return f"{value}" if abs(value) < 10**LONGEST_SHOWN else "a huge number"
        case _:
            return _kind(value)


def _kind(value: object) -> str:
    if is_mapping(value):
        return "a mapping"
    return "a list" if is_sequence(value) else f"a {type(value).__name__}"


def is_mapping(value: object) -> TypeGuard[dict[object, object]]:
    """Whether the value maps keys to values."""
    return isinstance(value, dict)


def is_sequence(value: object) -> TypeGuard[list[object] | tuple[object, ...]]:
    """Whether the value lists values in order."""
    return isinstance(value, list | tuple)
