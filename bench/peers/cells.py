"""The job as one would write it in Python: a dict of counts, event by event."""

import math

import msgspec

LOG_GAMMA = math.log(1.01 / 0.99)


class Event(msgspec.Struct, gc=False):
    """What is needed of an event."""

    service: str
    ts: float
    latency_ms: float
    status: int
    cohort: str
    version: str
    instance: str


def new_cell() -> list:
    """Requests, errors, status classes, latency sketch, counts by instance."""
    return [0, 0, [0] * 6, {}, {}]


def add(cell: list, e: Event) -> None:
    """Count an event."""
    is_error = e.status >= 500
    cell[0] += 1
    cell[1] += is_error
    cell[2][e.status // 100] += 1
    bucket = math.ceil(math.log(max(e.latency_ms, 0.01)) / LOG_GAMMA)
    cell[3][bucket] = cell[3].get(bucket, 0) + 1
    counts = cell[4].setdefault(e.instance, [0, 0])
    counts[0] += 1
    counts[1] += is_error


class Cells(dict):
    """Counts by service, version, cohort and second."""

    def add(self, e: Event) -> None:
        """Count an event."""
        key = int(e.ts), e.service, e.version, e.cohort
        cell = self.get(key)
        if cell is None:
            cell = self[key] = new_cell()
        add(cell, e)


def decoder(per_record: int):
    """From a record's value to its events."""
    if per_record == 1:
        decode = msgspec.json.Decoder(Event).decode
        return lambda value: (decode(value),)
    return msgspec.json.Decoder(list[Event]).decode
