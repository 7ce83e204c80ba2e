"""Bytewax on the job of `bench/throughput.py`.

    python bytewax_count.py cells|windows BOOTSTRAP TOPIC RECORDS PER_RECORD

- cells: a dict of our own in a stateless step: as fast as it goes, lost in a crash;
- windows: `fold_window` by event time, as the documentation has it; no recovery store.
"""

import os
import sys
from datetime import UTC, datetime, timedelta
from importlib.metadata import version

import bytewax.operators as op
import bytewax.operators.windowing as win
from bytewax.connectors.kafka import KafkaSource
from bytewax.dataflow import Dataflow
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.testing import run_main
from cells import Cells, add, decoder, new_cell
from stopwatch import Stopwatch

LATENESS = timedelta(seconds=10)
DROPPED = 0.02  # what is too late is dropped: the end is this much sooner


class _Nowhere(StatelessSinkPartition):
    def write_batch(self, items: list) -> None:
        """Forget them."""


class Nowhere(DynamicSink):
    """A dataflow must have an end."""

    def build(self, *_: object) -> _Nowhere:
        """One for each worker."""
        return _Nowhere()


def cells(source, per_record: int, watch: Stopwatch):
    """Count in a step without state of Bytewax's."""
    counted, decode = Cells(), decoder(per_record)

    def count(messages: list) -> list:
        for message in messages:
            for event in decode(message.value):
                counted.add(event)
        watch.add(len(messages))
        return []

    return op.flat_map_batch("count", source, count)


def windows(source, per_record: int, watch: Stopwatch):
    """Count in windows of event time by key."""
    clock = win.EventClock(lambda e: datetime.fromtimestamp(e.ts, UTC), LATENESS)
    seconds = win.TumblingWindower(
        timedelta(seconds=1), datetime(2026, 1, 1, tzinfo=UTC)
    )
    decode = decoder(per_record)
    left = [0]

    def count(cell: list, event) -> list:
        add(cell, event)
        left[0] += 1
        if left[0] == per_record:
            left[0] = 0
            watch.add()
        return cell

    events = op.flat_map("decode", source, lambda message: decode(message.value))
    keyed = op.key_on("key", events, lambda e: f"{e.service}|{e.version}|{e.cohort}")
    found = win.fold_window(
        "count", keyed, clock, seconds, new_cell, count, lambda a, _: a
    )
    return found.down


def main() -> None:
    mode, bootstrap, topic, records, per_record = sys.argv[1:]
    count = int(records)
    if mode == "windows":
        count -= int(count * DROPPED)
    watch = Stopwatch(count, int(per_record), version=f"Bytewax {version('bytewax')}")
    flow = Dataflow("count")
    config = {"group.id": f"bytewax-{os.getpid()}", "fetch.queue.backoff.ms": "5"}
    kafka = KafkaSource(
        [bootstrap], [topic], tail=True, batch_size=5_000, add_config=config
    )
    source = op.input("events", flow, kafka)
    counted = {"cells": cells, "windows": windows}[mode](source, int(per_record), watch)
    op.output("end", counted, Nowhere())
    run_main(flow)


if __name__ == "__main__":
    main()
