"""The override of Faust: what it leans on, and what it delivers from a real Kafka.

The first half is a contract. A Faust or aiokafka that changes what is named there must
be read again before it is let in: `guard.shell.batches` and `guard.shell.stream` would
lose records, or stop, without a word.
"""

import asyncio
import contextlib
import inspect
import tempfile
import time
from collections.abc import Callable
from types import SimpleNamespace

import aiokafka
import faust
import numpy as np
import pytest
from aiokafka.consumer.group_coordinator import GroupCoordinator
from confluent_kafka import Producer
from faust.transport.consumer import Fetcher
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from faust.types.tuples import ConsumerMessage
from mode import Service
from streaming.episodes import telemetry
from streaming.guard_process import GuardProcess, Record, Stage, send_records, until

from guard.shell.batches import Consumer, Transport, batch_of, transport_for

# Class, name, parameters without `self`, and whether it is awaited ("a"), iterated
# asynchronously ("i") or called ("c").
METHODS = [
    (driver.Consumer, "getmany", ("timeout",), "i"),
    (driver.Consumer, "_wait_next_records", ("timeout",), "a"),
    (driver.Consumer, "_drain_messages", ("fetcher",), "a"),
    (driver.Consumer, "perform_seek", (), "a"),
    (driver.Consumer, "on_partitions_assigned", ("assigned", "generation_id"), "a"),
    (driver.Consumer, "on_partitions_revoked", ("revoked",), "a"),
    (driver.Consumer, "_new_offset", ("tp",), "c"),
    (driver.Consumer, "_add_gap", ("tp", "offset_from", "offset_to"), "a"),
    (driver.Consumer, "_new_consumer_thread", (), "c"),
    (driver.Consumer, "_filter_tps_with_pending_acks", ("topics",), "c"),
    (driver.Consumer, "maybe_wait_for_commit_to_finish", (), "a"),
    (driver.Consumer, "force_commit", ("topics", "start_new_transaction"), "a"),
    (driver.Consumer, "_commit", ("offsets",), "a"),
    (driver.Consumer, "stop_flow", (), "c"),
    (driver.Consumer, "seek", ("partition", "offset"), "a"),
    (driver.Consumer, "highwater", ("tp",), "c"),
    (driver.Consumer, "highwaters", ("*partitions",), "a"),
    (driver.Consumer, "assignment", (), "c"),
    (driver.AIOKafkaConsumerThread, "_create_worker_consumer", ("transport",), "c"),
    (driver.AIOKafkaConsumerThread, "_ensure_consumer", (), "c"),
    (driver.AIOKafkaConsumerThread, "call_thread", ("fun", "*args", "**kwargs"), "a"),
    (
        driver.Producer,
        "send",
        (
            *("topic", "key", "value", "partition", "timestamp", "headers"),
            "transactional_id",
        ),
        "a",
    ),
    (driver.Producer, "_ensure_producer", (), "c"),
    (aiokafka.AIOKafkaProducer, "partitions_for", ("topic",), "a"),
    (aiokafka.AIOKafkaConsumer, "commit", ("offsets",), "a"),
    (GroupCoordinator, "fetch_committed_offsets", ("partitions",), "a"),
    (aiokafka.AIOKafkaConsumer, "beginning_offsets", ("partitions",), "a"),
    (Service, "wait_until_stopped", (), "a"),
]


@pytest.mark.parametrize(
    ("owner", "name", "parameters", "kind"), METHODS, ids=lambda value: str(value)[-40:]
)
def test_a_method_is_as_we_know_it(owner, name, parameters, kind):
    """What is overridden or called has the parameters and the nature we rely on."""
    method = getattr(owner, name)
    found = [f"{p}".split(":")[0].split("=")[0] for p in _parameters(method)]
    assert found == list(parameters)
    is_kind: dict[str, Callable] = {
        "a": inspect.iscoroutinefunction,
        "i": inspect.isasyncgenfunction,
        "c": lambda m: (
            not (inspect.iscoroutinefunction(m) or inspect.isasyncgenfunction(m))
        ),
    }
    assert is_kind[kind](inspect.unwrap(method))


def _parameters(method):
    return [
        parameter
        for name, parameter in inspect.signature(method).parameters.items()
        if name != "self"
    ]


def test_offsets_are_committed_through_the_consumer():
    """Faust's commit goes through the consumer's, where ours puts a note beside it."""
    source = inspect.getsource(driver.AIOKafkaConsumerThread._commit)
    assert "consumer.commit(aiokafka_offsets)" in source


def test_the_fetch_wait_is_read_when_the_consumer_starts():
    """Aiokafka hands `_fetch_max_wait_ms` to its fetcher in `start`, not before."""
    source = inspect.getsource(aiokafka.AIOKafkaConsumer.start)
    assert "fetch_max_wait_ms=self._fetch_max_wait_ms" in source
    assert "await self._consumer.start()" in inspect.getsource(
        driver.AIOKafkaConsumerThread.on_start
    )


def test_the_fetcher_reads_through_getmany_of_the_consumer():
    """Faust's loop asks our `getmany`, and drops what lies before its read offset."""
    assert "consumer._drain_messages(self)" in inspect.getsource(Fetcher._fetcher.fun)
    loop = inspect.getsource(driver.Consumer._drain_messages)
    assert "getmany = self.getmany" in loop
    assert "offset >= r_offset" in loop


def test_every_partition_with_acks_is_asked_for_its_offset():
    """A commit asks `_new_offset` for each key of `_acked`, whatever is in it."""
    source = inspect.getsource(driver.Consumer._filter_tps_with_pending_acks)
    assert "for tp in self._acked" in source
    committing = inspect.getsource(driver.Consumer._filter_committable_offsets)
    assert "self._new_offset(tp)" in committing


def test_a_message_has_the_fields_we_fill():
    """`ConsumerMessage` takes, in this order, what `_message` hands over."""
    assert [p.name for p in _parameters(ConsumerMessage)][:12] == [
        *("topic", "partition", "offset", "timestamp", "timestamp_type", "headers"),
        *("key", "value", "checksum", "serialized_key_size"),
        *("serialized_value_size", "tp"),
    ]
    assert "generation_id" in inspect.signature(ConsumerMessage).parameters


def test_a_batch_keeps_the_holes_between_offsets():
    """Offsets are those of the records, also where some are missing."""
    records = [
        SimpleNamespace(offset=offset, timestamp=1000 + offset, value=b"v")
        for offset in (3, 4, 7)
    ]
    batch = batch_of(records)
    assert batch.offsets.tolist() == [3, 4, 7]
    assert batch.stamps.tolist() == [1.003, 1.004, 1.007]
    assert batch_of(records[:2]).offsets.tolist() == [3, 4]
    assert batch.values == [b"v"] * 3


class Host:
    """Stands for the worker: remembers, and calls safe what the test declares so."""

    fetch_wait_ms = 20
    commit_note = "blocks of so many"

    def __init__(self):
        self.safe = {}
        self.forgotten = 0

    def safe_offset(self, tp):
        return self.safe.get(tp)

    def forget_partitions(self):
        self.forgotten += 1


class Reader:
    """A Faust app with our consumer that notes every offset it is handed."""

    def __init__(self, bootstrap, topic, group):
        self.host = Host()
        self.tp = TP(topic, 0)
        self.offsets = []
        self.sizes = []
        self.app = faust.App(
            group,
            broker=f"kafka://{bootstrap}",
            store="memory://",
            web_enabled=False,
            datadir=tempfile.mkdtemp(),
            topic_allow_declare=False,
            topic_disable_leader=True,
            consumer_auto_offset_reset="earliest",
            stream_wait_empty=False,
            broker_commit_interval=0.1,
        )
        self.app.transport = transport_for(self.app, self.host)
        raw = self.app.topic(topic, value_serializer="raw", value_type=None)
        self.app.agent(raw, name="read")(self._read)

    async def _read(self, stream):
        async for event in stream.events():
            self.offsets += event.value.batch.offsets.tolist()
            self.sizes.append(len(event.value.batch.offsets))

    @property
    def consumer(self):
        return self.app.consumer

    async def until(self, is_so, what):
        deadline = time.monotonic() + 30
        while not is_so():
            assert time.monotonic() < deadline, f"no {what}: {self.offsets[-5:]}"
            await asyncio.sleep(0.02)

    async def move_to(self, offset):
        """Let the client go to an offset behind the back of our consumer."""
        thread = self.consumer._thread
        await thread.call_thread(thread._ensure_consumer().seek, self.tp, offset)

    @contextlib.asynccontextmanager
    async def running(self):
        self.app.finalize()
        await self.app.start()
        try:
            yield self
        finally:
            await self.app.stop()


@pytest.fixture
def reader(kafka, topics):
    topic = topics("batches", partitions=1)
    return Reader(kafka.bootstrap, topic, f"{topic}-group")


def fill(reader, kafka, count):
    """Put records into the topic."""
    stamp = time.time()
    values = (Record(0, stamp, b"%d" % number) for number in range(count))
    send_records(kafka.bootstrap, reader.tp.topic, values)


@pytest.mark.slow
def test_delivers_everything_once_and_commits_what_is_safe(kafka, reader):
    """Whole fetches in order; the committed offset is the host's, not Faust's."""

    async def main():
        fill(reader, kafka, 2_000)
        async with reader.running():
            await reader.until(lambda: len(reader.offsets) >= 2_000, "records")
            assert reader.host.forgotten > 0
            check_parts(reader)
            start = await reader.consumer.start_of(reader.tp)
            assert start == (0, False, "")
            assert reader.consumer.delivered(reader.tp) == 2_000
            reader.host.safe[reader.tp] = 1_024
            await reader.consumer.force_commit()
        again = Reader(kafka.bootstrap, reader.tp.topic, reader.app.conf.id)
        async with again.running():
            await again.until(lambda: len(again.offsets) >= 976, "records")
            start = await again.consumer.start_of(again.tp)
            assert start == (1_024, True, "blocks of so many")
        return again.offsets

    assert asyncio.run(main()) == list(range(1_024, 2_000))
    assert reader.offsets == list(range(2_000))
    assert np.mean(reader.sizes) > 10
    assert reader.consumer.repairs == 0


def check_parts(reader):
    """A running app has its parts where the consumer and the worker look for them."""
    app, consumer = reader.app, reader.consumer
    assert app.consumer_generation_id > 0
    assert app.rebalancing is False
    assert app.crash_reason is None
    assert callable(app.monitor.track_tp_end_offset)
    assert app.producer._ensure_producer() is not None
    assert consumer.host is reader.host
    assert set(consumer._acked) == {reader.tp}
    assert set(consumer._acked_index) == {reader.tp}
    assert consumer._buffered_partitions == set()
    assert consumer.flow_active is True
    assert consumer.should_stop is False
    client = consumer._thread._ensure_consumer()
    assert client._fetcher._fetch_max_wait_ms == reader.host.fetch_wait_ms
    assert consumer._fetched(reader.tp) == consumer.delivered(reader.tp)


@pytest.mark.slow
def test_goes_back_for_a_gap_and_cuts_repeats(kafka, reader):
    """Whatever Faust or the client skips or fetches again: each offset comes once."""
    reader.app.conf.broker_max_poll_records = 1  # slow enough to be met on its way

    async def main():
        fill(reader, kafka, 1_500)
        async with reader.running():
            await reader.until(lambda: len(reader.offsets) >= 10, "records")
            await reader.move_to(1_400)
            await reader.until(lambda: reader.consumer.repairs, "way back")
            await reader.move_to(5)
            await reader.until(lambda: len(reader.offsets) >= 1_500, "records")
            await reader.move_to(1_000)
            fill(reader, kafka, 10)
            await reader.until(lambda: len(reader.offsets) >= 1_510, "the newest")
            return reader.consumer.repairs

    assert asyncio.run(main()) == 1
    assert reader.offsets == list(range(1_510))


@pytest.mark.slow
def test_a_true_gap_is_gone_back_for_once(kafka, reader):
    """Markers of transactions take offsets and are never delivered."""
    producer = Producer(
        {"bootstrap.servers": kafka.bootstrap, "transactional.id": reader.tp.topic}
    )
    producer.init_transactions(30)

    def transact(count):
        producer.begin_transaction()
        for number in range(count):
            producer.produce(reader.tp.topic, b"%d" % number, partition=0)
        producer.commit_transaction(30)

    async def main():
        async with reader.running():
            for size in (3, 2, 4):
                before = len(reader.offsets)
                await asyncio.to_thread(transact, size)
                await reader.until(
                    lambda n=before + size: len(reader.offsets) >= n, "records"
                )
            return reader.consumer.repairs

    repairs = asyncio.run(main())
    assert reader.offsets == [0, 1, 2, 4, 5, 7, 8, 9, 10]
    assert repairs == 2


@pytest.mark.slow
def test_a_second_worker_that_joins_loses_nothing(kafka, topics, tmp_path):
    """It comes in mid-stream and goes again: the decisions are those of a replay."""
    stage = Stage(kafka, topics, block_size=1024, snapshot_seconds=1)
    records, end = telemetry(time.time() + 4, with_recorded=False, seconds=100)
    third = len(records) // 3
    first, second, rest = (
        records[:third],
        records[third : 2 * third],
        records[2 * third :],
    )
    stage.send(first)
    with GuardProcess(stage, tmp_path) as one, GuardProcess(stage, tmp_path) as two:
        for worker in (one, two):
            until(lambda w=worker: w.is_alive() and owned(w) > 0, "share of the work")
        until(lambda: owned(one) == owned(two) == 3, "half of the work each")
        stage.send(second)
        until(lambda: one.metrics()["guard_events_total"] > 0, "events")
        assert two.stop() == 0
        stage.send(rest)
        until(lambda: one.is_alive() and owned(one) == 6, "all of the work")
        one.wait_judged(end)
        assert one.stop() == 0
        assert "gap" not in one.metrics()
    decided = {d["id"]: {**d, "emitted_at": 0} for d in stage.decisions()}
    replayed = {d["id"]: {**d, "emitted_at": 0} for d in stage.replay()}
    assert decided == {k: replayed[k] for k in decided}
    assert {d["service"] for d in decided.values() if d["decision"] == "rollback"} == {
        *("error-step", "no-baseline", "shared-fault")
    }


def owned(worker):
    """Partitions of both topics that a worker has opened."""
    return sum(
        value
        for name, value in worker.metrics().items()
        if name.startswith("guard_partitions")
    )


def test_the_transport_names_the_consumer():
    """Faust makes the consumer that the transport names."""
    assert Transport.Consumer is Consumer
