"""What Kafka's ACLs must allow: a table, and what of it is missing.

Kafka itself says what a user may do with a topic or a group, to whoever may see it
(KIP-430). What it does not say, such as an old one, is found out by trying.
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from kafka.errors import GroupAuthorizationFailedError, RetriableError

from guard.shell.settings import Settings

GROUP = "application"  # the field that names the consumer group
PAGE = "docs/kafka-access.md"
_UNSEEN = 29  # Kafka's error code TOPIC_AUTHORIZATION_FAILED
_TRIES, _PAUSE_SECONDS = 20, 0.25  # a young Kafka has no coordinator yet

Needs = Mapping[str, tuple[str, ...]]  # Kafka's operations by field of the settings

_CHECK: Needs = {
    "input_topic": ("Describe", "DescribeConfigs"),
    "panes_topic": ("Describe", "DescribeConfigs"),
    "snapshots_topic": ("Describe", "DescribeConfigs"),
    "decisions_topic": ("Describe",),
    "rejected_topic": ("Describe",),
}
NEEDS: dict[str, Needs] = {
    "guard run": {
        "input_topic": ("Read", "DescribeConfigs"),
        "panes_topic": ("Read", "Write", "DescribeConfigs"),
        "snapshots_topic": ("Read", "Write", "DescribeConfigs"),
        "decisions_topic": ("Write",),
        "rejected_topic": ("Write",),
        GROUP: ("Read",),
    },
    "guard topics": {field: ("Create", *words) for field, words in _CHECK.items()},
    "guard topics --check": _CHECK,
    "guard watch": {"decisions_topic": ("Read",)},
    "guard explain": {"decisions_topic": ("Read",)},
    "guard replay --topic": {"input_topic": ("Read",)},
    "guard send": {"input_topic": ("Write",)},
}
"""What each command needs and no more; `Read` and `Write` include `Describe`."""


class NotAllowed(RuntimeError):  # noqa: N818  # as `NotEnoughData`
    """Kafka does not allow what is needed; the message says what, a line each."""


def demand(client: Any, settings: Settings, command: str) -> None:
    """Raise `NotAllowed` when an ACL is missing that the command needs."""
    if lacking := list(missing(client, settings, NEEDS[command])):
        raise NotAllowed("\n".join(lacking))


def missing(client: Any, settings: Settings, needs: Needs) -> Iterator[str]:
    """Yield a sentence for each topic, and for the group, that needs an ACL."""
    topics = {getattr(settings, f): needs[f] for f in needs if f != GROUP}
    for found in client.describe_topics(list(topics)):
        name = found["name"]
        if lacking := _lacking(topics[name], _topic_operations(found)):
            yield refused(settings, f'topic "{name}"', lacking)
    if GROUP in needs:
        group = settings.application
        if lacking := _lacking(needs[GROUP], _group_operations(client, group)):
            yield refused(settings, f'consumer group "{group}"', lacking)


def refused(settings: Settings, what: str, operations: Iterable[str]) -> str:
    """Return the sentence that says what Kafka does not allow."""
    user = f'user "{settings.sasl_username}"' if settings.uses_sasl else "this client"
    words = " and ".join(operations)
    return f"Kafka does not allow {user} {words} on {what}: see {PAGE}"


def _lacking(needed: Iterable[str], allowed: set[str] | None) -> list[str]:
    return [] if allowed is None else [word for word in needed if word not in allowed]


def _topic_operations(found: Mapping[str, Any]) -> set[str] | None:
    """Return what is allowed, None when Kafka does not say."""
    if found["error_code"] == _UNSEEN:
        return set()
    if found["error_code"]:
        return None
    return _named(found)


def _group_operations(client: Any, group: str) -> set[str] | None:
    for _ in range(_TRIES):
        try:
            found = client.describe_groups([group])[group]
        except GroupAuthorizationFailedError:
            return set()
        except RetriableError:
            time.sleep(_PAUSE_SECONDS)
            continue
        if GroupAuthorizationFailedError.__name__ in (found["error"] or ""):
            return set()
        return _named(found)
    return None


def _named(found: Mapping[str, Any]) -> set[str] | None:
    names = found.get("authorized_operations")
    return {_word(name) for name in names} if names else None


def _word(name: str) -> str:
    """Return an operation as `kafka-acls.sh` calls it.

    >>> _word("DESCRIBE_CONFIGS")
    'DescribeConfigs'
    """
    return name.title().replace("_", "")
