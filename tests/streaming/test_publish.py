"""Messages as they stand on the topics."""

import base64

import msgspec
import numpy as np
import pytest
from streaming.decided import decision

from guard.block import Sample, Told
from guard.cohort import Cell
from guard.event import Rejection
from guard.fold import Source
from guard.pane import WIRE_VERSION, Late, Panes, pack_ints
from guard.shell.publish import (
    Rejected,
    decision_headers,
    decode_panes,
    encode_panes,
    rejection,
    rejection_key,
)

PANES = Panes(
    topic="requests",
    partition=3,
    sources={"requests": 4},
    block_size=64,
    block=9,
    start=0,
    to=1_790_000_000,
    cells=[Cell("cart", "v2", None, critical=True)],
    seconds=pack_ints(np.array([1_789_999_999])),
    cell_numbers=pack_ints(np.array([0])),
    counts=pack_ints(np.arange(8)),
    delays=pack_ints(np.array([-250])),
    lateness_seconds=7.5,
    late=[Late(1_789_999_999, Cell("cart", None, "canary", critical=False), 3, 6.5)],
)
SOURCE = Source("requests", 3)


def test_panes_come_back_as_they_were():
    """Encoding and decoding keep every field."""
    assert decode_panes(encode_panes(PANES)) == PANES


@pytest.mark.parametrize("value", [b"", b"{}", b"\xc1", encode_panes(PANES)[:-1]])
def test_what_are_no_panes_is_a_value_error(value):
    """Rubbish on the panes topic is named as such."""
    with pytest.raises(ValueError, match="not a message of panes"):
        decode_panes(value)


def test_panes_of_another_version_are_refused():
    """They may mean something else."""
    newer = msgspec.structs.replace(PANES, version=WIRE_VERSION + 1)
    with pytest.raises(ValueError, match=f"version {WIRE_VERSION + 1}, not"):
        decode_panes(encode_panes(newer))


def test_the_version_is_told_of_a_message_that_lacks_what_came_later():
    """Two fields fewer: as the first version wrote it."""
    fields = msgspec.msgpack.decode(encode_panes(PANES))
    older = msgspec.msgpack.encode([1, *fields[1:-2]])
    with pytest.raises(ValueError, match="panes of version 1, not"):
        decode_panes(older)


def test_a_decision_has_the_attributes_of_a_cloud_event():
    """Binary mode of CloudEvents 1.0: attributes are headers, the data is the value."""
    said = decision(service="cart")
    headers = dict(decision_headers(said, "shop"))
    assert headers == {
        "ce_specversion": b"1.0",
        "ce_id": said.id.encode(),
        "ce_source": b"/rollback-guard/shop",
        "ce_type": b"io.rollback-guard.decision.v1",
        "ce_subject": b"cart",
        "ce_time": said.decided_at.encode(),
        "content-type": b"application/json",
    }


def test_a_rejection_says_where_and_shows_what():
    """Text where it is UTF-8, base64 where it is not, neither for a tombstone."""
    samples = (Sample(576, b"{nope"), Sample(580, b"\xff\xfe"), Sample(581, None))
    told = Told(Rejection.NOT_JSON, 3, 576, 581, samples)
    message = rejection(SOURCE, 9, told)
    assert msgspec.json.decode(msgspec.json.encode(message)) == {
        "topic": "requests",
        "partition": 3,
        "block": 9,
        "reason": "not_json",
        "events": 3,
        "first_offset": 576,
        "last_offset": 581,
        "samples": [
            {"offset": 576, "text": "{nope"},
            {"offset": 580, "base64": base64.b64encode(b"\xff\xfe").decode()},
            {"offset": 581},
        ],
    }
    assert msgspec.json.decode(msgspec.json.encode(message), type=Rejected) == message


def test_a_rejection_told_again_has_the_same_key():
    """So that whoever compacts or sums up keeps one of them."""
    told = Told(Rejection.FUTURE, 1, 576, 576, ())
    assert rejection_key(SOURCE, 9, told) == b"requests/3/9/future"
