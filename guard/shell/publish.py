"""Messages as they stand on the topics: panes, decisions, what was rejected."""

import base64

import msgspec

from guard.block import Sample, Told
from guard.decision import Decision
from guard.fold import Source
from guard.pane import WIRE_VERSION, Panes

DECISION_TYPE = "io.rollback-guard.decision.v1"

_panes_decoder = msgspec.msgpack.Decoder(Panes)
_encode = msgspec.msgpack.Encoder().encode


def encode_panes(panes: Panes) -> bytes:
    """Encode a message of the panes topic."""
    return _encode(panes)


def decode_panes(value: bytes) -> Panes:
    """Decode a message of the panes topic.

    Raises
    ------
    ValueError
        When it is of another version, or no such message at all.
    """
    try:
        panes = _panes_decoder.decode(value)
    except msgspec.MsgspecError as error:
        raise ValueError(f"not a message of panes: {error}") from error
    if panes.version != WIRE_VERSION:
        raise ValueError(f"panes of version {panes.version}, not {WIRE_VERSION}")
    return panes


def decision_headers(decision: Decision, source: str) -> list[tuple[str, bytes]]:
    """Return the attributes of a CloudEvent 1.0 in Kafka's binary mode."""
    attributes = {
        "ce_specversion": "1.0",
        "ce_id": decision.id,
        "ce_source": f"/rollback-guard/{source}",
        "ce_type": DECISION_TYPE,
        "ce_subject": decision.service,
        "ce_time": decision.decided_at,
        "content-type": "application/json",
    }
    return [(name, value.encode()) for name, value in attributes.items()]


class ShownSample(msgspec.Struct, frozen=True, omit_defaults=True):
    """A rejected value: its first KiB, as text where it is UTF-8."""

    offset: int
    text: str | None = None
    base64: str | None = None


class Rejected(msgspec.Struct, frozen=True, kw_only=True):
    """What one block of a source partition rejected for one reason."""

    topic: str
    partition: int
    block: int
    reason: str
    events: int
    first_offset: int
    last_offset: int
    samples: list[ShownSample]


def rejection(source: Source, block: int, told: Told) -> Rejected:
    """Return the message that tells it."""
    return Rejected(
        topic=source.topic,
        partition=source.partition,
        block=block,
        reason=told.rejection.word,
        events=told.events,
        first_offset=told.first_offset,
        last_offset=told.last_offset,
        samples=[_shown(sample) for sample in told.samples],
    )


def rejection_key(source: Source, block: int, told: Told) -> bytes:
    """Return the same key whenever it is told again."""
    name = f"{source.topic}/{source.partition}/{block}/{told.rejection.word}"
    return name.encode()


def _shown(sample: Sample) -> ShownSample:
    if sample.value is None:
        return ShownSample(sample.offset)
    try:
        return ShownSample(sample.offset, text=sample.value.decode())
    except UnicodeDecodeError:
        packed = base64.b64encode(sample.value).decode()
        return ShownSample(sample.offset, base64=packed)
