"""The broker that the tests run against is a real one."""

import kafka_broker
import pytest
from kafka import KafkaConsumer, KafkaProducer
from kafka_broker import PORTS, BrokerUnavailable, Cluster, free_ports

VALUES = [b"%d" % number for number in range(100)]


@pytest.fixture
def produce(kafka):
    def produce(topic, values):
        with KafkaProducer(bootstrap_servers=kafka.bootstrap) as producer:
            for value in values:
                producer.send(topic, value, partition=0)
            producer.flush()

    return produce


@pytest.fixture
def consume(kafka):
    def consume(topic, count):
        with KafkaConsumer(
            topic,
            bootstrap_servers=kafka.bootstrap,
            auto_offset_reset="earliest",
            group_id=None,
            consumer_timeout_ms=20_000,
        ) as consumer:
            return [next(consumer).value for _ in range(count)]

    return consume


def test_brings_back_what_it_was_given(topics, produce, consume):
    """Values come back, in order within a partition."""
    topic = topics(partitions=1)
    produce(topic, VALUES)
    assert consume(topic, len(VALUES)) == VALUES


def test_keeps_its_data_when_killed(kafka, topics, produce, consume):
    """What was acknowledged survives SIGKILL and a restart on the same ports."""
    topic = topics(partitions=1)
    produce(topic, VALUES)
    bootstrap = kafka.bootstrap
    kafka.kill(0)
    kafka.start_node(0)
    assert kafka.bootstrap == bootstrap
    assert consume(topic, len(VALUES)) == VALUES


def test_makes_topics_as_asked(topics, kafka_admin):
    """Names differ, and the number of partitions is the one asked for."""
    first, second = topics("panes", partitions=3), topics("panes", partitions=5)
    described = kafka_admin.describe_topics([first, second])
    counts = {topic["name"]: len(topic["partitions"]) for topic in described}
    assert counts == {first: 3, second: 5}


def test_marks_tests_that_need_it(kafka, request):
    """A test that asks for the broker can be left out by its marker."""
    assert kafka.pids
    assert request.node.get_closest_marker("broker") is not None


def test_survives_a_taken_port(monkeypatch, kafka):
    """A port lost between drawing and opening it costs a second attempt, no more."""
    taken = [int(kafka.bootstrap.partition(":")[2]), *free_ports(2)]
    draws = iter([taken, free_ports(3)])
    monkeypatch.setattr(kafka_broker, "free_ports", lambda _: next(draws))
    with Cluster() as cluster:
        assert cluster.bootstrap != kafka.bootstrap


def test_says_what_is_missing(monkeypatch, tmp_path):
    """Without Java the error names it, and nothing is left behind."""
    monkeypatch.setenv("PATH", str(tmp_path))
    cluster = Cluster()
    with pytest.raises(BrokerUnavailable, match="java is not on the PATH"):
        cluster.start()
    assert not cluster.directory.exists()


def test_needs_maven_for_the_first_use_only(monkeypatch, tmp_path):
    """Without Maven an empty cache is an error that names it."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("KAFKA_CACHE", str(tmp_path / "cache"))
    with pytest.raises(BrokerUnavailable, match="mvn is not on the PATH"):
        kafka_broker.fetch()


def test_draws_no_port_of_outgoing_connections():
    """Ports differ and stay out of the range that the kernel gives to clients."""
    ports = free_ports(50)
    assert len(set(ports)) == 50
    assert all(port in PORTS for port in ports)
