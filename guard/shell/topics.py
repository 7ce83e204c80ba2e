"""The topics that the guard needs: what they must be like, made and checked.

What the partitions are for: a source is a partition of the input; a target is a
partition of panes, and the same number of snapshots and decisions belongs to it.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import (
    NoError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    for_code,
)

from guard.shell.access import PAGE
from guard.shell.kafka_clients import Admin
from guard.shell.settings import Settings

APPEND_TIME = "LogAppendTime"
TIMESTAMP_TYPE = "message.timestamp.type"
_CLEANUP = "cleanup.policy"
_HOUR_MS = 3_600_000
_SAME_PARTITIONS = ("snapshots_topic", "decisions_topic")  # as panes


class TopicPlan(msgspec.Struct, frozen=True, kw_only=True):
    """A topic as it should be; `partitions` and `replication` of -1: Kafka's default.

    Parameters
    ----------
    configs
        Settings of the topic that differ from Kafka's, in Kafka's words.
    """

    name: str
    partitions: int
    replication: int
    configs: dict[str, str]


class Findings(NamedTuple):
    """What is wrong with the topics, and what may be meant; sentences."""

    faults: list[str]
    warnings: list[str]


class TopicsNotMade(RuntimeError):  # noqa: N818  # as `NotEnoughData`
    """Kafka refused to make some topics; the message says which and why."""


class NoSuchTopic(RuntimeError):  # noqa: N818  # likewise
    """A topic that is needed is not there; the message says what makes it."""


def plan(
    settings: Settings,
    *,
    source_partitions: int,
    target_partitions: int,
    replication: int = -1,
) -> list[TopicPlan]:
    """Return the topics of a guard.

    Parameters
    ----------
    source_partitions
        Of the input: as many workers can read it at most.
    target_partitions
        Of panes, snapshots and decisions. Each second every one gets a message of
        each source, and one carries thousands of services: few.
    replication
        Copies of each; -1 is the brokers' default.
    """
    log = {TIMESTAMP_TYPE: APPEND_TIME}
    large = {"max.message.bytes": str(8 << 20)}
    panes = log | large | {"retention.ms": str(24 * _HOUR_MS)}
    decisions = {"retention.ms": str(30 * 24 * _HOUR_MS)}
    snapshots = {
        _CLEANUP: "compact",
        "segment.bytes": str(16 << 20),  # only closed segments are compacted
        "min.cleanable.dirty.ratio": "0.1",
        "min.compaction.lag.ms": "60000",
        **large,
    }
    shapes: list[tuple[str, int, Mapping[str, str]]] = [
        (settings.input_topic, source_partitions, log),
        (settings.panes_topic, target_partitions, panes),
        (settings.snapshots_topic, target_partitions, snapshots),
        (settings.decisions_topic, target_partitions, decisions),
        (settings.rejected_topic, 1, {}),
    ]
    return [
        TopicPlan(
            name=name,
            partitions=partitions,
            replication=replication,
            configs=dict(configs),
        )
        for name, partitions, configs in shapes
    ]


def create(client: Admin, plans: Sequence[TopicPlan]) -> list[str]:
    """Make those that are missing and return their names, once they can be used.

    What is there stays as it is: `check` says whether it will do. Someone else may
    make them at the same time.

    Raises
    ------
    TopicsNotMade
        With the reasons; the others have been made.
    """
    names = [plan.name for plan in plans]
    there = partition_counts(client, names)
    missing = [plan for plan in plans if plan.name not in there]
    if not missing:
        return []
    wanted = {plan.name: _wanted(plan) for plan in missing}
    answers = client.create_topics(wanted, raise_errors=False)["topics"]
    if refused := [why for answer in answers if (why := _refusal(answer))]:
        raise TopicsNotMade("\n".join(refused))
    client.wait_for_topics(names)
    return [answer["name"] for answer in answers if not answer["error_code"]]


def _refusal(answer: Mapping[str, Any]) -> str:
    """Return why Kafka did not make the topic, nothing when it is there now."""
    error = for_code(answer["error_code"])
    if error in (NoError, TopicAlreadyExistsError):
        return ""
    if error is TopicAuthorizationFailedError:
        return f'Kafka does not allow Create on topic "{answer["name"]}": see {PAGE}'
    reason = answer.get("error_message") or error.__name__
    return f'cannot make topic "{answer["name"]}": {reason}'


def _wanted(plan: TopicPlan) -> dict[str, object]:
    return {
        "num_partitions": plan.partitions,
        "replication_factor": plan.replication,
        "configs": plan.configs,
    }


def partition_counts(client: Admin, topics: Sequence[str]) -> dict[str, int]:
    """Return how many partitions those of the topics have that exist."""
    return {
        topic["name"]: len(topic["partitions"])
        for topic in client.describe_topics(list(topics))
        if topic["error_code"] == 0
    }


def demand(client: Admin, topic: str) -> int:
    """Return how many partitions a topic has; raises `NoSuchTopic`."""
    try:
        return partition_counts(client, [topic])[topic]
    except KeyError:
        raise NoSuchTopic(_is_missing(topic)) from None


def configs(client: Admin, topics: Sequence[str]) -> dict[str, dict[str, str]]:
    """Return the settings of topics that exist, in Kafka's words."""
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in topics]
    if not resources:
        return {}
    answer: dict[str, Any] = client.describe_configs(resources, config_filter="all")
    return {
        topic: {name: found["value"] for name, found in values.items()}
        for topic, values in answer["topic"].items()
    }


def check(client: Admin, settings: Settings) -> Findings:
    """Say what the guard cannot work with, and what is probably not meant."""
    counts = partition_counts(client, list(settings.topics.values()))
    asked = (settings.input_topic, settings.panes_topic, settings.snapshots_topic)
    found = configs(client, [name for name in asked if name in counts])
    faults = [
        *_missing(settings, counts),
        *_unequal(settings, counts),
        *_not_compacted(settings, found),
    ]
    return Findings(faults, list(_own_times(settings, found)))


def _missing(settings: Settings, counts: Mapping[str, int]) -> Iterator[str]:
    for name in settings.topics.values():
        if name not in counts:
            yield _is_missing(name)


def _is_missing(name: str) -> str:
    return f'there is no topic "{name}"; "guard topics" makes it'


def _unequal(settings: Settings, counts: Mapping[str, int]) -> Iterator[str]:
    panes = settings.panes_topic
    for field in _SAME_PARTITIONS:
        name: str = getattr(settings, field)
        if panes in counts and name in counts and counts[name] != counts[panes]:
            yield (
                f'topic "{name}" has {counts[name]} partitions, "{panes}" has'
                f" {counts[panes]}: they must have the same number"
            )


def _not_compacted(
    settings: Settings, found: Mapping[str, Mapping[str, str]]
) -> Iterator[str]:
    name = settings.snapshots_topic
    policy = found.get(name, {}).get(_CLEANUP, "compact")
    if policy != "compact":
        yield (
            f'topic "{name}" has {_CLEANUP}={policy}, must have compact: it would'
            " forget services, or grow without end"
        )


def _own_times(
    settings: Settings, found: Mapping[str, Mapping[str, str]]
) -> Iterator[str]:
    """Yield what is wrong with the clock that the watermark trusts."""
    for name in (settings.input_topic, settings.panes_topic):
        kind = found.get(name, {}).get(TIMESTAMP_TYPE, APPEND_TIME)
        if kind != APPEND_TIME:
            yield (
                f'topic "{name}" has {TIMESTAMP_TYPE}={kind}, should have'
                f" {APPEND_TIME}: a sender with a wrong clock can move the guard's time"
            )
