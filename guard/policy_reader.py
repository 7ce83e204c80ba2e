"""Reads plain data by the table of words; collects every fault, raises nothing.

What could not be read is left out of a mapping and is ``UNREADABLE`` in a list, so
that places keep their index and the caller can go on with the rest.
"""

from typing import Final, assert_never

from guard import quantity
from guard.fault import Fault, Path, hint, is_mapping, is_sequence, nearest, shown
from guard.policy_words import (
    Amount,
    Flag,
    Mapping,
    Number,
    Several,
    Shape,
    Text,
    Word,
)

UNREADABLE: Final = object()

Scalar = Text | Flag | Word | Number | Amount


def read(shape: Shape, value: object, path: Path, faults: list[Fault]) -> object:
    """Return the value as its shape keeps it, or UNREADABLE and a fault."""
    if isinstance(shape, Mapping):
        return read_mapping(shape, value, path, faults)
    if isinstance(shape, Several):
        return _read_list(shape, value, path, faults)
    try:
        return _read_scalar(shape, value)
    except ValueError as error:
        faults.append(Fault(path=path, message=str(error)))
        return UNREADABLE


def read_mapping(
    shape: Mapping, value: object, path: Path, faults: list[Fault]
) -> dict[str, object]:
    """Return what of the mapping could be read, by word; {} when it is none."""
    if not is_mapping(value):
        message = f"must be a mapping, is {shown(value)}"
        faults.append(Fault(path=path, message=message))
        return {}
    known = {key.word: key for key in shape.keys}
    meant = {word: _meant(word, shape) for word in value if word not in known}
    faults += [_unknown(word, near, path) for word, near in meant.items()]
    given = {*value, *meant.values()}
    faults += [Fault(path=path, message=lack) for lack in _lacks(shape, given)]
    values = {
        word: read(key.shape, value[word], (*path, word), faults)
        for word, key in known.items()
        if word in value
    }
    return {word: kept for word, kept in values.items() if kept is not UNREADABLE}


def is_sound(path: Path, faults: list[Fault]) -> bool:
    """Whether no fault lies at the path or below it."""
    return all(fault.path[: len(path)] != path for fault in faults)


def _meant(word: object, shape: Mapping) -> str | None:
    if not isinstance(word, str):
        return None
    for key in shape.keys:
        if word in key.instead:
            return key.word
    return nearest(word, [key.word for key in shape.keys])


def _unknown(word: object, meant: str | None, path: Path) -> Fault:
    if not isinstance(word, str):
        return Fault(path=path, message=f"a key must be a word, is {shown(word)}")
    message = f"unknown word {shown(word)}{hint(meant)}"
    return Fault(path=(*path, word), message=message, at_key=True)


def _lacks(shape: Mapping, given: set[object]) -> list[str]:
    """Say what is lacking; a word that was only misspelled is not."""
    lacks = [
        f'lacks "{key.word}"'
        for key in shape.keys
        if key.is_required and key.word not in given
    ]
    if shape.one_of and sum(word in given for word in shape.one_of) != 1:
        pair = " and ".join(f'"{word}"' for word in shape.one_of)
        lacks.append(f"needs exactly one of {pair}")
    if shape.is_filled and not given:
        words = ", ".join(key.word for key in shape.keys)
        lacks.append(f"is empty; known are: {words}")
    return lacks


def _read_list(
    shape: Several, value: object, path: Path, faults: list[Fault]
) -> object:
    if not is_sequence(value):
        message = f"must be a list, is {shown(value)}"
        faults.append(Fault(path=path, message=message))
        return UNREADABLE
    if not shape.least <= len(value) <= shape.most:
        message = f"must have {shape.least} to {shape.most} entries, has {len(value)}"
        faults.append(Fault(path=path, message=message))
    items = [
        read(shape.item, item, (*path, index), faults)
        for index, item in enumerate(value[: shape.most])
    ]
    if isinstance(shape.item, Word):
        faults += [
            Fault(path=(*path, index), message=f"{shown(item)} is here twice")
            for index, item in enumerate(items)
            if item is not UNREADABLE and item in items[:index]
        ]
    return items


def _read_scalar(shape: Scalar, value: object) -> object:
    match shape:
        case Text():
            return _read_text(shape, value)
        case Flag():
            return _read_flag(value)
        case Word():
            return _read_word(shape, value)
        case Number():
            return _read_number(shape, value)
        case Amount():
            return _read_amount(shape, value)
        case _:
            assert_never(shape)


def _read_text(shape: Text, value: object) -> str:
    if isinstance(value, str) and value.strip() and value.isprintable():
        if len(value) <= shape.longest:
            return value
        raise ValueError(f"is longer than {shape.longest} characters")
    raise ValueError(f"must be one line of text, is {shown(value)}")


def _read_flag(value: object) -> bool:
    if value is True or value is False:
        return value
    raise ValueError(f"must be true or false, is {shown(value)}")


def _read_word(shape: Word, value: object) -> str:
    if isinstance(value, str) and value in shape.words:
        return value
    asked = hint(nearest(value, shape.words)) if isinstance(value, str) else ""
    raise ValueError(
        f"must be one of {', '.join(shape.words)}, is {shown(value)}{asked}"
    )


def _read_number(shape: Number, value: object) -> float:
    number = quantity.finite(value)
    if number is None or (shape.is_whole and not number.is_integer()):
        kind = "a whole number" if shape.is_whole else "a number"
        raise ValueError(f"must be {kind}, is {shown(value)}")
    if not shape.low <= number <= shape.high:
        span = _span(f"{shape.low:g}", f"{shape.high:g}")
        raise ValueError(f"must be {span}, is {shown(value)}")
    return int(number) if shape.is_whole else number


def _read_amount(shape: Amount, value: object) -> float:
    number = quantity.read(value, shape.scale)
    if not shape.low <= number <= shape.high:
        ends = (quantity.in_words(end, shape.scale) for end in (shape.low, shape.high))
        raise ValueError(f"must be {_span(*ends)}, is {shown(value)}")
    if shape.is_whole and not number.is_integer():
        raise ValueError(f"must be whole seconds, is {shown(value)}")
    return int(number) if shape.is_whole else number


def _span(low: str, high: str) -> str:
    return low if low == high else f"from {low} to {high}"
