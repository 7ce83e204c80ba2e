"""What the fold must say of records, worked out slowly: one event after another.

The standard library's JSON, dicts and bisect; the watermark is the text of
`guard.clock` written out record by record. Blocks, batches and messages do not occur,
so nothing that depends on them can agree by accident.
"""

import json
import math
from bisect import bisect_left
from collections.abc import Iterator
from datetime import datetime
from hashlib import blake2b
from typing import Any, NamedTuple

from guard.cohort import Cell
from guard.event import Rejection, status_of
from guard.fold import FoldSettings
from guard.pane import Panes, unpack_ints
from models.quantile import _EDGES

EDGES = _EDGES.tolist()
STRINGS = ("service", "cohort", "version", "instance", "type")
RANGES = {
    "latency_ms": Rejection.BAD_LATENCY,
    "count": Rejection.BAD_COUNT,
    "status": Rejection.BAD_STATUS,
}


class Record(NamedTuple):
    """A record of a source partition."""

    offset: int
    value: bytes | None
    stamp: float


class Pane(NamedTuple):
    """What is said of one cell in one second."""

    counts: list[int]
    sketch: dict[int, int]
    instances: dict[str, tuple[int, int]]
    delay: int  # the least, in milliseconds


Said = dict[tuple[int, int], dict[Cell, Pane]]  # by block and second
SaidLate = dict[tuple[int, int, Cell], tuple[int, float]]
SaidRejected = dict[tuple[int, Rejection], list[int]]  # offsets, one an event


class Reference(NamedTuple):
    """Everything that a fold has to say."""

    panes: Said
    late: SaidLate
    rejected: SaidRejected


class _BadEventError(Exception):
    def __init__(self, rejection: Rejection) -> None:
        super().__init__(rejection)
        self.rejection = rejection


# ---- one value


def parsed(value: bytes | None) -> Iterator[dict[str, Any] | Rejection]:
    """Events of a value, or why one is none."""
    if not value:
        yield Rejection.NOT_JSON
        return
    whole = _loads(value)
    if isinstance(whole, list):
        for element in whole:
            yield _event(element, value)
        return
    lines = [line for line in value.split(b"\n") if line.strip()]
    is_lines = whole is _NOTHING and len(lines) > 1 and value.lstrip()[:1] != b"["
    for part in lines if is_lines else [value]:
        yield _event(_loads(part), part)


_NOTHING = object()


class _Pairs(tuple):
    """Fields of an object, every one: a field may come twice."""

    __slots__ = ()


def _loads(text: bytes) -> Any:
    """The value of JSON, `_NOTHING` where it is none."""

    def refuse(word: str) -> None:
        raise ValueError(word)

    try:
        value = json.loads(
            text.decode(errors="surrogateescape"),
            parse_constant=refuse,
            object_pairs_hook=_Pairs,
            parse_int=lambda digits: int(digits) if len(digits) < 4000 else math.inf,
        )
    except (ValueError, RecursionError):
        return _NOTHING
    return _NOTHING if _holds_half_a_pair(value) else value


def _holds_half_a_pair(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return any(map(_holds_half_a_pair, value))
    return isinstance(value, str) and any("\ud800" <= c <= "\udbff" for c in value)


def _event(value: Any, text: bytes) -> dict[str, Any] | Rejection:
    if value is _NOTHING:
        return _not_json(text)
    if not isinstance(value, _Pairs):
        return Rejection.WRONG_TYPE
    try:
        return {name: _field(name, field) for name, field in value}
    except _BadEventError as error:
        return error.rejection


def _not_json(text: bytes) -> Rejection:
    try:
        latency = json.loads(text)["latency_ms"]
    except (ValueError, RecursionError, TypeError, KeyError):
        return Rejection.NOT_JSON
    is_bad = isinstance(latency, float) and not math.isfinite(latency)
    return Rejection.BAD_LATENCY if is_bad else Rejection.NOT_JSON


def _field(name: str, field: Any) -> Any:
    is_number = isinstance(field, int | float) and not isinstance(field, bool)
    if is_number and name in ("ts", "latency_ms", "count", "status"):
        return _number(name, field)
    may_be_null = name in ("cohort", "version", "status", "error")
    good = {
        **dict.fromkeys((*STRINGS, "status"), isinstance(field, str)),
        **dict.fromkeys(("critical", "error"), isinstance(field, bool)),
        **dict.fromkeys(("latency_ms", "count"), False),
        "ts": isinstance(field, str),
    }
    if not (good.get(name, True) or (may_be_null and field is None)):
        raise _BadEventError(Rejection.WRONG_TYPE)
    if name in good and isinstance(field, str):
        if any("\udc80" <= char <= "\udcff" for char in field):
            raise _BadEventError(Rejection.NOT_JSON)  # bytes that are not UTF-8
        return _instant(field) if name == "ts" else field
    return field


def _number(name: str, field: float) -> float:
    try:
        number = float(field)
    except OverflowError:
        number = math.inf
    if name in ("count", "status"):
        if isinstance(field, int):
            return field
        is_beyond = math.isinf(number)
        raise _BadEventError(RANGES[name] if is_beyond else Rejection.WRONG_TYPE)
    if math.isinf(number):
        raise _BadEventError(RANGES.get(name, Rejection.WRONG_TYPE))
    return number


def _instant(text: str) -> float:
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        raise _BadEventError(Rejection.WRONG_TYPE) from None
    if instant.tzinfo is None or len(text) < 11:
        raise _BadEventError(Rejection.WRONG_TYPE)
    return instant.timestamp()


def rejection_of(
    event: dict[str, Any], stamp: float, future_seconds: float
) -> Rejection:
    """Why an event of the right types is not counted."""
    service, ts = event.get("service", ""), event.get("ts", -math.inf)
    cohort, version = event.get("cohort") or "", event.get("version") or ""
    status, error = event.get("status"), event.get("error")
    latency = event.get("latency_ms", -math.inf)
    rules = (
        (Rejection.UNKNOWN_TYPE, event.get("type", "request") != "request"),
        (Rejection.MISSING_FIELD, not service or (status is None and error is None)),
        (Rejection.NO_COHORT, not (cohort or version)),
        (Rejection.TOO_LARGE, max(len(service), len(cohort), len(version)) > 249),
        (Rejection.BAD_STATUS, status_of(status, error) is None),
        (Rejection.MISSING_FIELD, "ts" not in event or "latency_ms" not in event),
        (Rejection.BAD_LATENCY, not latency >= 0),
        (Rejection.BAD_COUNT, not 1 <= event.get("count", 1) <= 1_000_000),
        (Rejection.TOO_OLD, ts < max(1e9, stamp - 86_400)),
        (Rejection.FUTURE, ts > min(4e9, stamp + future_seconds)),
    )
    return next((why for why, is_so in rules if is_so), Rejection.NONE)


# ---- all values


class _Watermark:
    """The greatest term so far; each with the place of the record that it came from."""

    def __init__(self, settings: FoldSettings) -> None:
        self.settings = settings
        self.block: int | None = None
        self.terms: list[float] = []  # of this block
        self.handed_on: list[float] = []  # to the next one that holds a record
        self.before: list[float] = []
        self.stamp = math.nan

    def record(self, block: int, stamp: float) -> None:
        lateness = self.settings.lateness_seconds
        is_first = block != self.block
        if is_first:
            self.before, self.terms, self.handed_on = self.handed_on, [], []
            self.block = block
        terms = [stamp - self.settings.patience_seconds]
        if not stamp - self.stamp <= lateness:
            terms.append(stamp - lateness)
        self.terms += terms
        if not is_first:
            self.handed_on += terms
        self.stamp = stamp

    def event(self, ts: float) -> None:
        term = min(ts, self.stamp) - self.settings.lateness_seconds
        self.terms.append(term)
        self.handed_on.append(term)

    def now(self) -> float:
        self.terms = [max(self.terms)]
        self.handed_on = [max(self.handed_on, default=-math.inf)]
        return max(self.terms + self.before)


def reference(records: list[Record], settings: FoldSettings) -> Reference:
    """What a fold from the first record on says."""
    panes: Said = {}
    late: SaidLate = {}
    rejected: SaidRejected = {}
    watermark = _Watermark(settings)
    for offset, value, stamp in records:
        block = offset // settings.block_size
        watermark.record(block, stamp)
        for event in parsed(value):
            rejection = (
                event
                if isinstance(event, Rejection)
                else rejection_of(event, stamp, settings.future_seconds)
            )
            if isinstance(event, Rejection) or rejection is not Rejection.NONE:
                rejected.setdefault((block, rejection), []).append(offset)
                continue
            ts, met = event["ts"], watermark.now()
            watermark.event(ts)
            if ts < met:
                key = block, math.floor(met), _cell(event)
                requests, worst = late.get(key, (0, 0.0))
                behind = met - ts + settings.lateness_seconds
                if ts < stamp - settings.patience_seconds:
                    behind = stamp - ts
                late[key] = requests + event.get("count", 1), max(worst, behind)
            else:
                delay = math.floor((stamp - ts) * 1e3)
                _count(panes.setdefault((block, math.floor(ts)), {}), event, delay)
    for cells in panes.values():
        for cell, pane in cells.items():
            kept = sorted(pane.instances, key=_hash)[:64]
            instances = {name: pane.instances[name] for name in kept}
            cells[cell] = pane._replace(instances=instances)
    return Reference(panes, late, rejected)


def _cell(event: dict[str, Any]) -> Cell:
    return Cell(
        event["service"],
        event.get("version") or None,
        event.get("cohort") or None,
        event.get("critical", False),
    )


def _count(cells: dict[Cell, Pane], event: dict[str, Any], delay: int) -> None:
    cell = _cell(event)
    pane = cells.get(cell, Pane([0] * 8, {}, {}, delay))
    cells[cell] = pane = pane._replace(delay=min(pane.delay, delay))
    weight = event.get("count", 1)
    known = status_of(event.get("status"), event.get("error"))
    assert known is not None
    is_error, status_class = known
    pane.counts[0] += weight
    pane.counts[1] += weight * is_error
    pane.counts[2 + status_class] += weight
    latency = min(max(event["latency_ms"], EDGES[0]), EDGES[-1])
    bucket = bisect_left(EDGES, latency)
    pane.sketch[bucket] = pane.sketch.get(bucket, 0) + weight
    name = event.get("instance", "")[:249]
    if name:
        requests, errors = pane.instances.get(name, (0, 0))
        pane.instances[name] = requests + weight, errors + weight * is_error


def _hash(name: str) -> int:
    digest = blake2b(name.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")


# ---- messages


def unpacked(panes: Panes) -> Said:
    """The panes of a message, as the reference has them."""
    seconds = unpack_ints(panes.seconds).tolist()
    numbers = unpack_ints(panes.cell_numbers).tolist()
    counts = unpack_ints(panes.counts).reshape(-1, 8).tolist()
    delays = unpack_ints(panes.delays).tolist()
    sizes, buckets, requests = (unpack_ints(c).tolist() for c in panes.sketch)
    sketch = iter(zip(buckets, requests, strict=True))
    named, names, calls, errors = (unpack_ints(c).tolist() for c in panes.instances)
    instances = iter(zip(names, calls, errors, strict=True))
    said: Said = {}
    for at, second in enumerate(seconds):
        pane = Pane(
            counts[at],
            dict(next(sketch) for _ in range(sizes[at])),
            {
                panes.names[name]: (count, failed)
                for name, count, failed in (next(instances) for _ in range(named[at]))
            },
            delays[at],
        )
        cell = Cell(*panes.cells[numbers[at]])
        said.setdefault((panes.block, second), {})[cell] = pane
    assert next(sketch, None) is None
    assert next(instances, None) is None
    return said
