"""The guard's own format: one JSON event a value, an array of them, or NDJSON.

Values are decoded one at a time: measured faster than joining them into one array, and
a value that fails costs itself and nothing else. An array or lines are such a value's
second attempt.
"""

import json
import math
from collections.abc import Sequence

import msgspec
import numpy as np

from guard.event import LARGEST_VALUE, Rejection, Request
from guard.fold import Decoded

# Beside its own errors msgspec raises UnicodeDecodeError (a ValueError) for a string
# that is not UTF-8, RecursionError for deep nesting, and TypeError for a tombstone.
_FAULTS = (msgspec.MsgspecError, ValueError, RecursionError, TypeError)

# In Python 3.11 reading a member of an enum takes longer than decoding an event.
_NOT_JSON, _WRONG_TYPE = Rejection.NOT_JSON, Rejection.WRONG_TYPE

_event = msgspec.json.Decoder(Request).decode
_array = msgspec.json.Decoder(list[Request]).decode
_raw = msgspec.json.Decoder(msgspec.Raw).decode
_raw_array = msgspec.json.Decoder(list[msgspec.Raw]).decode


def decode(values: list[bytes | None]) -> Decoded:
    """Decode the values of a batch; never raises.

    `list.extend` keeps what it got before an exception, so the loop goes on behind the
    value that failed.
    """
    events: list[Request] = []
    rejected: list[tuple[int, Rejection]] = []
    others: list[int] = []  # places of the values that are not simply an event
    sizes: list[int] = []  # events in each of these
    left = iter(values)
    place = 0
    while True:
        before = len(events)
        try:
            events.extend(map(_event, left))  # type: ignore[arg-type]  # tombstones raise TypeError
            break
        except _FAULTS as error:
            place += len(events) - before
            value = values[place]
            good: list[Request] = []
            if value and _may_be_many(value):
                good, faults = _second_attempt(value, error)
                events += good
                rejected += [(place, fault) for fault in faults]
            else:
                rejected.append((place, _why(value, error)))
            others.append(place)
            sizes.append(len(good))
            place += 1
    owners = np.arange(len(values))
    if others:
        repeats = np.ones_like(owners)
        repeats[others] = sizes
        owners = np.repeat(owners, repeats)
    return Decoded(events, owners, rejected)


def _may_be_many(value: bytes) -> bool:
    return b"\n" in value or value.lstrip()[:1] == b"["


def _second_attempt(
    value: bytes, error: Exception
) -> tuple[list[Request], list[Rejection]]:
    """Decode a value that may hold several events."""
    if len(value) > LARGEST_VALUE:
        return [], [Rejection.TOO_LARGE]
    parts: Sequence[bytes | msgspec.Raw]
    if value.lstrip()[:1] == b"[":
        try:
            return _array(value), []
        except _FAULTS:
            parts = _elements(value)
    else:
        parts = _lines(value)
    return _each(parts) if parts else ([], [_why(value, error)])


def _elements(value: bytes) -> list[msgspec.Raw]:
    """Elements of an array; none where it is not JSON."""
    try:
        return _raw_array(value)
    except _FAULTS:
        return []


def _lines(value: bytes) -> list[bytes]:
    """Lines of NDJSON; none of a value that is one line, or JSON as a whole."""
    lines = [line for line in value.split(b"\n") if line.strip()]
    return [] if len(lines) < 2 or _is_json(value) else lines


def _each(
    parts: Sequence[bytes | msgspec.Raw],
) -> tuple[list[Request], list[Rejection]]:
    good: list[Request] = []
    faults: list[Rejection] = []
    for part in parts:
        try:
            good.append(_event(part))
        except _FAULTS as error:
            faults.append(_why(bytes(part), error))
    return good, faults


def _is_json(value: bytes) -> bool:
    try:
        _raw(value)
    except _FAULTS:
        return False
    return True


def _why(value: bytes | None, error: Exception) -> Rejection:
    """Why a single event could not be decoded.

    A field of the wrong type is found before what follows it is known to be JSON.
    """
    if not value:
        return _NOT_JSON
    if isinstance(error, msgspec.ValidationError) and _is_json(value):
        return _wrong_type(str(error))
    # NaN and Infinity are not JSON, but many writers emit them.
    return _not_finite(value) if b"NaN" in value or b"Infinity" in value else _NOT_JSON


def _wrong_type(message: str) -> Rejection:
    """JSON that is not the event we know; 1e999 is a number out of its range."""
    if "out of range" in message:
        for field, rejection in _RANGES.items():
            if message.endswith(f"`$.{field}`"):
                return rejection
    return _WRONG_TYPE


_RANGES = {
    "latency_ms": Rejection.BAD_LATENCY,
    "count": Rejection.BAD_COUNT,
    "status": Rejection.BAD_STATUS,
}


def _not_finite(value: bytes) -> Rejection:
    try:
        latency = json.loads(value)["latency_ms"]
    except (ValueError, RecursionError, TypeError, KeyError):
        return _NOT_JSON
    is_bad = isinstance(latency, float) and not math.isfinite(latency)
    return Rejection.BAD_LATENCY if is_bad else _NOT_JSON
