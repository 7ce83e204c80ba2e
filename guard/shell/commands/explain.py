"""Recompute decisions from their own evidence, and say whether they hold."""

from collections.abc import Callable, Iterator

import msgspec
from kafka.structs import TopicPartition
from rich.console import Console
from rich.markup import escape

from guard.decision import Decision
from guard.explain import Explanation, explain
from guard.shell import access
from guard.shell.kafka_clients import admin, consumer, wait_for_broker
from guard.shell.replay import CannotRead, read_lines
from guard.shell.settings import Settings
from guard.shell.topics import demand

FROM_STANDARD_INPUT = "-"


def explain_decision(
    which: str, settings: Settings, say: Callable[[str], object]
) -> bool:
    """Print every check of a decision, or of each one on standard input.

    Returns whether all of them hold.

    Raises
    ------
    CannotRead
        When there is no such decision, or it is none.
    """
    console = Console(soft_wrap=True, highlight=False)
    lines = (
        read_lines(FROM_STANDARD_INPUT)
        if which == FROM_STANDARD_INPUT
        else _with_id(which, settings, say)
    )
    verdicts = [_explain_line(line, console) for line in lines if line.strip()]
    if not verdicts:
        where = settings.decisions_topic
        what = "no decision" if which == FROM_STANDARD_INPUT else f"no decision {which}"
        place = "standard input" if which == FROM_STANDARD_INPUT else where
        raise CannotRead(f"there is {what} on {place}")
    return all(verdicts)


def _explain_line(line: bytes, console: Console) -> bool:
    try:
        decision = msgspec.json.decode(line, type=Decision)
    except (msgspec.MsgspecError, ValueError) as error:
        raise CannotRead(f"this is not a decision: {error}") from error
    explanation = explain(decision)
    _print(decision, explanation, console)
    return explanation.holds


def _print(decision: Decision, explanation: Explanation, console: Console) -> None:
    console.print(
        f"[bold]{decision.decision}[/] {escape(decision.service)}, canary "
        f"{escape(decision.canary or '')}, decided {decision.decided_at}"
    )
    for reason in decision.reasons:
        console.print(f"  {escape(reason.text)}")
    broken = [finding for finding in explanation.findings if not finding.ok]
    passed = len(explanation.findings) - len(broken)
    console.print(
        f"{passed} of {len(explanation.findings)} checks recomputed as stated"
    )
    for finding in broken:
        console.print(
            f"  [red]{escape(finding.check)}[/]: found {escape(str(finding.found))}, "
            f"stated {escape(str(finding.stated))}"
        )
    for assumption in explanation.on_trust:
        console.print(f"  [dim]taken on trust: {escape(assumption)}[/]")
    console.print(
        "[green]The decision holds.[/]"
        if explanation.holds
        else "[red]The decision does not hold.[/]"
    )


def _with_id(
    wanted: str, settings: Settings, say: Callable[[str], object]
) -> Iterator[bytes]:
    """Yield the decision of this id from its topic; once."""
    wait_for_broker(settings, 0, say)
    topic = settings.decisions_topic
    with admin(settings) as client:
        access.demand(client, settings, "guard explain")
        count = demand(client, topic)
    places = [TopicPartition(topic, number) for number in range(count)]
    with consumer(settings) as reader:
        reader.assign(places)
        begins, ends = reader.beginning_offsets(places), reader.end_offsets(places)
        for place in places:
            reader.seek(place, begins[place])
        while any(reader.position(place) < ends[place] for place in places):
            for records in reader.poll(timeout_ms=500).values():
                for record in records:
                    if _id_of(record.headers) == wanted:
                        yield record.value
                        return


def _id_of(headers: list[tuple[str, bytes]]) -> str:
    return next((value.decode() for name, value in headers if name == "ce_id"), "")
