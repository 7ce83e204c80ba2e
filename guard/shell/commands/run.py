"""Run a worker: check everything that can be checked first, then begin."""

import logging
from collections.abc import Callable

from guard.shell import access, logs, policy_file, topics
from guard.shell.kafka_clients import admin, wait_for_broker
from guard.shell.settings import Settings

MISUSED = 2
SOURCE_PARTITIONS, TARGET_PARTITIONS = 8, 4  # of topics made by --create-topics

log = logging.getLogger(__name__)


def run_worker(
    settings: Settings, say: Callable[[str], object], *, create_topics: bool
) -> int:
    """Run until SIGTERM or Ctrl-C; the exit status.

    Raises
    ------
    BrokerUnreachable, NotAllowed, PolicyFaults, TopicsNotMade
        Before anything has begun.
    """
    logs.configure(settings.log_format, settings.log_level)
    policy = policy_file.load(settings.policy or None)
    for name, value in settings.describe():
        say(f"{name:24} {value}")
    wait_for_broker(settings, settings.start_timeout_seconds, say)
    with admin(settings) as client:
        access.demand(client, settings, "guard run")
        if create_topics:
            plan = topics.plan(
                settings,
                source_partitions=SOURCE_PARTITIONS,
                target_partitions=TARGET_PARTITIONS,
            )
            for name in topics.create(client, plan):
                say(f"made topic {name}")
        faults, warnings = topics.check(client, settings)
    for warning in warnings:
        log.warning(warning)
    for fault in faults:
        say(fault)
    if faults:
        return MISUSED
    # These take seconds to import: what is wrong before is said at once.
    from guard.shell.app import run_until_signalled  # noqa: PLC0415
    from guard.shell.web import CannotListen  # noqa: PLC0415

    try:
        return run_until_signalled(settings, policy)
    except CannotListen as error:
        say(f"{error}; choose another with GUARD_HTTP_PORT or --http-port, 0 is off")
        return MISUSED
