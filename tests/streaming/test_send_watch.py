"""Sending recorded events and following decisions, on a real broker."""

import gzip
import io
import itertools
import json
import threading
import time
from types import SimpleNamespace

import pytest
from kafka.structs import TopicPartition

from guard.shell import kafka_clients
from guard.shell.commands.send import CannotSend, send
from guard.shell.commands.watch import watch
from guard.shell.settings import Settings
from guard.shell.topics import NoSuchTopic

BEGIN = 1_661_140_344.25
LINES = [
    b'{"ts":1661140344.25,"service":"cart","status":200}',
    b"this is no JSON",
    b'{"ts":"2022-08-22T03:52:24.75Z","service":"mail","status":200}',
    b"",
    b'[{"ts":1661140345,"service":"cart"},{"ts":1661140345.5,"service":"cart"}]',
]
SENT = 4  # the empty line is none


@pytest.fixture
def settings(kafka, topics):
    """Settings with an input topic that keeps the sender's times."""
    return Settings(
        brokers=(kafka.bootstrap,),
        input_topic=topics("input", partitions=2),
        decisions_topic=topics("decisions", partitions=3),
    )


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "events.ndjson"
    file.write_bytes(b"\n".join(LINES))
    return str(file)


def read(settings, count):
    """The records of the input topic, in the order of their times."""
    partitions = [TopicPartition(settings.input_topic, number) for number in range(2)]
    records, deadline = [], time.monotonic() + 20
    with kafka_clients.consumer(settings, auto_offset_reset="earliest") as consumer:
        consumer.assign(partitions)
        while len(records) < count and time.monotonic() < deadline:
            for batch in consumer.poll(timeout_ms=500).values():
                records += batch
    assert len(records) == count
    return sorted(records, key=lambda record: (record.timestamp, record.value))


def quietly(text):
    """Take what is said and do nothing."""


def test_moves_times_to_now(settings, path):
    """The first event is now, the others as long after it as they were."""
    before = time.time()
    outcome = send(path, settings, speed=0, say=quietly)
    assert (outcome.records, outcome.unreadable) == (SENT, 1)
    records = [record for record in read(settings, SENT) if record.value != LINES[1]]
    events = [json.loads(record.value) for record in records]
    first = events[0]["ts"]
    assert before <= first <= time.time()
    assert events[0] == json.loads(LINES[0]) | {"ts": first}
    steps = [record.timestamp - records[0].timestamp for record in records]
    assert steps == pytest.approx([0, 500, 750], abs=1)  # milliseconds, rounded
    assert events[1]["ts"].endswith("Z")
    assert [event["ts"] - first for event in events[2]] == pytest.approx([0.75, 1.25])


def test_sends_as_it_is_what_it_cannot_read(settings, path):
    """It is the guard that rejects; the record's time is that of the line before."""
    send(path, settings, speed=0, say=quietly)
    records = {record.value: record for record in read(settings, SENT)}
    first = min(record.timestamp for record in records.values())
    assert records[LINES[1]].timestamp == first


def test_leaves_times_as_they_were(settings, path):
    """On request values and times are those of the file."""
    send(path, settings, speed=0, say=quietly, moves_times=False)
    records = read(settings, SENT)
    assert {record.value for record in records} == {line for line in LINES if line}
    assert records[0].timestamp == round(BEGIN * 1000)


def test_takes_the_partitions_in_turn(settings, path):
    """Records without a key are spread evenly."""
    send(path, settings, speed=0, say=quietly)
    records = read(settings, SENT)
    assert sorted(record.partition for record in records) == [0, 0, 1, 1]
    assert {record.key for record in records} == {None}


def test_a_field_can_be_the_key(settings, path):
    """Records of one service go to one partition."""
    send(path, settings, speed=0, say=quietly, key_field="service")
    keys = {(record.key, record.partition) for record in read(settings, SENT)}
    assert {key for key, _ in keys} == {b"cart", b"mail", None}
    assert len([key for key, _ in keys if key]) == 2


def test_keeps_the_pace(settings, path):
    """At speed 2 the 0.75 s of the file take half of that."""
    outcome = send(path, settings, speed=2, say=quietly)
    assert 0.375 <= outcome.seconds < 5


def test_reads_compressed_files(settings, tmp_path):
    """What ends with .gz is unpacked."""
    file = tmp_path / "events.ndjson.gz"
    file.write_bytes(gzip.compress(b"\n".join(LINES)))
    assert send(str(file), settings, speed=0, say=quietly).records == SENT
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(CannotSend, match="cannot read"):
        send(str(file), settings, speed=0, say=quietly)


def test_reads_standard_input(settings, monkeypatch):
    """A dash is standard input."""
    stdin = SimpleNamespace(buffer=io.BytesIO(LINES[0]))
    monkeypatch.setattr("sys.stdin", stdin)
    assert send("-", settings, speed=0, say=quietly).records == 1


def test_says_which_file_is_missing(settings):
    """A path that leads nowhere is a sentence, not a traceback."""
    with pytest.raises(CannotSend, match=r"^cannot read nowhere: No such file"):
        send("nowhere", settings, speed=0, say=quietly)


@pytest.mark.parametrize("speed", [0, 1.5])
def test_refuses_to_outrun_the_brokers_clock(kafka, topics, path, speed):
    """Where Kafka stamps records, faster than real time would all be rejected."""
    name = topics(configs={"message.timestamp.type": "LogAppendTime"})
    settings = Settings(brokers=(kafka.bootstrap,), input_topic=name)
    with pytest.raises(CannotSend, match="ahead of their records"):
        send(path, settings, speed=speed, say=quietly)


def test_real_time_is_fine_where_kafka_stamps(kafka, topics, path):
    """Speed 1 goes to a LogAppendTime topic; slower goes too, with a warning."""
    name = topics(configs={"message.timestamp.type": "LogAppendTime"})
    settings = Settings(brokers=(kafka.bootstrap,), input_topic=name)
    said = []
    assert send(path, settings, speed=1, say=said.append).records == SENT
    assert said == []
    send(path, settings, speed=0.9, say=said.append)
    assert len(said) == 1
    assert "late" in said[0]


def test_says_that_kafka_refuses(settings, tmp_path):
    """Events far ahead of the broker's clock end the sending with the reason."""
    later = b'{"ts":%d,"service":"cart"}' % (BEGIN + 2 * 86_400)
    file = tmp_path / "events.ndjson"
    file.write_bytes(LINES[0] + b"\n" + later)
    with pytest.raises(CannotSend, match=r"timestamp\.after\.max\.ms"):
        send(str(file), settings, speed=0, say=quietly)


def test_needs_its_topics(settings, path):
    """A topic that is not there is named, with what makes it."""
    names = {"input_topic": "not-there", "decisions_topic": "nor-there"}
    elsewhere = Settings(brokers=settings.brokers, **names)
    with pytest.raises(NoSuchTopic, match="not-there"):
        send(path, elsewhere, speed=0, say=quietly)
    with pytest.raises(NoSuchTopic, match="nor-there"):
        watch(elsewhere, since="now")


@pytest.mark.parametrize("speed", [-1.0, float("inf"), float("nan")])
def test_refuses_a_speed_that_is_none(speed):
    """The speed is finite and not negative."""
    with pytest.raises(ValueError, match="speed must be"):
        send("-", Settings(), speed=speed, say=quietly)


@pytest.fixture
def decide(settings):
    """Write a decision as the guard does."""
    with kafka_clients.producer(settings) as producer:

        def decide(service, value):
            producer.send(
                settings.decisions_topic,
                value,
                key=service.encode(),
                headers=[("ce_id", service.encode()), ("ce_type", b"decision")],
            ).get(20)

        yield decide


def take(records, count):
    """The next records, or a failure when they do not come."""
    taken = []
    reader = threading.Thread(
        target=lambda: taken.extend(itertools.islice(records, count)), daemon=True
    )
    reader.start()
    reader.join(30)
    assert not reader.is_alive()
    records.close()
    return taken


def test_shows_decisions_from_the_beginning(settings, decide):
    """Headers and value come decoded, whatever partition they are on."""
    services = [f"service-{number}" for number in range(5)]
    for number, service in enumerate(services):
        decide(service, b'{"decision":"rollback","sequence":%d}' % number)
    records = take(watch(settings, since="beginning"), 5)
    assert {record.service for record in records} == set(services)
    assert {record.partition for record in records} <= {0, 1, 2}
    for record in records:
        assert record.value["sequence"] == services.index(record.service)
        assert record.headers == {"ce_id": record.service, "ce_type": "decision"}
        assert record.stamped_at == pytest.approx(time.time(), abs=60)


def test_shows_only_what_is_new(settings, decide):
    """From now on means from the call, not from the first record asked for."""
    decide("cart", b'{"sequence":1}')
    records = watch(settings, since="now")
    decide("cart", b'{"sequence":2}')
    assert [record.value for record in take(records, 1)] == [{"sequence": 2}]


def test_shows_one_service(settings, decide):
    """Decisions of other services are passed over."""
    for service in ("cart", "mail", "cart"):
        decide(service, b"{}")
    records = watch(settings, since="beginning", service="mail")
    assert [record.service for record in take(records, 1)] == ["mail"]


def test_shows_what_is_no_json(settings, decide):
    """A foreign record has no value, and the next one comes."""
    decide("cart", b"\xff{")
    decide("cart", b"{}")
    records = watch(settings, since="beginning")
    assert [record.value for record in take(records, 2)] == [None, {}]
