"""Rubbish among good events, through a real Kafka: everything is counted, exactly."""

import itertools
import json
import random
import time
from collections import Counter
from collections.abc import Callable

import pytest
from streaming.guard_process import (
    GuardProcess,
    Record,
    Stage,
    encoded,
    requests_in,
    until,
)

from guard.event import LARGEST_COUNT, LONGEST_WORD, OLDEST_AGE_SECONDS, Rejection

pytestmark = pytest.mark.slow

RECORDS = 100_000  # of each kind
PARTITIONS = 4
BLOCK_SIZE = 2 * RECORDS // PARTITIONS // 4  # the last blocks end with the data
STEP_SECONDS = 0.0002  # of Kafka time, from record to record
LARGE_ARRAYS = 3


def good(lots, at):
    """An event that counts."""
    is_canary = lots.random() < 0.2
    return {
        "service": f"svc-{lots.randrange(40)}",
        "ts": round(at - lots.uniform(0, 2), 3),
        "latency_ms": round(lots.lognormvariate(4, 1), 3),
        "status": lots.choice((200, "200", 404, 503, "OK", "UNAVAILABLE")),
        "version": "v2" if is_canary else "v1",
        "cohort": "canary" if is_canary else "baseline",
    }


def without(event, *names):
    """The event less some fields."""
    return {name: value for name, value in event.items() if name not in names}


def spoilt(field, *values):
    """Make an event bad with one of these values."""
    return lambda lots, event, _: encoded({**event, field: lots.choice(values)})


def not_json(lots, event, _):
    value = encoded(event)
    return lots.choice(
        (
            None,
            b"",
            b"\xff\xfe" + value,
            value[: lots.randrange(1, len(value) - 1)],
            value.replace(b":", b";"),
            bytes(lots.randrange(128, 256) for _ in range(30)),
            b'{"service":' * 2_000,
            b"[" * 5_000,
        )
    )


def wrong_type(lots, event, _):
    field, value = lots.choice(
        (
            ("service", 7),
            ("ts", "yesterday"),
            ("ts", "2026-01-01T00:00:00"),  # no time zone
            ("latency_ms", "12"),
            ("critical", "yes"),
            ("status", 2.5),
            ("count", 1.5),
            ("version", {}),
        )
    )
    return lots.choice((encoded({**event, field: value}), b"7", b'"word"', b"null"))


def missing(lots, event, _):
    return encoded(
        without(event, lots.choice(("service", "ts", "latency_ms", "status")))
    )


def no_cohort(_lots, event, _):
    return encoded(without(event, "version", "cohort"))


def bad_latency(lots, event, _):
    rest = encoded(without(event, "latency_ms"))[:-1]
    number = lots.choice(("-1", "-0.001", "NaN", "Infinity", "-Infinity", "1e999"))
    return rest + f',"latency_ms":{number}}}'.encode()


def too_old(lots, event, at):
    age = OLDEST_AGE_SECONDS + lots.uniform(10, 1e6)
    return encoded({**event, "ts": lots.choice((at - age, 0.0, -1e300, 12.5))})


def future(lots, event, at):
    return encoded({**event, "ts": lots.choice((at + lots.uniform(70, 1e6), 1e300))})


SPOIL: dict[Rejection, Callable] = {
    Rejection.NOT_JSON: not_json,
    Rejection.WRONG_TYPE: wrong_type,
    Rejection.MISSING_FIELD: missing,
    Rejection.NO_COHORT: no_cohort,
    Rejection.BAD_STATUS: spoilt("status", 99, 600, "099", "2xx", "NOPE", -1, ""),
    Rejection.BAD_LATENCY: bad_latency,
    Rejection.BAD_COUNT: spoilt("count", 0, -3, LARGEST_COUNT + 1, 10**15),
    Rejection.TOO_OLD: too_old,
    Rejection.FUTURE: future,
    Rejection.TOO_LARGE: spoilt("service", "s" * (LONGEST_WORD + 1), "é" * 400),
    Rejection.UNKNOWN_TYPE: spoilt("type", "trace", "", "Request"),
}


class Generator:
    """Records in the order of their Kafka time, and what is in them."""

    def __init__(self, seed):
        self.lots = random.Random(seed)
        self.counted = 0
        self.rejected = Counter()  # events by reason
        self.by_block = Counter()  # events by partition, block and reason

    def records(self, begin):
        """Yield as many bad records as good ones, shuffled; partitions in turn."""
        kinds = [None] * RECORDS + list(
            itertools.islice(itertools.cycle(SPOIL), RECORDS)
        )
        self.lots.shuffle(kinds)
        for number, reason in enumerate(kinds):
            at = begin + number * STEP_SECONDS
            place = number % PARTITIONS, number // PARTITIONS // BLOCK_SIZE
            if reason is None:
                self.counted += 1
                value = encoded(good(self.lots, at))
            elif number < 50 and reason is Rejection.TOO_LARGE:
                value = b"[" + b" " * (1 << 20) + encoded(good(self.lots, at)) + b"]"
                self.reject(place, reason)
            else:
                value = self.bad(reason, at, place)
            yield Record(place[0], at, value)

    def bad(self, reason, at, place):
        """A value that is rejected, in whole or in part."""
        lots = self.lots
        parts = [SPOIL[reason](lots, good(lots, at), at)]
        self.reject(place, reason)
        if lots.random() > 0.05 or reason is Rejection.NOT_JSON:
            return parts[0]
        if not parts[0].startswith(b"{") or b"NaN" in parts[0] or b"Inf" in parts[0]:
            return parts[0]
        for _ in range(lots.randrange(1, 4)):  # good ones beside it count
            parts.insert(lots.randrange(2), encoded(good(lots, at)))
            self.counted += 1
        if lots.random() < 0.5:
            return b"[" + b",".join(parts) + b"]"
        return b"\n".join(parts)

    def reject(self, place, reason):
        self.rejected[reason.word] += 1
        self.by_block[*place, reason.word] += 1


def test_every_event_is_counted_or_told(kafka, topics, tmp_path):
    """100,000 good and 100,000 bad records: exact sums, reason by reason."""
    assert set(SPOIL) == set(Rejection) - {Rejection.NONE}
    generator = Generator(seed=3)
    stage = Stage(
        kafka, topics, sources=PARTITIONS, block_size=BLOCK_SIZE, lateness_seconds=5
    )
    stage.send(generator.records(time.time() + 5), **{"compression.type": "lz4"})
    with GuardProcess(stage, tmp_path) as worker:
        worker.wait_ready()

        def is_read():
            metrics = worker.metrics()
            return worker.is_alive() and metrics["guard_events_total"] == 2 * RECORDS

        until(is_read, "end of the data")
        metrics = worker.metrics()
        assert worker.stop() == 0
    rejected = {
        name.split("{")[1][:-1]: events
        for name, events in metrics.items()
        if name.startswith("guard_rejected_total")
    }
    assert rejected == generator.rejected
    assert metrics["guard_late_total"] == 0
    assert requests_in(stage.panes()) == generator.counted
    check_told(stage, generator)


def check_told(stage, generator):
    """What stands on the topic of rejected input: each block's sums, and samples."""
    told = Counter()
    for record in stage.read("rejected_topic"):
        message = json.loads(record.value)
        place = message["partition"], message["block"]
        told[*place, message["reason"]] += message["events"]
        assert message["topic"] == stage.settings["input_topic"]
        first, last = message["first_offset"], message["last_offset"]
        assert first // BLOCK_SIZE == last // BLOCK_SIZE == message["block"]
        offsets = [sample["offset"] for sample in message["samples"]]
        assert offsets[0] == first
        assert offsets == sorted(set(offsets))
        assert len(offsets) == min(20, message["events"])
        assert record.key.decode() == (
            f"{message['topic']}/{place[0]}/{place[1]}/{message['reason']}"
        )
    assert told == generator.by_block
