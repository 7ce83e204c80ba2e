"""What the demo shows: a live table, decisions, a summary."""

from datetime import datetime
from typing import NamedTuple

from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from guard.decision import Decision
from guard.policy import Policy
from guard.reading import Reading, Side
from guard.verdict import Verdict

BAR_CELLS = 12
STYLES = {
    "rollback": "bold white on red",
    "evaluate": "bold black on yellow",
    "hold": "bold black on cyan",
    "clear": "bold black on green",
}
_VERDICTS = {
    Verdict.PASS: ("within limits", "green"),
    Verdict.INCONCLUSIVE: ("cannot tell yet", "dim"),
    Verdict.WARNING: ("warning", "yellow"),
    Verdict.CRITICAL: ("critical", "bold red"),
}


class Summary(NamedTuple):
    """How the demo went."""

    decisions: list[Decision]
    faulty: str
    began: float  # the fault, in event time
    events: int
    seconds: float  # real ones
    event_seconds: float

    @property
    def caught(self) -> Decision | None:
        """The first rollback of the faulty canary."""
        return next((d for d in self._rollbacks if d.service == self.faulty), None)

    @property
    def false_alarms(self) -> list[Decision]:
        """Rollbacks of a healthy canary."""
        return [d for d in self._rollbacks if d.service != self.faulty]

    @property
    def _rollbacks(self) -> list[Decision]:
        return [d for d in self.decisions if d.decision == "rollback"]

    @property
    def delay(self) -> float | None:
        """Seconds of event time from the fault to the rollback."""
        return None if self.caught is None else decided(self.caught) - self.began

    @property
    def is_right(self) -> bool:
        """Whether the faulty canary was caught after the fault, and no other one."""
        return self.delay is not None and self.delay > 0 and not self.false_alarms


class Table:
    """The rollouts as a live table."""

    def __init__(self, policy: Policy) -> None:
        self._window = policy.window_seconds
        self._bars: dict[str, float] = {}

    def render(self, readings: list[Reading], second: float) -> RichTable:
        """Return the table for this moment."""
        table = RichTable(
            box=box.SIMPLE_HEAD,
            title=f"second {second:.0f} · last {self._window} s",
            title_style="dim",
            title_justify="left",
            expand=False,
        )
        for name, justify in (
            ("service", "left"),
            ("", "left"),
            ("requests", "right"),
            ("errors", "right"),
            ("p95", "right"),
            ("verdict", "left"),
            ("nearest critical limit", "left"),
        ):
            table.add_column(name, justify=justify, no_wrap=True)  # type: ignore[arg-type]  # Rich wants a literal
        for reading in sorted(readings):
            verdict, style = _VERDICTS[reading.verdict]
            canary = f"canary {reading.version or ''}"
            table.add_row(
                reading.service,
                canary,
                *_cells(reading.canary),
                Text(verdict, style),
                _bar(reading),
            )
            table.add_row(
                "", "baseline", *_cells(reading.baseline), "", "", style="dim"
            )
        return table


def _cells(side: Side) -> tuple[str, str, str]:
    if not side.requests:
        return "0", "-", "-"
    ratio = 100 * side.errors / side.requests
    return (
        f"{side.requests:,}",
        f"{ratio:.2f} %",
        f"{side.quantiles_ms['0.95']:,.0f} ms",
    )


def _bar(reading: Reading) -> Text:
    """How near the nearest critical limit is; full is beyond it."""
    limits = [limit for limit in reading.limits if limit.severity != "warning"]
    if not limits:
        return Text("")
    nearest = max(limits, key=lambda limit: limit.ratio)
    share = min(1.0, nearest.ratio)
    filled = round(share * BAR_CELLS)
    style = "red" if share >= 1 else "yellow" if share > 0.6 else "green"
    bar = Text("█" * filled, style)
    bar.append("░" * (BAR_CELLS - filled), "dim")
    name = nearest.metric.replace("_ratio", " rate").replace("_", " ")
    return bar.append(f" {name}", "dim")


def print_decision(console: Console, decision: Decision, origin: float) -> None:
    """Print a decision with the reasons that brought it about."""
    head = Text(f"{decided(decision) - origin:5.0f} s  ")
    head.append(f" {decision.decision} ", STYLES.get(decision.decision, ""))
    head.append(f" {decision.service}", "bold")
    head.append(f" canary {decision.canary or ''}, {decision.severity}")
    if decision.level:
        head.append(f", level {decision.level}")
    console.print(head, soft_wrap=True)
    for reason in decision.reasons:
        if reason.action != decision.decision:
            continue  # a milder limit that is broken too
        console.print(f"         {reason.text}", soft_wrap=True, highlight=False)


def print_summary(console: Console, summary: Summary) -> None:
    """Print how it went, and what to try next."""
    console.print()
    if summary.delay is not None:
        console.print(
            f"The faulty canary was rolled back {summary.delay:.0f} s after its fault "
            "began (event time).",
            style="bold",
        )
    else:
        console.print("The faulty canary was not rolled back.", style="bold red")
    count = len(summary.false_alarms)
    console.print(
        "The healthy one was left alone."
        if not count
        else f"False alarms: {count} healthy canary rolled back."
    )
    rate = summary.events / summary.seconds
    console.print(
        f"{summary.events:,} events in {summary.seconds:.0f} s, {rate:,.0f} a second; "
        f"{summary.event_seconds:.0f} s of event time. False alarms: {count}.",
        highlight=False,
    )
    console.print(
        "\nNext: guard check-policy, to write limits of your own\n"
        "      guard topics, then guard run, against your own Kafka\n"
        "      guard replay, to judge events you have recorded",
        highlight=False,
    )


def decided(decision: Decision) -> float:
    """Event time of a decision, in seconds since the epoch."""
    return datetime.fromisoformat(decision.decided_at).timestamp()
