"""The guard's topics on a real broker: made, made again, checked; and reaching it."""

import threading

import pytest
from kafka_broker import free_ports

from guard.shell import kafka_clients
from guard.shell.kafka_clients import BrokerUnreachable, wait_for_broker
from guard.shell.settings import Settings
from guard.shell.topics import (
    TopicPlan,
    TopicsNotMade,
    check,
    configs,
    create,
    partition_counts,
    plan,
)

FIELDS = ("input", "panes", "snapshots", "decisions", "rejected")


@pytest.fixture
def settings(kafka, request):
    """Settings for the broker with topics that no other test has."""
    names = {f"{field}_topic": f"{field}-{request.node.name}" for field in FIELDS}
    return Settings(brokers=(kafka.bootstrap,), **names)


def plans(settings, **further):
    shape = {"source_partitions": 6, "target_partitions": 3} | further
    return plan(settings, **shape)


def test_makes_what_was_planned(settings, kafka_admin):
    """Kafka has the topics with the partitions and settings of the plan."""
    planned = plans(settings)
    assert create(kafka_admin, planned) == [topic.name for topic in planned]
    names = [topic.name for topic in planned]
    counts = partition_counts(kafka_admin, names)
    assert counts == {topic.name: topic.partitions for topic in planned}
    found = configs(kafka_admin, names)
    for topic in planned:
        assert {key: found[topic.name][key] for key in topic.configs} == topic.configs


def test_targets_are_as_many_on_every_topic_of_the_judge():
    """Panes, snapshots and decisions have a partition for each target."""
    counts = [topic.partitions for topic in plans(Settings())]
    assert counts == [6, 3, 3, 3, 1]


def test_made_topics_pass_the_check(settings, kafka_admin):
    """What `create` makes, `check` finds nothing wrong with."""
    create(kafka_admin, plans(settings))
    assert check(kafka_admin, settings) == ([], [])


def test_making_again_changes_nothing(settings, kafka_admin):
    """The second time there is nothing to make, whatever the plan says."""
    create(kafka_admin, plans(settings))
    assert create(kafka_admin, plans(settings, target_partitions=9)) == []
    assert partition_counts(kafka_admin, [settings.panes_topic]) == {
        settings.panes_topic: 3
    }


def test_two_may_make_them_at_once(settings):
    """Who comes second finds the topics there, and that is fine."""
    made, failed = [], []

    def make(barrier):
        with kafka_clients.admin(settings) as client:
            barrier.wait(20)
            try:
                made.extend(create(client, plans(settings)))
            except TopicsNotMade as error:
                failed.append(error)

    barrier = threading.Barrier(3)
    makers = [threading.Thread(target=make, args=(barrier,)) for _ in range(3)]
    for maker in makers:
        maker.start()
    for maker in makers:
        maker.join(60)
    assert not failed
    assert sorted(made) == sorted(settings.topics.values())


def test_says_which_topics_are_missing(settings, kafka_admin):
    """Each missing topic is a fault that names what makes it."""
    faults, warnings = check(kafka_admin, settings)
    assert faults == [
        f'there is no topic "{name}"; "guard topics" makes it'
        for name in settings.topics.values()
    ]
    assert warnings == []


def test_says_what_is_wrong_with_topics_made_by_hand(settings, kafka_admin):
    """Unequal partitions and forgetful snapshots are faults, foreign time a warning."""
    shapes = [(2, {}), (3, {}), (4, {"cleanup.policy": "delete"}), (3, {}), (1, {})]
    by_hand = [
        TopicPlan(name=name, partitions=count, replication=-1, configs=config)
        for name, (count, config) in zip(settings.topics.values(), shapes, strict=True)
    ]
    create(kafka_admin, by_hand)
    faults, warnings = check(kafka_admin, settings)
    panes, snapshots = settings.panes_topic, settings.snapshots_topic
    assert faults == [
        (
            f'topic "{snapshots}" has 4 partitions, "{panes}" has 3:'
            " they must have the same number"
        ),
        (
            f'topic "{snapshots}" has cleanup.policy=delete, must have compact:'
            " it would forget services, or grow without end"
        ),
    ]
    assert [text.partition(" has ")[0] for text in warnings] == [
        f'topic "{settings.input_topic}"',
        f'topic "{panes}"',
    ]


def test_says_why_kafka_refuses(settings, kafka_admin):
    """More replicas than brokers cannot be; the reason is Kafka's."""
    with pytest.raises(TopicsNotMade, match="replication factor"):
        create(kafka_admin, plans(settings, replication=3))


def test_finds_a_broker_at_once(settings):
    """Nothing is said when Kafka answers."""
    said = []
    wait_for_broker(settings, 10.0, said.append)
    wait_for_broker(settings, 10.0, said.append, api_version=(2, 3))
    assert said == []


def test_says_at_once_that_there_is_no_broker():
    """The first failure is told with its reason, the last raises it."""
    (port,) = free_ports(1)
    said = []
    with pytest.raises(BrokerUnreachable, match="Connection refused"):
        wait_for_broker(Settings(brokers=(f"localhost:{port}",)), 1.0, said.append)
    assert said == [
        (
            f"cannot reach Kafka at localhost:{port}: Connection refused;"
            " trying again for 1 s"
        )
    ]


def test_tries_once_without_a_timeout():
    """With 0 seconds to wait the first failure raises."""
    (port,) = free_ports(1)
    with pytest.raises(BrokerUnreachable, match=f"{port}: Connection refused$"):
        wait_for_broker(Settings(brokers=(f"localhost:{port}",)), 0.0, pytest.fail)


@pytest.mark.usefixtures("leaky_sockets")
def test_one_broker_of_several_is_enough(kafka):
    """The list of brokers is only where to begin."""
    (port,) = free_ports(1)
    several = Settings(brokers=(f"localhost:{port}", kafka.bootstrap))
    wait_for_broker(several, 10.0, pytest.fail)
