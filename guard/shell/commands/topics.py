"""Make the topics that are missing; check those that are there."""

from collections.abc import Callable

from guard.shell import access, topics
from guard.shell.kafka_clients import admin, wait_for_broker
from guard.shell.settings import Settings


def make_or_check(
    settings: Settings,
    say: Callable[[str], object],
    *,
    source_partitions: int,
    target_partitions: int,
    replication: int,
    check_only: bool,
) -> bool:
    """Say what was made and what is wrong; whether the guard can work with them."""
    wait_for_broker(settings, 0, say)
    with admin(settings) as client:
        access.demand(client, settings, "guard topics --check")
        if not check_only:
            plan = topics.plan(
                settings,
                source_partitions=source_partitions,
                target_partitions=target_partitions,
                replication=replication,
            )
            for name in topics.create(client, plan):
                say(f"made topic {name}")
        faults, warnings = topics.check(client, settings)
    for warning in warnings:
        say(f"warning: {warning}")
    for fault in faults:
        say(fault)
    if not faults:
        say("the topics are as the guard needs them")
    return not faults
