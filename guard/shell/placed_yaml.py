r"""YAML as plain data, with the place of every key and value.

Narrower than YAML on purpose: mappings, lists, and scalars of YAML 1.2's core schema,
so that ``on`` and ``yes`` stay words and ``1:30`` stays text. A tag, an anchor, an
alias and a key that is there twice are faults: nothing in a policy may build an object,
and what applies must be readable where it stands.

PyYAML's parser gives events with their places. Its composer and its constructors are
not used: they obey tags and aliases, and forget places and repeated keys.

>>> placed = read("a: on\nb: {c: 0.5 %}")
>>> placed.data, placed.values["b", "c"]
({'a': 'on', 'b': {'c': '0.5 %'}}, Place(line=2, column=8))
"""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import yaml

from guard.fault import Path, shown

DEEPEST = 20
"""Collections in each other; we recurse on each, PyYAML's time grows as the square."""

_BOOLEANS = {"true": True, "True": True, "false": False, "False": False}
_NOTHING = {"", "~", "null", "Null", "NULL"}
_WHOLE = re.compile(r"[-+]?[0-9]{1,18}")  # a longer one becomes a float
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


class Place(NamedTuple):
    """A line and a column, both from 1."""

    line: int
    column: int


class Placed(NamedTuple):
    """What was read.

    Parameters
    ----------
    keys, values
        The place of each key, and of what it holds, by the path to it; without any
        value there was no document.
    faults
        What a policy may not hold, with its place.
    """

    data: object
    keys: dict[Path, Place]
    values: dict[Path, Place]
    faults: list[tuple[Place, str]]


class _TooDeepError(Exception):
    pass


def read(text: str) -> Placed:
    """Read one YAML document; errors of syntax are faults too."""
    placed = Placed(None, {}, {}, [])
    try:
        return _read(text, placed)
    except yaml.reader.ReaderError as error:  # knows only the character's position
        before = text[: error.position]
        place = Place(before.count("\n") + 1, error.position - before.rfind("\n"))
        why = "a control character is not allowed"
    except yaml.MarkedYAMLError as error:
        place, why = _place(error.problem_mark), f"{error.problem}"
    except _TooDeepError as error:
        (place,) = error.args
        why = f"is nested deeper than {DEEPEST}"
    return Placed(None, {}, {}, [*placed.faults, (place, why)])


def _read(text: str, placed: Placed) -> Placed:
    events = _events(text)
    first = next(events)
    if isinstance(first, yaml.StreamEndEvent):
        return placed
    placed = placed._replace(data=_value(first, events, (), placed))
    second = next(events)
    if not isinstance(second, yaml.StreamEndEvent):
        place = _place(second.start_mark)
        placed.faults.append((place, "a second document is not allowed"))
    return placed


def _events(text: str) -> Iterator[yaml.Event]:
    """Yield what stands in the documents, and the end of the stream."""
    wrappers = yaml.StreamStartEvent, yaml.DocumentStartEvent, yaml.DocumentEndEvent
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise _TooDeepError(_place(event.start_mark))
        if not isinstance(event, wrappers):
            yield event


def _place(mark: Any) -> Place:
    return Place(mark.line + 1, mark.column + 1)


def _value(
    event: yaml.Event, events: Iterator[yaml.Event], path: Path, placed: Placed
) -> object:
    placed.values[path] = place = _place(event.start_mark)
    placed.faults.extend((place, why) for why in _refusals(event))
    if isinstance(event, yaml.MappingStartEvent):
        return _mapping(events, path, placed)
    if isinstance(event, yaml.SequenceStartEvent):
        return _list(events, path, placed)
    if isinstance(event, yaml.ScalarEvent):
        # Only a plain scalar has no style; what is quoted is text.
        return _plain(event.value) if event.style is None else event.value
    return None


def _refusals(event: yaml.Event) -> Iterator[str]:
    if isinstance(event, yaml.AliasEvent):
        yield f"an alias (*{event.anchor}) is not allowed"
    elif isinstance(event, yaml.NodeEvent) and event.anchor is not None:
        yield f"an anchor (&{event.anchor}) is not allowed"
    tag = getattr(event, "tag", None)
    if tag is not None:
        yield f"a tag ({tag}) is not allowed"


def _list(events: Iterator[yaml.Event], path: Path, placed: Placed) -> list[object]:
    data: list[object] = []
    while not isinstance(event := next(events), yaml.SequenceEndEvent):
        data.append(_value(event, events, (*path, len(data)), placed))
    return data


def _mapping(
    events: Iterator[yaml.Event], path: Path, placed: Placed
) -> dict[str, object]:
    data: dict[str, object] = {}
    while not isinstance(event := next(events), yaml.MappingEndEvent):
        place = _place(event.start_mark)
        faults = [*_refusals(event)]
        word = event.value if isinstance(event, yaml.ScalarEvent) else None
        if word is None:
            _skip(event, events)
            faults = faults or ["a key must be a word"]
        elif word in data:
            line = placed.keys[*path, word].line
            faults.append(f"the key {shown(word)} is here twice, first in line {line}")
        placed.faults.extend((place, why) for why in faults)
        if word is None or word in data:
            _skip(next(events), events)
        else:
            placed.keys[*path, word] = place
            data[word] = _value(next(events), events, (*path, word), placed)
    return data


def _skip(event: yaml.Event, events: Iterator[yaml.Event]) -> None:
    """Pass over what begins with this event."""
    depth = 0
    while True:
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth == 0:
            return
        event = next(events)


def _plain(text: str) -> object:
    """Return what YAML 1.2's core schema makes of a plain scalar, less 0o and 0x."""
    if text in _NOTHING:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if _WHOLE.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    return float(text.replace(".", "")) if _NOT_FINITE.fullmatch(text) else text
