"""The judge's state on its compacted topic: what a reader makes of what was written."""

import asyncio
import copy
import json
from typing import NamedTuple

import aiokafka
import msgspec
import pytest
from streaming.episodes import telemetry
from streaming.guard_process import COMPACTED

from guard.engine import Engine
from guard.fold import Source
from guard.shell import policy_file, snapshots
from guard.shell.replay import Replay, batches
from guard.shell.settings import Settings
from guard.shell.snapshots import CHUNK_BYTES, HEAD_KEY, Head, chunks_of, collect
from guard.shell.stream import read_partition

PACKED = bytes(range(256)) * 8_000  # three chunks


class Stored(NamedTuple):
    """A record as a client reads it."""

    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]


def stored(packed, offset, slot):
    """A snapshot as it lies on the topic."""
    header = ((snapshots.OFFSET_HEADER, b"%d" % offset),)
    return [Stored(k, v, header) for k, v in chunks_of(packed, offset, slot)]


def test_a_large_state_is_cut_into_chunks():
    """Chunks of less than a megabyte, the head last; together they are the state."""
    *chunks, (key, head) = chunks_of(PACKED, 7, "a")
    assert [key for key, _ in chunks] == [b"a/00000", b"a/00001", b"a/00002"]
    assert max(len(value) for _, value in chunks) <= CHUNK_BYTES < 1_000_000
    assert key == HEAD_KEY
    assert msgspec.msgpack.decode(head, type=Head) == Head(
        slot="a", chunks=3, size=len(PACKED), offset=7
    )
    assert collect(stored(PACKED, 7, "a")) == (
        Head(slot="a", chunks=3, size=len(PACKED), offset=7),
        PACKED,
        0,
    )


@pytest.mark.parametrize("packed", [b"", b"x", b"x" * CHUNK_BYTES])
def test_a_small_state_is_one_chunk(packed):
    """Also an empty one: its head names a chunk that is there."""
    assert len(chunks_of(packed, 0, "b")) == 2
    assert collect(stored(packed, 0, "b"))[1] == packed


def test_nothing_written_is_no_snapshot():
    """A fresh topic, tombstones, and chunks without a head are none."""
    assert collect([]) == (None, None, 0)
    assert collect([Stored(b"head", None, ()), Stored(None, b"x", ())])[0] is None
    assert collect(stored(PACKED, 3, "a")[:-1])[:2] == (None, None)


def test_slots_take_turns():
    """A snapshot is written where the last head does not point."""
    assert [snapshots.other(slot) for slot in (None, "a", "b")] == ["a", "b", "a"]


@pytest.mark.parametrize("written", range(4))
def test_a_half_written_snapshot_leaves_the_one_before_whole(written):
    """A worker that dies after any number of chunks has destroyed nothing."""
    records = stored(b"old" * 10, 5, "a") + stored(PACKED, 9, "b")[:written]
    head, packed, stale = collect(records)
    assert (head.offset, packed, stale) == (5, b"old" * 10, 0)


def test_the_greatest_offset_wins_over_the_last_record():
    """What a worker that was stopped writes late is passed over."""
    newer, older = stored(b"newer", 20, "a"), stored(b"older", 12, "a")
    head, packed, stale = collect(newer + older)
    assert (head.offset, packed, stale) == (20, b"newer", 2)


@pytest.mark.parametrize("slot", ["a", "b"])
@pytest.mark.parametrize("written", range(1, 5))
def test_a_zombie_cannot_spoil_what_its_successor_wrote(slot, written):
    """However far it comes with its old snapshot, in either slot."""
    newer = stored(PACKED, 20, "a")
    zombie = stored(PACKED[::-1], 12, slot)[:written]
    for records in (newer + zombie, zombie + newer):
        assert collect(records)[1] == PACKED


def test_the_same_cut_written_again_is_no_fault():
    """Kafka may hold a record twice; two owners may write the same cut."""
    assert collect(stored(PACKED, 9, "a") * 2)[1:] == (PACKED, 0)


@pytest.mark.parametrize("missing", range(3))
def test_a_missing_chunk_is_an_error(missing):
    """Going on with less than the whole state would be wrong."""
    records = stored(PACKED, 9, "a")
    del records[missing]
    with pytest.raises(ValueError, match=f"a/0000{missing} of offset 9 is missing"):
        collect(records)


def test_a_chunk_of_another_cut_is_an_error():
    """Chunks of two snapshots do not mix."""
    records = stored(PACKED, 9, "a")
    records[1] = stored(PACKED, 11, "a")[1]
    with pytest.raises(ValueError, match="a/00001 of offset 9 is missing"):
        collect(records)


def test_a_shortened_chunk_is_an_error():
    """The head knows how large the state is."""
    records = stored(PACKED, 9, "a")
    records[2] = records[2]._replace(value=records[2].value[:-1])
    with pytest.raises(ValueError, match="bytes of a snapshot of"):
        collect(records)


HEAD = Head(slot="a", chunks=1, size=1, offset=7)


def test_what_cannot_be_unpacked_is_an_error():
    """A state of another version is refused; rubbish is too."""
    policy = policy_file.load()
    state = Engine(policy).state() | {"version": 0}
    with pytest.raises(ValueError, match="state version 0"):
        snapshots.restore(HEAD, msgspec.msgpack.encode(state), policy)
    with pytest.raises(ValueError, match=r"truncated|malformed"):
        snapshots.restore(HEAD, snapshots.encode(Engine(policy))[:-3], policy)


@pytest.mark.parametrize("is_clean", [False, True])
def test_another_policy_speaks_at_once_only_after_a_clean_stop(is_clean):
    """After any other end its engine is quiet until it has read far enough."""
    policy = policy_file.load()
    other = msgspec.structs.replace(policy, name="other")
    head = msgspec.structs.replace(HEAD, is_clean=is_clean)
    packed = snapshots.encode(Engine(other))
    assert snapshots.restore(head, packed, policy).is_quiet is not is_clean
    assert not snapshots.restore(head, packed, other).is_quiet


@pytest.fixture(scope="module")
def judged():
    """An engine in the middle of some episodes, and what comes next."""
    lines = [
        record.value
        for record in telemetry(1_790_000_000, with_recorded=False, seconds=90).records
        if record.value.startswith(b"{")
    ]
    replay = Replay(policy_file.load(), {"r": 1})
    replay.begin(Source("r", 0))
    for batch in batches(lines[: len(lines) // 2]):
        replay.add(Source("r", 0), batch)
    rest = list(batches(lines))[3:]
    return replay, [batch for batch in rest if batch.offsets[0] >= len(lines) // 2]


@pytest.mark.slow
def test_an_engine_comes_back_from_a_real_topic(kafka, topics, judged):
    """Written in chunks, read back from its partition: the same state, bit for bit."""
    replay, _ = judged
    topic = topics("snapshots", partitions=2, configs=COMPACTED)
    settings = Settings(brokers=(kafka.bootstrap,))
    packed = snapshots.encode(replay.engine)

    async def main():
        producer = aiokafka.AIOKafkaProducer(bootstrap_servers=kafka.bootstrap)
        await producer.start()
        try:
            for offset, slot in ((0, "a"), (replay.engine.offset, "b"), (0, "a")):
                content = packed if slot == "b" else b"older"
                for record in stored(content, offset, slot):
                    await producer.send_and_wait(
                        topic,
                        record.value,
                        record.key,
                        partition=1,
                        headers=list(record.headers),
                    )
        finally:
            await producer.stop()
        return [
            [record async for record in read_partition(settings, topic, partition)]
            for partition in (0, 1)
        ]

    empty, records = asyncio.run(main())
    assert empty == []
    head, found, stale = collect(records)
    assert head.offset == replay.engine.offset
    assert stale == 1  # its head; the chunk of the old one was the newest of its slot
    engine = snapshots.restore(head, found, replay.engine.policy)
    assert snapshots.encode(engine) == packed


def test_a_restored_engine_decides_what_the_first_would_have(judged):
    """What follows leads to the same decisions."""
    replay, rest = judged
    restored = Replay(replay.engine.policy, {"r": 1})
    packed = snapshots.encode(replay.engine)
    restored.engine = snapshots.restore(HEAD, packed, replay.engine.policy)
    source = Source("r", 0)
    restored._offset = replay._offset
    restored._folds = {source: copy.deepcopy(replay._folds[source])}
    decided = []
    for one in (replay, restored):
        found = [d for batch in rest for d in one.add(source, batch)]
        decided.append([msgspec.json.encode(d) for d in found + one.finish()])
    assert decided[0] == decided[1]
    assert {json.loads(value)["decision"] for value in decided[0]} >= {"rollback"}
