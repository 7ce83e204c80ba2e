"""The command line.

Options say what is particular to a command; everything else is a `GUARD_…` variable,
which `guard run --help` lists. Results go to standard output, what happens meanwhile to
standard error. Exit status: 2 for what the caller must mend, 3 for a Kafka that does
not answer, 70 for a worker that ended itself and wants to be started again.
"""

import contextlib
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal, NoReturn

import typer

from guard.shell.settings import Settings

MISUSED, UNREACHABLE, INTERRUPTED = 2, 3, 130

app = typer.Typer(
    name="guard",
    help="Watches a canary beside its baseline and says when to roll back, and why.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)

Brokers = Annotated[
    str | None, typer.Option(help="host:port, with commas. [GUARD_BROKERS]")
]
PolicyPath = Annotated[
    Path | None, typer.Option(help="A policy file; without one, the shipped one.")
]
Lateness = Annotated[
    float | None,
    typer.Option(help="Seconds an event may come late. [GUARD_LATENESS_SECONDS]"),
]


def say(message: str) -> None:
    """Tell the person in front of the terminal."""
    typer.echo(message, err=True)


def give_up(message: str, status: int = MISUSED) -> typer.Exit:
    """Return what to raise when a command cannot go on."""
    say(message)
    return typer.Exit(status)


def settings_of(**flags: object) -> Settings:
    """Read the settings, or end with everything that is wrong in them."""
    from guard.shell.environment import SettingsFault, load

    try:
        return load(None, **flags)
    except SettingsFault as error:
        raise give_up(f"The settings are not usable:\n{error}") from error


@app.command()
def run(
    brokers: Brokers = None,
    application: Annotated[
        str | None, typer.Option(help="Consumer group. [GUARD_APPLICATION]")
    ] = None,
    policy: PolicyPath = None,
    input_topic: Annotated[
        str | None, typer.Option(help="Request events. [GUARD_INPUT_TOPIC]")
    ] = None,
    lateness_seconds: Lateness = None,
    instance_id: Annotated[
        str | None,
        typer.Option(help="Static member's name, never shared. [GUARD_INSTANCE_ID]"),
    ] = None,
    http_host: Annotated[
        str | None, typer.Option(help="Listen address. [GUARD_HTTP_HOST]")
    ] = None,
    http_port: Annotated[
        int | None, typer.Option(help="For /metrics; 0 is off. [GUARD_HTTP_PORT]")
    ] = None,
    start_timeout: Annotated[
        float | None,
        typer.Option(help="Seconds to wait for Kafka. [GUARD_START_TIMEOUT_SECONDS]"),
    ] = None,
    dry_run: Annotated[
        bool | None,
        typer.Option("--dry-run", help="Mark every decision. [GUARD_DRY_RUN]"),
    ] = None,
    create_topics: Annotated[
        bool, typer.Option("--create-topics", help="Make the topics that are missing.")
    ] = False,
) -> None:
    """Run a worker: fold, judge and decide until told to stop.

    Example: `guard run --brokers kafka-1:9092,kafka-2:9092 --create-topics`
    """
    from guard.shell.commands.run import run_worker

    settings = settings_of(
        brokers=brokers,
        application=application,
        policy=None if policy is None else str(policy),
        input_topic=input_topic,
        lateness_seconds=lateness_seconds,
        instance_id=instance_id,
        http_host=http_host,
        http_port=http_port,
        start_timeout_seconds=start_timeout,
        dry_run=dry_run,
    )
    with _told_plainly():
        status = run_worker(settings, say, create_topics=create_topics)
    raise typer.Exit(status)


@app.command()
def demo(
    speed: Annotated[
        float, typer.Option(min=1.0, max=60.0, help="Times real time.")
    ] = 12.0,
) -> None:
    """See it catch a bad canary: real telemetry, a broker of its own, no set-up.

    Needs the extra `demo`. Example: `guard demo --speed 20`
    """
    from guard.shell.commands.demo import DemoUnavailable, run_demo

    try:
        raise typer.Exit(run_demo(speed=speed))
    except DemoUnavailable as error:
        raise give_up(f"{error}") from error


@app.command()
def replay(
    files: Annotated[
        list[str] | None,
        typer.Argument(help="NDJSON files, `.gz` or not; `-` is standard input."),
    ] = None,
    topic: Annotated[
        str | None, typer.Option(help="A topic to read from its beginning, instead.")
    ] = None,
    brokers: Brokers = None,
    policy: PolicyPath = None,
    lateness_seconds: Lateness = None,
) -> None:
    """Judge recorded events: the decisions as NDJSON on standard output.

    The same engine as behind Kafka; the same input gives the same bytes.

    Example: `guard replay events.ndjson.gz --policy shop.yaml`
    """
    from guard.shell.commands.replay import replay_files, replay_topic

    if bool(files) == bool(topic):
        raise give_up("guard replay needs files or --topic, and not both")
    settings = settings_of(
        brokers=brokers,
        policy=None if policy is None else str(policy),
        lateness_seconds=lateness_seconds,
        input_topic=topic,
    )
    with _told_plainly():
        if files:
            replay_files(files, settings, sys.stdout.buffer, say)
        else:
            replay_topic(settings, sys.stdout.buffer, say)


@app.command()
def send(
    file: Annotated[
        str, typer.Argument(help="NDJSON, `.gz` or not; `-`: standard input.")
    ],
    speed: Annotated[
        float, typer.Option(help="Times real time; 0 is as fast as possible.")
    ] = 1.0,
    topic: Annotated[
        str | None, typer.Option(help="Where to. [GUARD_INPUT_TOPIC]")
    ] = None,
    brokers: Brokers = None,
    keep_times: Annotated[
        bool, typer.Option("--keep-times", help="Do not move the events to now.")
    ] = False,
) -> None:
    """Send recorded events to the input topic, as if they happened now.

    Example: `guard send events.ndjson.gz --speed 1`
    """
    from guard.shell.commands.send import send as send_file
    from guard.shell.kafka_clients import wait_for_broker

    settings = settings_of(brokers=brokers, input_topic=topic)
    with _told_plainly():
        wait_for_broker(settings, 0, say)
        outcome = send_file(
            file, settings, speed=speed, say=say, moves_times=not keep_times
        )
    say(
        f"sent {outcome.records:,} records ({outcome.unreadable:,} of them unreadable) "
        f"to {settings.input_topic} in {outcome.seconds:.1f} s"
    )


@app.command()
def watch(
    service: Annotated[
        str | None, typer.Option(help="Only decisions about this service.")
    ] = None,
    since: Annotated[
        Literal["now", "beginning"], typer.Option(help="Where to begin.")
    ] = "now",
    as_json: Annotated[
        bool, typer.Option("--json", help="Decisions as NDJSON, with all evidence.")
    ] = False,
    brokers: Brokers = None,
) -> None:
    """Follow the decisions as they come. Ctrl-C ends it.

    Example: `guard watch --service checkout --since beginning`
    """
    from guard.shell.commands.watch import print_decisions
    from guard.shell.kafka_clients import wait_for_broker

    settings = settings_of(brokers=brokers)
    with _told_plainly():
        wait_for_broker(settings, 0, say)
        print_decisions(settings, since=since, service=service, as_json=as_json)


@app.command()
def explain(
    decision: Annotated[
        str, typer.Argument(help="A decision's id; `-` reads it from standard input.")
    ],
    brokers: Brokers = None,
) -> None:
    """Recompute a decision from its own evidence, and say whether it holds.

    Exit status 1 when it does not. Example: `guard watch --json | guard explain -`
    """
    from guard.shell.commands.explain import explain_decision

    settings = settings_of(brokers=brokers)
    with _told_plainly():
        holds = explain_decision(decision, settings, say)
    raise typer.Exit(0 if holds else 1)


@app.command()
def check_policy(
    file: Annotated[Path, typer.Argument(help="The policy; YAML.")],
) -> None:
    """List everything that is wrong in a policy, with its place.

    Example: `guard check-policy shop.yaml`
    """
    from guard.policy import fingerprint
    from guard.shell.policy_file import PolicyFaults, load

    try:
        policy = load(file)
    except PolicyFaults as error:
        count = len(error.faults)
        raise give_up(f"{error}\n{count} fault{'s' if count > 1 else ''}") from error
    limits = sum(len(metric.limits) for metric in policy.metrics)
    typer.echo(
        f"{file}: policy {policy.name}, {len(policy.metrics)} metrics, {limits} limits,"
        f" sha256 {fingerprint(policy)[:12]}"
    )


@app.command()
def schema(
    which: Annotated[
        Literal["policy", "event", "decision", "rejection"],
        typer.Argument(help="Of what."),
    ],
) -> None:
    """Print the JSON Schema of a message, or of the policy.

    Example: `guard schema decision > decision.schema.json`
    """
    from guard.shell.commands.schema import schema_of

    typer.echo(schema_of(which))


@app.command()
def topics(
    source_partitions: Annotated[
        int, typer.Option(min=1, help="Of the input: at most so many workers read it.")
    ] = 8,
    target_partitions: Annotated[
        int, typer.Option(min=1, help="Of panes, snapshots, decisions; few.")
    ] = 4,
    replication: Annotated[
        int, typer.Option(help="Copies; -1 is the brokers' default.")
    ] = -1,
    check_only: Annotated[
        bool, typer.Option("--check", help="Make nothing, say what is wrong.")
    ] = False,
    brokers: Brokers = None,
) -> None:
    """Make the topics that are missing, and check those that are there.

    Example: `guard topics --source-partitions 12 --replication 3`
    """
    from guard.shell.commands.topics import make_or_check

    settings = settings_of(brokers=brokers)
    with _told_plainly():
        is_well = make_or_check(
            settings,
            say,
            source_partitions=source_partitions,
            target_partitions=target_partitions,
            replication=replication,
            check_only=check_only,
        )
    raise typer.Exit(0 if is_well else MISUSED)


# What a person can mend, and where it is raised.
_MENDABLE = {
    "guard.shell.access": "NotAllowed",
    "guard.shell.commands.send": "CannotSend",
    "guard.shell.policy_file": "PolicyFaults",
    "guard.shell.replay": "CannotRead",
    "guard.shell.topics": "NoSuchTopic TopicsNotMade",
}
_NO_ANSWER = {
    "guard.shell.kafka_clients": "BrokerUnreachable",
    "kafka.errors": "KafkaError",  # a Kafka that stops answering half way
}


@contextlib.contextmanager
def _told_plainly() -> Iterator[None]:
    """Turn what a person can mend into a sentence and an exit status."""
    try:
        yield
    except SystemExit:
        raise
    except KeyboardInterrupt as error:
        raise typer.Exit(INTERRUPTED) from error
    except _errors(_NO_ANSWER) as error:
        raise give_up(f"{error}", UNREACHABLE) from error
    except _errors(_MENDABLE) as error:
        raise give_up(f"{error}") from error


def _errors(names: dict[str, str]) -> tuple[type[Exception], ...]:
    """Return those that can have been raised: whose modules have been imported.

    Importing the others takes seconds.
    """
    return tuple(
        getattr(sys.modules[module], name)
        for module, classes in names.items()
        if module in sys.modules
        for name in classes.split()
    )


def _end(number: int, _: object) -> NoReturn:
    raise SystemExit(128 + number)


def main() -> None:
    """Run the command line."""
    # As the first process of a container it would not be ended by SIGTERM otherwise.
    signal.signal(signal.SIGTERM, _end)
    app()
