"""Judge what was recorded: files, or a topic from its beginning to its end."""

import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO

from kafka.structs import TopicPartition

from guard.decision import Decision
from guard.fold import Batch, Source
from guard.shell import access, policy_file
from guard.shell.batches import batch_of
from guard.shell.kafka_clients import admin, consumer, wait_for_broker
from guard.shell.replay import Replay, batches, encode_line, read_lines
from guard.shell.settings import Settings
from guard.shell.topics import demand

SAY_EACH_SECONDS = 2.0
RECORDING = "recording"  # what the evidence calls the files

Say = Callable[[str], object]


def replay_files(
    files: list[str], settings: Settings, output: BinaryIO, say: Say
) -> None:
    """Judge files, one after the other, as one recording.

    Where they lie does not show in the decisions: the same events, the same bytes.
    """
    source = Source(RECORDING, 0)
    replay = Replay(policy_file.load(settings.policy or None), {RECORDING: 1}, settings)
    replay.begin(source)
    lines = itertools.chain.from_iterable(map(read_lines, files))
    _run(replay, ((source, batch) for batch in batches(lines)), output, say)


def replay_topic(settings: Settings, output: BinaryIO, say: Say) -> None:
    """Judge the input topic, as a worker that starts today would."""
    policy = policy_file.load(settings.policy or None)
    wait_for_broker(settings, 0, say)
    with admin(settings) as client:
        access.demand(client, settings, "guard replay --topic")
        partitions = demand(client, settings.input_topic)
    topic = settings.input_topic
    replay = Replay(policy, {topic: partitions}, settings)
    _run(replay, _fetched(replay, topic, partitions, settings), output, say)


def _fetched(
    replay: Replay, topic: str, partitions: int, settings: Settings
) -> Iterator[tuple[Source, Batch]]:
    """Yield the records that are there now."""
    places = [TopicPartition(topic, number) for number in range(partitions)]
    with consumer(settings, max_poll_records=5_000) as reader:
        reader.assign(places)
        begins, ends = reader.beginning_offsets(places), reader.end_offsets(places)
        for place in places:
            replay.begin(Source(topic, place.partition), begins[place])
            reader.seek(place, begins[place])
        while any(reader.position(place) < ends[place] for place in places):
            for place, records in reader.poll(timeout_ms=500).items():
                known = [record for record in records if record.offset < ends[place]]
                if known:
                    yield Source(topic, place.partition), batch_of(known)


def _run(
    replay: Replay,
    fetched: Iterable[tuple[Source, Batch]],
    output: BinaryIO,
    say: Say,
) -> None:
    started = said = time.monotonic()
    decided = 0
    for source, batch in fetched:
        decided += _write(replay.add(source, batch), output)
        if time.monotonic() - said > SAY_EACH_SECONDS:
            said = time.monotonic()
            say(f"{replay.records:,} records, {decided} decisions")
    decided += _write(replay.finish(), output)
    seconds = time.monotonic() - started
    rejected = sum(told.events for _, _, told in replay.rejected)
    say(
        f"{replay.records:,} records, {rejected:,} events rejected, "
        f"{decided} decisions in {seconds:.1f} s"
    )
    for reason, events in sorted(_by_reason(replay).items()):
        say(f"  rejected, {reason}: {events:,}")


def _by_reason(replay: Replay) -> dict[str, int]:
    events: dict[str, int] = {}
    for _, _, told in replay.rejected:
        word = told.rejection.word
        events[word] = events.get(word, 0) + told.events
    return events


def _write(decisions: list[Decision], output: BinaryIO) -> int:
    output.writelines(encode_line(decision) for decision in decisions)
    output.flush()
    return len(decisions)
