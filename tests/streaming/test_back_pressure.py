"""What waits when Kafka is slow to take messages."""

import asyncio
import time

import msgspec
import numpy as np
import pytest
from prometheus_client import CollectorRegistry
from streaming.test_batches import Reader, fill

from guard.fold import Batch, Fold, FoldSettings, Source
from guard.shell import metrics
from guard.shell.folding import MOST_MESSAGES, FoldRun, Topics
from guard.shell.inputs import native
from guard.words import Words

BLOCK_SIZE = 64
RECORDS = 2 * MOST_MESSAGES * BLOCK_SIZE
SETTINGS = FoldSettings(targets=1, sources={"input": 1}, block_size=BLOCK_SIZE)
NOW = 1_795_475_940.0


class Slow:
    """Takes every message, and acknowledges them when it is told to."""

    def __init__(self):
        self.sent = []

    async def send(self, topic, *_):
        acknowledged = asyncio.get_running_loop().create_future()
        self.sent.append((topic, acknowledged))
        return acknowledged

    def acknowledge(self):
        for _, acknowledged in self.sent:
            if not acknowledged.done():
                acknowledged.set_result(None)


def flood():
    """A run, and far more than it may have under way."""
    fold = Fold(Source("input", 0), Words(lambda _: 0), native.decode, SETTINGS)
    event = {"service": "cart", "version": "v2", "latency_ms": 1, "status": 200}
    value = msgspec.json.encode({**event, "ts": NOW})
    stamps = np.full(RECORDS, NOW)
    batch = Batch([value] * RECORDS, np.arange(RECORDS), stamps)
    slow = Slow()
    made = metrics.make(CollectorRegistry())
    return FoldRun(fold, Topics("panes", "rejected"), slow.send, made), slow, batch


def test_a_fold_waits_for_acknowledgements():
    """So many are under way and no more; then it goes on, and loses none."""

    async def main():
        run, slow, batch = flood()
        adding = asyncio.create_task(run.add(batch, NOW))
        for _ in range(2 * MOST_MESSAGES):
            await asyncio.sleep(0)
        most = len(slow.sent)
        assert not adding.done()
        while not adding.done():
            slow.acknowledge()
            await asyncio.sleep(0)
        await adding
        slow.acknowledge()
        return most, len(slow.sent), run.safe_offset()

    most, sent, safe = asyncio.run(main())
    assert most == MOST_MESSAGES
    assert sent >= RECORDS // BLOCK_SIZE
    assert safe == RECORDS - BLOCK_SIZE


def test_a_tick_does_not_wait_for_it():
    """The clock's word is for the next time; what asks for it goes on."""

    async def main():
        run, slow, batch = flood()
        adding = asyncio.create_task(run.add(batch, NOW))
        for _ in range(2 * MOST_MESSAGES):
            await asyncio.sleep(0)
        began = time.monotonic()
        await asyncio.wait_for(run.tick(NOW), 1)
        adding.cancel()
        assert run.safe_offset() is None
        return time.monotonic() - began, len(slow.sent)

    seconds, sent = asyncio.run(main())
    assert seconds < 1
    assert sent == MOST_MESSAGES


def test_what_was_cancelled_while_it_waited_is_sent_by_the_next():
    """A flush that is cancelled loses nothing: a commit would pass over it."""

    async def main():
        run, slow, batch = flood()
        adding = asyncio.create_task(run.add(batch, NOW))
        for _ in range(2 * MOST_MESSAGES):
            await asyncio.sleep(0)
        adding.cancel()
        await asyncio.sleep(0)
        slow.acknowledge()
        run.safe_offset()
        ticking = asyncio.create_task(run.tick(NOW + 1))
        while not ticking.done():
            slow.acknowledge()
            await asyncio.sleep(0)
        return len(slow.sent)

    assert asyncio.run(main()) >= RECORDS // BLOCK_SIZE


BUFFERED = 16  # batches, as the worker has it
IN_HAND = 2  # one that is being worked on, one that waits for a place


class Waiting(Reader):
    """A reader whose agent waits until it may go on."""

    async def _read(self, stream):
        self.may_go_on = asyncio.Event()
        async for event in stream.events():
            await self.may_go_on.wait()
            self.offsets += event.value.batch.offsets.tolist()


@pytest.mark.slow
def test_faust_stops_fetching_when_its_buffer_is_full(kafka, topics):
    """An agent that waits is handed no more than the buffer; then it gets the rest."""
    topic = topics("pressed", partitions=1)
    reader = Waiting(kafka.bootstrap, topic, f"{topic}-group")
    reader.app.conf.stream_buffer_maxsize = BUFFERED
    reader.app.conf.broker_max_poll_records = 1

    async def main():
        fill(reader, kafka, 300)
        async with reader.running():
            consumer = reader.consumer
            await reader.until(lambda: consumer._buffered_partitions, "a full buffer")
            await asyncio.sleep(1.0)  # long enough for hundreds
            delivered = consumer.delivered(reader.tp)
            assert reader.tp not in consumer._active_partitions
            reader.may_go_on.set()
            await reader.until(lambda: len(reader.offsets) >= 300, "the rest")
            return delivered

    assert asyncio.run(main()) <= BUFFERED + IN_HAND
    assert reader.offsets == list(range(300))
