"""What a decision rests on, taken out of the windows when it is made."""

import math

import numpy as np

from guard.decision import CohortEvidence, Latency, Reason, instant
from guard.decision import View as ViewEvidence
from guard.judge import Breach, Judge
from guard.pane import ERRORS, REQUESTS, STATUS, Ints
from guard.register import NOBODY, Register
from guard.rules import Rule, Side, Sides, View, bound_of, read
from guard.tally import LATE
from models.proportion import Proportion
from models.quantile import Sketch
from models.window import Window

_STATUS_NAMES = ("none", "1xx", "2xx", "3xx", "4xx", "5xx")
_FEW = 10_000  # below so many requests a quantile is told with its interval
_ONLY = np.zeros(1, np.int64)  # the place of a rollout looked at alone


def error_interval(requests: int, errors: int) -> tuple[float, float] | None:
    """Wilson's interval of the error ratio, 95 %; None without requests."""
    if not requests:
        return None
    proportion = Proportion()
    proportion.update(good=requests - errors, valid=requests)
    low, high = proportion.wilson_interval()
    return 1 - high, 1 - low


def latency_of(buckets: list[tuple[int, int]]) -> Latency | None:
    """Quantiles of a sketch; None where it is empty."""
    if not buckets:
        return None
    sketch = Sketch.from_entries(buckets)
    interval = None
    if sketch.count < _FEW:
        low, high = sketch.interval(0.95)
        interval = low, high if math.isfinite(high) else None
    return Latency(
        p50=sketch.quantile(0.5),
        p95=sketch.quantile(0.95),
        p99=sketch.quantile(0.99),
        p95_interval=interval,
    )


def cohort_evidence(
    windows: Window, row: int, view: View, start: int, version: str | None
) -> CohortEvidence:
    """Sum up what one cohort did in the window that begins at `start`."""
    counts = windows.sums(view.window_seconds)[row].tolist()
    requests, errors = counts[REQUESTS], counts[ERRORS]
    buckets: list[tuple[int, int]] = []
    seconds: list[tuple[int, int, int]] = []
    if row != NOBODY:
        latencies = windows.sketches(view.window_seconds)[row]
        used = np.flatnonzero(latencies)
        buckets = list(zip(used.tolist(), latencies[used].tolist(), strict=True))
        seen, series = windows.series(row, view.window_seconds)
        seconds = [
            (second - start, count[REQUESTS], count[ERRORS])
            for second, count in zip(seen.tolist(), series.tolist(), strict=True)
        ]
    return CohortEvidence(
        version=version,
        requests=requests,
        errors=errors,
        error_ratio=errors / requests if requests else None,
        error_interval=error_interval(requests, errors),
        status={
            name: count
            for name, count in zip(_STATUS_NAMES, counts[STATUS:LATE], strict=True)
            if count
        },
        late=counts[LATE],
        latency_ms=latency_of(buckets),
        buckets=buckets,
        seconds=seconds,
    )


class Witness:
    """Reads evidence out of the windows of a target partition."""

    def __init__(self, windows: Window, register: Register, judge: Judge) -> None:
        self._windows = windows
        self._register = register
        self._judge = judge

    def sides(self, view: View, rows: Ints) -> Sides:
        """Canary and baseline of these rollouts; true until the windows move on."""
        sums = self._windows.sums(view.window_seconds)
        sketches = self._windows.sketches(view.window_seconds)
        canary, baseline = (
            Side(sums, sketches, self._register.column(name)[rows])
            for name in columns_of(view)
        )
        return Sides(canary, baseline)

    def view(self, row: int, view: View, second: int) -> ViewEvidence:
        """One window of a rollout, ending with `second`."""
        start = second + 1 - view.window_seconds
        versions = (self._register.rollouts[row].version, None)
        canary, baseline = (
            cohort_evidence(
                self._windows,
                int(self._register.column(name)[row]),
                view,
                start,
                version,
            )
            for name, version in zip(columns_of(view), versions, strict=True)
        )
        return ViewEvidence(
            window_seconds=view.window_seconds,
            critical_only=view.is_critical,
            start=instant(start),
            end=instant(second + 1),
            canary=canary,
            baseline=baseline,
        )

    def reasons(self, row: int, second: int) -> list[Reason]:
        """Every rule that stands, gravest first; they have no words yet."""
        return [
            self._reason(
                row, self._judge.rules[n], self._judge.breach(row, n, second), second
            )
            for n in self._judge.standing(row)
        ]

    def _reason(self, row: int, rule: Rule, breach: Breach, second: int) -> Reason:
        metric, limit = rule
        canary, baseline = self.sides(rule.view, np.array([row]))
        beside = read(metric, baseline, _ONLY)
        is_beside = limit.against == "baseline"
        is_judged, is_over = breach.judged_at == second, breach.held > 0
        clear_seconds = self._judge.policy.clear_after_seconds
        return Reason(
            rule=metric.name,
            text="",
            severity=limit.severity.word,
            action=limit.action.word,
            reading=finite(read(metric, canary, _ONLY)[0]),
            bound=finite(bound_of(limit, self._judge.stage, beside)[0]),
            beside=finite(beside[0]) if is_beside else None,
            times=limit.times if is_beside and limit.over else None,
            plus=limit.plus if is_beside else None,
            requests=int(canary.counts[0, REQUESTS]),
            least_requests=metric.least_requests,
            critical_only=limit.critical_endpoints,
            window_seconds=metric.window_seconds,
            since=instant(breach.since) if is_over else None,
            held_seconds=breach.held,
            sustain_seconds=limit.sustain_seconds,
            least_reading=breach.least[0] if is_over else None,
            least_bound=breach.least[1] if is_over and is_beside else None,
            kept_seconds=None if is_over else breach.kept,
            clear_seconds=None if is_over else clear_seconds,
            judged_at=None if is_judged else instant(breach.judged_at + 1),
        )


def columns_of(view: View) -> tuple[str, str]:
    """Names of the register's columns that a view looks at."""
    if view.is_critical:
        return "critical_canary", "critical_baseline"
    return "canary", "baseline"


def finite(value: float) -> float | None:
    """Return the number, or None where there is none; JSON has no NaN."""
    return float(value) if math.isfinite(value) else None
