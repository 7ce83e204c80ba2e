"""What a rollout looks like right now, for people and for dashboards."""

from typing import NamedTuple

import numpy as np

from guard.chain import SourceKey
from guard.cohort import Role
from guard.engine import Engine
from guard.pane import ERRORS, FOREVER, REQUESTS, START, Ints
from guard.rules import Floats, bound_of, read
from guard.verdict import Verdict
from models.quantile import quantile_of

QUANTILES = (0.5, 0.95, 0.99)


class Side(NamedTuple):
    """One cohort in the rolling window."""

    requests: int
    errors: int
    quantiles_ms: dict[str, float]  # empty where there is no request


class LimitReading(NamedTuple):
    """How near a metric is to a limit; a ratio over 1 is beyond it."""

    metric: str
    severity: str
    action: str
    ratio: float


class Reading(NamedTuple):
    """One rollout at the last closed second."""

    service: str
    version: str | None
    verdict: Verdict
    state: str  # what was last published
    canary: Side
    baseline: Side
    limits: tuple[LimitReading, ...]


def behind_seconds(engine: Engine) -> dict[SourceKey, int]:
    """How far each source's watermark is behind the newest; the slowest holds all up.

    Sources that have said nothing yet are left out, and those that have ended. To be
    shown, never decided on: it depends on the order in which the sources' messages
    came.
    """
    told = {
        source: watermark
        for source, watermark in engine.chain.watermarks()
        if START < watermark < FOREVER
    }
    newest = max(told.values(), default=START)
    return {source: newest - watermark for source, watermark in told.items()}


def readings(engine: Engine) -> list[Reading]:
    """Read every rollout of a target partition."""
    register = engine.register
    rows = np.array(sorted(register.rollouts), np.int64)
    if not rows.size:
        return []
    sides = {
        role: _sides(engine, register.column(role.value)[rows])
        for role in (Role.CANARY, Role.BASELINE)
    }
    limits = _limits(engine, rows)
    return [
        Reading(
            register.rollouts[row].service,
            register.rollouts[row].version,
            engine.judge.verdict(row),
            register.standing(row).state.name.lower(),
            sides[Role.CANARY][place],
            sides[Role.BASELINE][place],
            limits[place],
        )
        for place, row in enumerate(rows.tolist())
    ]


def _sides(engine: Engine, at: Ints) -> list[Side]:
    seconds = engine.judge.main.window_seconds
    counts = engine.windows.sums(seconds)[at]
    sketches = engine.windows.sketches(seconds)[at]
    by_quantile = {str(q): quantile_of(sketches, q) for q in QUANTILES}
    return [
        Side(
            int(count[REQUESTS]),
            int(count[ERRORS]),
            {
                name: float(values[place])
                for name, values in by_quantile.items()
                if np.isfinite(values[place])
            },
        )
        for place, count in enumerate(counts)
    ]


def _limits(engine: Engine, rows: Ints) -> list[tuple[LimitReading, ...]]:
    """The limits for all requests; those for critical endpoints have no room here."""
    found: list[list[LimitReading]] = [[] for _ in rows]
    everything = np.arange(len(rows))
    for rule in engine.judge.rules:
        metric, limit = rule
        if limit.critical_endpoints:
            continue
        canary, baseline = engine.witness.sides(rule.view, rows)
        reading = read(metric, canary, everything)
        beside = read(metric, baseline, everything)
        bound = bound_of(limit, engine.judge.stage, beside)
        ratios = _nearness(reading, bound, is_over_worse=limit.over)
        for place, ratio in enumerate(ratios.tolist()):
            if not np.isnan(ratio):
                severity, action = limit.severity.word, limit.action.word
                found[place].append(LimitReading(metric.name, severity, action, ratio))
    return [tuple(limits) for limits in found]


def _nearness(reading: Floats, bound: Floats, *, is_over_worse: bool) -> Floats:
    """Reading by bound; of a success ratio what is missing. 1 where both are 0."""
    if not is_over_worse:
        reading, bound = 1 - reading, 1 - bound
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(reading == bound, 1.0, reading / bound)
