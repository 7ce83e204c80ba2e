"""The judge's state on its own compacted topic.

A snapshot is one cut of a panes partition at one offset, as packed columns, in chunks
of less than a megabyte. It is written to one of two slots, the one that the last head
does not name, and only then the head, which says where to look and how much; so a
worker that dies half way leaves the snapshot before it whole.

Every record carries the panes offset of its cut. A reader takes for each key the record
with the greatest one, not the last: a worker that was stopped may write an old snapshot
after its successor has written a new one. (A Faust table keeps the last.)

Whoever opens a partition writes a snapshot before the first word where the one found
was that of a clean stop, or of another policy: from then on decisions may follow it.
"""

from collections.abc import Iterable
from typing import Any, Protocol

import msgspec

from guard.engine import Engine, decides_alike
from guard.policy import Policy

CHUNK_BYTES = 900_000
HEAD_KEY = b"head"
OFFSET_HEADER = "o"
SLOTS = ("a", "b")


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """Where the newest whole snapshot lies."""

    slot: str
    chunks: int
    size: int
    offset: int  # of the last message of the panes partition that is in it
    is_clean: bool = False  # its writer stopped in order and decided nothing after it


class Record(Protocol):
    """What a Kafka client reads."""

    key: bytes | None
    value: bytes | None
    headers: Any


def encode(engine: Engine) -> bytes:
    """Pack the whole state; there is no `await` in between, so it is one cut."""
    return msgspec.msgpack.encode(engine.state())


def restore(head: Head, packed: bytes, policy: Policy) -> Engine:
    """Unpack what `encode` wrote, to go on under a policy.

    Where the writer had another policy, or an image that decides otherwise, and did not
    stop in order, it may have decided things after this snapshot. Such an engine is
    quiet until the worker has read as far as the other may have.

    Raises
    ------
    ValueError
        When the state is of a version that this image does not know.
    """
    state = msgspec.msgpack.decode(packed, strict=False)
    if decides_alike(state, policy):
        return Engine.from_state(state, policy)
    engine = Engine.adopt(state, policy, owes_change=not head.is_clean)
    engine.is_quiet = not head.is_clean
    return engine


def chunks_of(
    packed: bytes, offset: int, slot: str, *, is_clean: bool = False
) -> list[tuple[bytes, bytes]]:
    """Cut a snapshot into records: key and value; the head comes last."""
    pieces = range(0, max(1, len(packed)), CHUNK_BYTES)
    records = [
        (f"{slot}/{number:05}".encode(), packed[start : start + CHUNK_BYTES])
        for number, start in enumerate(pieces)
    ]
    head = Head(
        slot=slot,
        chunks=len(records),
        size=len(packed),
        offset=offset,
        is_clean=is_clean,
    )
    return [*records, (HEAD_KEY, msgspec.msgpack.encode(head))]


def other(slot: str | None) -> str:
    """Return the slot to write to when the head names this one.

    >>> other(None), other("a")
    ('a', 'b')
    """
    return SLOTS[1] if slot == SLOTS[0] else SLOTS[0]


def collect(records: Iterable[Record]) -> tuple[Head | None, bytes | None, int]:
    """Put a snapshot together from all records of a partition.

    Returns the head, the packed state, and how many records were passed over because
    one with a greater offset stood before them.

    Raises
    ------
    ValueError
        When the head names chunks that are not there.
    """
    newest: dict[bytes, tuple[int, bytes]] = {}
    stale = 0
    for record in records:
        if record.key is None or record.value is None:
            continue
        offset = _offset_of(record)
        if record.key in newest and offset < newest[record.key][0]:
            stale += 1
        else:
            newest[record.key] = offset, record.value
    if HEAD_KEY not in newest:
        return None, None, stale
    head = msgspec.msgpack.decode(newest[HEAD_KEY][1], type=Head)
    return head, _joined(head, newest), stale


def _joined(head: Head, newest: dict[bytes, tuple[int, bytes]]) -> bytes:
    pieces = []
    for number in range(head.chunks):
        key = f"{head.slot}/{number:05}".encode()
        offset, piece = newest.get(key, (-1, b""))
        if offset != head.offset:
            raise ValueError(f"chunk {key.decode()} of offset {head.offset} is missing")
        pieces.append(piece)
    packed = b"".join(pieces)
    if len(packed) != head.size:
        raise ValueError(f"{len(packed)} bytes of a snapshot of {head.size}")
    return packed


def _offset_of(record: Record) -> int:
    return next(
        (int(value) for name, value in record.headers if name == OFFSET_HEADER), -1
    )
