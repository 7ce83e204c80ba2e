"""Send a file of events to the input topic, as if they happened now.

The guard lives in event time, so a recording can be sent slowly, as it was or quickly.
Times are moved so that the first event is now, and each record is stamped with its
event's time. A topic that stamps records itself (LogAppendTime) cannot be fed faster
than real time: events would be ahead of their records, and the guard rejects those.
"""

import itertools
import math
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec
from kafka.errors import IncompatibleBrokerVersion, InvalidTimestampError, KafkaError

from guard.decision import instant
from guard.event import NEWEST_SECONDS, OLDEST_SECONDS
from guard.shell import access
from guard.shell.kafka_clients import Admin, ApiVersion, Producer, admin, producer
from guard.shell.replay import CannotRead, read_lines
from guard.shell.settings import Settings
from guard.shell.topics import APPEND_TIME, TIMESTAMP_TYPE, configs, demand

SAY_EACH_SECONDS = 10.0
LINGER_MS = 20
BATCH_BYTES = 256 << 10
LARGEST_REQUEST = 16 << 20  # let Kafka say what is too large for the topic

Say = Callable[[str], object]


class CannotSend(RuntimeError):  # noqa: N818  # as `NotEnoughData`
    """The events cannot be sent, or no more of them; the message says why."""


class Outcome(NamedTuple):
    """What was sent; `unreadable` lines are among the records, as they are."""

    records: int
    unreadable: int
    seconds: float


class Timed(NamedTuple):
    """A line of the file."""

    value: bytes
    key: bytes | None
    second: float | None  # event time as it will be sent, None when unreadable


def send(
    path: str,
    settings: Settings,
    *,
    speed: float = 1.0,
    say: Say,
    moves_times: bool = True,
    key_field: str | None = None,
    api_version: ApiVersion | None = None,
) -> Outcome:
    """Send the lines of a file, each as one record, and wait for their receipts.

    Parameters
    ----------
    path
        NDJSON, compressed when it ends with `.gz`; `-` is standard input. A line that
        cannot be read is sent as it is: it is the guard that rejects.
    speed
        Seconds of event time per second; 0 is as fast as possible.
    moves_times
        Whether the first event happens now, and the others as long after it as they
        did; otherwise times stay as they are.
    key_field
        The field of an event that is its record's key; by default records have none
        and go to the partitions in turn.

    Raises
    ------
    CannotSend, NoSuchTopic
        When nothing can be sent, or nothing more.
    """
    if not 0 <= speed < math.inf:
        raise ValueError(f"speed must be finite and at least 0, is {speed}")
    topic = settings.input_topic
    with admin(settings, api_version=api_version) as client:
        access.demand(client, settings, "guard send")
        partitions = demand(client, topic)
        if moves_times and _stamps_itself(client, topic):
            _check_speed(topic, speed, say)
    started = time.time()
    options = {"linger_ms": LINGER_MS, "batch_size": BATCH_BYTES}
    options |= {"max_request_size": LARGEST_REQUEST}
    timed = _timed(_readable(path), started if moves_times else None, key_field)
    with producer(settings, api_version=api_version, **options) as out:
        lines = _paced(timed, speed, say)
        records, unreadable = _send_all(lines, out, topic, partitions)
    return Outcome(records, unreadable, time.time() - started)


def _stamps_itself(client: Admin, topic: str) -> bool:
    try:
        return configs(client, [topic])[topic].get(TIMESTAMP_TYPE) == APPEND_TIME
    except IncompatibleBrokerVersion:  # a mock, which stamps nothing
        return False


def _check_speed(topic: str, speed: float, say: Say) -> None:
    stamps = f'topic "{topic}" stamps records with its own clock ({APPEND_TIME})'
    if speed > 1 or speed == 0:
        raise CannotSend(
            f"{stamps}: events sent faster than real time would be ahead of their"
            f" records, and the guard rejects those; send at speed 1, or use a topic"
            f" with {TIMESTAMP_TYPE}=CreateTime"
        )
    if speed < 1:
        say(
            f"{stamps}: events sent slower than real time fall behind it, and the"
            " guard will soon call them late"
        )


def _readable(path: str) -> Iterator[bytes]:
    try:
        yield from read_lines(path)
    except CannotRead as error:
        raise CannotSend(f"{error}") from error


def _timed(
    lines: Iterator[bytes], shift_to: float | None, key_field: str | None
) -> Iterator[Timed]:
    """Yield the lines that hold anything, their times moved."""
    shift = None if shift_to is not None else 0.0
    for line in lines:
        value = line.strip()
        if not value:
            continue
        events = _events(value)
        if not events:
            yield Timed(value, None, None)
            continue
        if shift is None and shift_to is not None:
            shift = shift_to - _second(events[0]["ts"])
        key = None if key_field is None else events[0].get(key_field)
        second = _second(events[0]["ts"]) + (shift or 0.0)
        if shift:
            value = _moved(value, events, shift)
        yield Timed(value, None if key is None else f"{key}".encode(), second)


def _events(value: bytes) -> list[dict[str, Any]]:
    """Return the events of a line, none when one of them cannot be understood."""
    try:
        read = msgspec.json.decode(value)
        events = read if isinstance(read, list) else [read]
        for event in events:
            _second(event["ts"])
    except (msgspec.MsgspecError, ValueError, TypeError, KeyError, RecursionError):
        return []
    return events


def _second(moment: object) -> float:
    """Return seconds since the epoch.

    >>> _second("2022-08-22T03:53:54Z"), _second(1661140434.5)
    (1661140434.0, 1661140434.5)
    """
    if isinstance(moment, bool) or not isinstance(moment, int | float | str):
        raise TypeError("no time")
    second = float(moment) if not isinstance(moment, str) else _parsed(moment)
    if not OLDEST_SECONDS <= second <= NEWEST_SECONDS:
        raise ValueError("a time that the guard rejects")
    return second


def _parsed(text: str) -> float:
    moment = msgspec.convert(text, datetime)
    if moment.tzinfo is None:
        raise ValueError("no time zone")
    return moment.timestamp()


def _moved(value: bytes, events: list[dict[str, Any]], shift: float) -> bytes:
    for event in events:
        second = round(_second(event["ts"]) + shift, 6)
        event["ts"] = instant(second) if isinstance(event["ts"], str) else second
    is_array = value.startswith(b"[")
    return msgspec.json.encode(events if is_array else events[0])


def _paced(lines: Iterator[Timed], speed: float, say: Say) -> Iterator[Timed]:
    """Hand each line out when it is due, and say now and then how far it got."""
    start = say_next = time.monotonic()
    origin: float | None = None
    for number, line in enumerate(lines, 1):
        if line.second is not None and speed:
            origin = line.second if origin is None else origin
            due = start + (line.second - origin) / speed
            wait = due - time.monotonic()
            if wait > SAY_EACH_SECONDS:
                say(f"the next event is due in {wait:.0f} s")
            time.sleep(max(0.0, wait))
        if time.monotonic() >= say_next + SAY_EACH_SECONDS:
            say_next = time.monotonic()
            say(f"sent {number - 1:,} records{_at(line.second)}")
        yield line


def _at(second: float | None) -> str:
    if second is None:
        return ""
    return f", event time {datetime.fromtimestamp(second, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _send_all(
    lines: Iterator[Timed], out: Producer, topic: str, partitions: int
) -> tuple[int, int]:
    """Send the lines; return how many, and how many of them were unreadable."""
    failures: list[Exception] = []
    turn = itertools.cycle(range(partitions))
    records = unreadable = 0
    stamp = time.time()  # of lines before the first that has a time
    try:
        for line in lines:
            stamp = stamp if line.second is None else line.second
            receipt = out.send(
                topic,
                line.value,
                key=line.key,
                partition=next(turn) if line.key is None else None,
                timestamp_ms=round(stamp * 1000),
            )
            receipt.add_errback(failures.append)
            records += 1
            unreadable += line.second is None
            if failures:
                break
        out.flush()
    except KafkaError as error:
        failures.append(error)
    if failures:
        raise CannotSend(f"Kafka refused a record for {topic}: {_words(failures[0])}")
    return records, unreadable


def _words(error: Exception) -> str:
    if isinstance(error, InvalidTimestampError):
        return (
            "its time is further ahead of the broker's clock than the topic's"
            " message.timestamp.after.max.ms allows; send slower"
        )
    return f"{error}"
