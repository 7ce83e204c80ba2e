"""Follow the decisions topic."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal

import msgspec
from kafka.structs import TopicPartition
from rich.console import Console
from rich.text import Text

from guard.decision import Decision
from guard.shell import access
from guard.shell.commands.demo_view import STYLES
from guard.shell.kafka_clients import ApiVersion, Consumer, admin, consumer
from guard.shell.settings import Settings
from guard.shell.topics import demand

POLL_MS = 500
MOST_IDS = 100_000  # a repeat comes soon after what it repeats


class DecisionRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One record of the topic.

    Parameters
    ----------
    stamped_at
        Kafka time of the record, seconds since the epoch.
    service
        The record's key.
    headers
        The attributes of the CloudEvent, `ce_id` and so on.
    value
        The decision; None when it is not JSON, or there is none.
    """

    partition: int
    offset: int
    stamped_at: float
    service: str | None
    headers: dict[str, str]
    value: Any


def print_decisions(
    settings: Settings,
    *,
    since: Literal["now", "beginning"],
    service: str | None,
    as_json: bool,
) -> None:
    """Print each decision once, as it comes: a line and its reasons, or its JSON.

    Raises
    ------
    NoSuchTopic
        When there is no such topic.
    """
    console = Console(soft_wrap=True, highlight=False)
    for record in once(watch(settings, since=since, service=service)):
        if as_json:
            sys.stdout.buffer.write(msgspec.json.encode(record.value) + b"\n")
            sys.stdout.buffer.flush()
            continue
        try:
            decision = msgspec.convert(record.value, Decision)
        except msgspec.ValidationError:  # of a version to come
            continue
        _print(console, decision)


def once(records: Iterable["DecisionRecord"]) -> Iterator["DecisionRecord"]:
    """Yield the records that hold a decision, but for repeats of an id."""
    seen: dict[str, None] = {}
    for record in records:
        number = record.value.get("id") if isinstance(record.value, dict) else None
        if number is None or number in seen:
            continue
        seen[number] = None
        if len(seen) > MOST_IDS:
            del seen[next(iter(seen))]
        yield record


def _print(console: Console, decision: Decision) -> None:
    line = Text(f"{decision.decided_at}  ")
    line.append(decision.decision, STYLES.get(decision.decision, ""))
    line.append("  ").append(decision.service, "bold")
    line.append(f"  {decision.canary or '-'}  {decision.severity}")
    if decision.dry_run:
        line.append("  dry run", "dim")
    console.print(line)
    for reason in decision.reasons:
        console.print(Text(f"    {reason.text}"))
    console.file.flush()


def watch(
    settings: Settings,
    *,
    since: Literal["now", "beginning"],
    service: str | None = None,
    api_version: ApiVersion | None = None,
) -> Iterator[DecisionRecord]:
    """Yield what stands on the decisions topic and what comes, without an end.

    Where it begins is settled when this returns, not with the first record asked for.
    Repeats of an id are yielded too. Records of one service come in their order;
    those of several, in about the order of their time.

    Parameters
    ----------
    service
        Only its decisions.

    Raises
    ------
    NoSuchTopic
        When there is no such topic.
    """
    topic = settings.decisions_topic
    with admin(settings, api_version=api_version) as client:
        access.demand(client, settings, "guard watch")
        count = demand(client, topic)
    partitions = [TopicPartition(topic, number) for number in range(count)]
    reader = consumer(settings, api_version=api_version)
    try:
        reader.assign(partitions)
        is_now = since == "now"
        find = reader.end_offsets if is_now else reader.beginning_offsets
        for partition, offset in find(partitions).items():
            reader.seek(partition, offset)
    except BaseException:
        reader.close()
        raise
    return _follow(reader, service)


def _follow(reader: Consumer, service: str | None) -> Iterator[DecisionRecord]:
    with reader:
        while True:
            fetched = reader.poll(timeout_ms=POLL_MS).values()
            records = [_decoded(record) for batch in fetched for record in batch]
            for record in sorted(records, key=lambda record: record.stamped_at):
                if service in (None, record.service):
                    yield record


def _decoded(record: Any) -> DecisionRecord:  # kafka-python is untyped
    return DecisionRecord(
        partition=record.partition,
        offset=record.offset,
        stamped_at=record.timestamp / 1000,
        service=None if record.key is None else _text(record.key),
        headers=_headers(record.headers),
        value=_json(record.value),
    )


def _headers(headers: Sequence[tuple[str, bytes | None]]) -> dict[str, str]:
    return {name: _text(value or b"") for name, value in headers}


def _text(value: bytes) -> str:
    return value.decode(errors="replace")


def _json(value: bytes | None) -> object:
    try:
        return None if value is None else msgspec.json.decode(value)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
