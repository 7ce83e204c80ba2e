"""What one block says about a stretch of seconds, for one target partition.

A *pane* is what one block says about one second of event time: for each cell the
requests, errors and status classes, a latency sketch, how soon the quickest of them
reached Kafka, and requests and errors by instance. It is final when the watermark
passes that second, or when the block ends, so it is a pure function of the block: sent
again it is the same. The panes of a stretch travel as one message of flat little-endian
columns, which the judge uses as they are.

A message also goes on where another one ended; `guard.chain` says how.
"""

from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from guard.cohort import Cell

WIRE_VERSION = 2
START = 0  # before every second: where the first message of a block begins
FOREVER = 1 << 62  # after every second: the end of a replay
COUNTS = 8  # requests, errors, status class none, 1xx, 2xx, 3xx, 4xx, 5xx
REQUESTS, ERRORS, STATUS = 0, 1, 2
MOST_INSTANCES = 64  # of a cell in a pane; the ones with the smallest hashes
NO_DELAY = (1 << 31) - 1  # milliseconds; nothing on time is so slow
DENSE_SPAN = 8  # keys that lie this close together are marked, not sorted

Ints = npt.NDArray[np.int64]
_WIDTHS = ("<i1", "<i2", "<i4", "<i8")


def pack_ints(values: Ints) -> bytes:
    r"""Integers in the narrowest of four widths; the first byte says which.

    >>> pack_ints(np.array([1, 2, 300]))
    b'\x01\x01\x00\x02\x00,\x01'
    """
    low, high = (int(values.min()), int(values.max())) if values.size else (0, 0)
    bits = max(high, ~low).bit_length() + 1  # one for the sign
    code = sum(bits > 8 << narrower for narrower in range(3))
    return bytes((code,)) + bytes(values.astype(_WIDTHS[code]).data)


def unpack_ints(packed: bytes) -> Ints:
    """Read what `pack_ints` wrote; ValueError for anything else."""
    if not packed or packed[0] >= len(_WIDTHS):
        raise ValueError("not a packed column")
    return np.frombuffer(packed, _WIDTHS[packed[0]], offset=1).astype(np.int64)


class Late(NamedTuple):
    """Requests that came behind the watermark."""

    second: int  # the first one that was still open in their source
    cell: Cell
    requests: int
    behind_seconds: float  # the worst; the lateness that would have sufficed


class Panes(msgspec.Struct, array_like=True, frozen=True, kw_only=True):
    """The panes of some seconds of one block, for one target partition.

    An *entry* is one cell in one second, in the order (second, first appearance in the
    block). The columns of `sketch` and `instances` lie entry after entry; the first
    column of each says how many rows every entry has.
    """

    version: int = WIRE_VERSION
    topic: str
    partition: int
    sources: dict[str, int]  # how many partitions each input topic has
    block_size: int
    block: int
    start: int  # seconds [start, to) of the source's watermark
    to: int
    is_last: bool = False  # the block says nothing more
    is_jump: bool = False  # the source begins here, whatever was before
    cells: list[Cell] = []
    seconds: bytes = b"\0"  # (entries,)
    cell_numbers: bytes = b"\0"  # (entries,), places in `cells`
    counts: bytes = b"\0"  # (entries, COUNTS)
    sketch: tuple[bytes, bytes, bytes] = (b"\0", b"\0", b"\0")
    # rows; bucket, requests
    names: list[str] = []
    instances: tuple[bytes, bytes, bytes, bytes] = (b"\0", b"\0", b"\0", b"\0")
    # rows; place in `names`, requests, errors
    late: list[Late] = []
    delays: bytes = b"\0"
    # (entries,), the least Kafka time - event time in milliseconds, rounded down
    lateness_seconds: float = 0.0  # of the source's watermark

    @property
    def source(self) -> tuple[str, int]:
        """The source partition."""
        return self.topic, self.partition


class Columns(NamedTuple):
    """The events of some seconds: a row an event (or `weight` equal ones)."""

    seconds: Ints
    cells: Ints  # numbers of `Kinds`
    errors: Ints
    status_classes: Ints
    buckets: Ints
    instances: Ints  # numbers of `Instances`
    weights: Ints
    delays: Ints  # milliseconds from the event to Kafka

    @classmethod
    def none(cls) -> "Columns":
        """No events."""
        return cls(*np.empty((len(cls._fields), 0), np.int64))

    @classmethod
    def joined(cls, parts: list["Columns"]) -> "Columns":
        """All of the parts in their order."""
        if not parts:
            return cls.none()
        if len(parts) == 1:
            return parts[0]
        return cls(*map(np.concatenate, zip(*parts, strict=True)))

    def where(self, chosen: npt.NDArray[np.bool_]) -> "Columns":
        """Return only the chosen rows."""
        if chosen.all():
            return self
        places = np.flatnonzero(chosen)
        return Columns(*(column[places] for column in self))


class _Listed(NamedTuple):
    """Numbers in the order of first appearance, and each row's place among them."""

    used: Ints
    places: Ints

    @classmethod
    def of(cls, numbers: Ints) -> "_Listed":
        used, first, places = np.unique(numbers, return_index=True, return_inverse=True)
        order = np.argsort(first)
        rank = np.empty_like(order)
        rank[order] = np.arange(len(order))
        return cls(used[order], rank[places])

    def part(self, first: int, end: int) -> tuple[Ints, Ints]:
        """Of some rows, which share no number with the rows before them."""
        places = self.places[first:end]
        low = int(places.min(initial=len(self.used)))
        return self.used[low : int(places.max(initial=-1)) + 1], places - low


class _Instances(NamedTuple):
    starts: Ints  # (entries + 1,)
    numbers: Ints
    requests: Ints
    errors: Ints


class Grouped:
    """Events, counted: entries in the order (target, second, first appearance).

    At least one event. Three sorts, whatever the number of services; nothing is kept up
    event by event.
    """

    def __init__(
        self,
        columns: Columns,
        targets: Ints,
        hashes: npt.NDArray[np.uint64],
        blank: int,
    ) -> None:
        base, width = int(columns.seconds.min()), len(targets)
        keys, at = _distinct((columns.seconds - base) * width + columns.cells)
        size = len(keys)
        first = np.empty(size, np.int64)
        first[at[::-1]] = np.arange(len(at))[::-1]  # the one written last stays
        seconds, cells = keys // width + base, keys % width
        order = np.lexsort((first, seconds, targets[cells]))
        place = np.empty_like(order)
        place[order] = np.arange(size)
        at = place[at]
        self.seconds, self.cells = seconds[order], cells[order]
        self.targets = targets[self.cells]
        self.counts = _counts(columns, at, size)
        self.delays = np.full(size, NO_DELAY, np.int64)
        np.minimum.at(self.delays, at, columns.delays)
        keys, to = _distinct(at * 2048 + columns.buckets)
        self.sketch_starts = _starts(keys // 2048, size)
        self.sketch_buckets = keys % 2048
        self.sketch_requests = _weighted(to, columns.weights, len(keys))
        self.instances = _by_instance(columns, at, size, hashes, blank)
        # No cell has two targets, but an instance may: it is listed for each.
        self._listed_cells = _Listed.of(self.cells)
        self._width = len(hashes)
        owners = np.repeat(self.targets, np.diff(self.instances.starts))
        self._listed_names = _Listed.of(owners * self._width + self.instances.numbers)

    def columns(
        self, target: int, cells: list[Cell], names: list[str]
    ) -> dict[str, Any]:
        """Return the fields of a message for a target; none where it has no entries."""
        first, end = map(int, np.searchsorted(self.targets, (target, target + 1)))
        if first == end:
            return {}
        used, cell_numbers = self._listed_cells.part(first, end)
        low, high = int(self.sketch_starts[first]), int(self.sketch_starts[end])
        starts, _, requests, errors = self.instances
        i, j = int(starts[first]), int(starts[end])
        named, name_numbers = self._listed_names.part(i, j)
        return {
            "cells": [cells[number] for number in used.tolist()],
            "seconds": pack_ints(self.seconds[first:end]),
            "cell_numbers": pack_ints(cell_numbers),
            "counts": pack_ints(self.counts[first:end].ravel()),
            "delays": pack_ints(self.delays[first:end]),
            "sketch": (
                pack_ints(np.diff(self.sketch_starts[first : end + 1])),
                pack_ints(self.sketch_buckets[low:high]),
                pack_ints(self.sketch_requests[low:high]),
            ),
            "names": [names[number] for number in (named % self._width).tolist()],
            "instances": (
                pack_ints(np.diff(starts[first : end + 1])),
                pack_ints(name_numbers),
                pack_ints(requests[i:j]),
                pack_ints(errors[i:j]),
            ),
        }


def _distinct(keys: Ints) -> tuple[Ints, Ints]:
    """Return the distinct keys in order, and each key's place among them.

    What `np.unique` does with a sort; keys that lie close together are marked instead.
    """
    if not keys.size:
        return keys, keys
    least = int(keys.min())
    span = int(keys.max()) - least + 1
    if span > DENSE_SPAN * keys.size:
        used, places = np.unique(keys, return_inverse=True)
        return used, places
    keys = keys - least
    is_there = np.zeros(span, bool)
    is_there[keys] = True
    used = np.flatnonzero(is_there)
    rank = np.empty(span, np.int64)
    rank[used] = np.arange(len(used))
    return used + least, rank[keys]


def _counts(columns: Columns, at: Ints, size: int) -> Ints:
    counts = np.empty((size, COUNTS), np.int64)
    counts[:, REQUESTS] = _weighted(at, columns.weights, size)
    counts[:, ERRORS] = _weighted(at, columns.weights * columns.errors, size)
    classes = _weighted(at * 6 + columns.status_classes, columns.weights, 6 * size)
    counts[:, STATUS:] = classes.reshape(size, 6)
    return counts


def _weighted(at: Ints, weights: Ints, size: int) -> Ints:
    """Sum of weights by place; exact as long as a sum stays below 2**53."""
    return np.bincount(at, weights, size).astype(np.int64)


def _by_instance(
    columns: Columns, at: Ints, size: int, hashes: npt.NDArray[np.uint64], blank: int
) -> _Instances:
    named = columns.instances != blank
    at, instances = at[named], columns.instances[named]
    weights, errors = columns.weights[named], columns.errors[named]
    used, to = _distinct(instances)
    by_hash = np.argsort(hashes[used], kind="stable")
    rank = np.empty_like(by_hash)
    rank[by_hash] = np.arange(len(used))
    used = used[by_hash]
    width = max(1, len(used))
    keys, to = _distinct(at * width + rank[to])
    owners = keys // width
    requests = _weighted(to, weights, len(keys))
    failed = _weighted(to, weights * errors, len(keys))
    kept = np.arange(len(keys)) - _starts(owners, size)[owners] < MOST_INSTANCES
    numbers = used[keys[kept] % width] if len(used) else keys
    return _Instances(
        _starts(owners[kept], size), numbers, requests[kept], failed[kept]
    )


def _starts(owners: Ints, size: int) -> Ints:
    """Where the rows of each of `size` owners begin, and the end; `owners` sorted."""
    return np.searchsorted(owners, np.arange(size + 1)).astype(np.int64)
