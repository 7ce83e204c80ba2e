"""Recompute a decision from its own evidence, as whoever doubts it would.

Pure, and works on the JSON as it stands on the topic. Every check says what was found
and what is stated. What the evidence cannot show is listed, not passed over: above all
that a breach held in the seconds before the window.
"""

import math
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import NamedTuple

from guard import wording
from guard.blindness import ALPHA
from guard.decision import (
    CohortEvidence,
    Decision,
    Reason,
    SplitEvidence,
    View,
    deadline,
    decision_id,
    digest_of,
    instant,
    level_of,
)
from guard.evidence import error_interval, latency_of
from guard.limit import Measure
from guard.policy_words import METRICS
from guard.reasons import late_share
from guard.rules import decode, encode
from guard.verdict import Action, Severity
from models.quantile import Sketch

_SEVERITIES = {severity.word: severity for severity in Severity}
_ACTIONS = {action.word: action for action in Action}
_LATE_SIDES = ("late_telemetry", "late_baseline")
_PAST = {
    "canary_silent": "the canary's past share of the traffic",
    "telemetry_silent": "the past traffic of both",
    "sample_ratio": "how the traffic was split in each block of seconds",
    "clock_skew": "when Kafka got each request",
}
_ALWAYS_ON_TRUST = (
    "the bounds and times are those of the policy with this SHA-256",
    "the offsets are those that the requests came from",
)


class Finding(NamedTuple):
    """One check: what recomputing found, and what the decision states."""

    check: str
    ok: bool
    found: object
    stated: object


class Explanation(NamedTuple):
    """What recomputing a decision brought."""

    findings: tuple[Finding, ...]
    on_trust: tuple[str, ...]  # what its own evidence cannot show

    @property
    def holds(self) -> bool:
        """Whether every check came out as stated."""
        return all(finding.ok for finding in self.findings)


def explain(decision: Decision) -> Explanation:
    """Recompute a decision from its own evidence; never raises."""
    parts = [("decision", _decision(decision))]
    for number, view in enumerate(decision.evidence.views):
        at = f"evidence.views[{number}]"
        parts.append((at, _view(at, view, decision)))
    for number, reason in enumerate(decision.reasons):
        at = f"reasons[{number}]"
        parts.append((at, _reason(at, reason, decision)))
    findings = [finding for part in parts for finding in _tried(*part)]
    return Explanation(tuple(findings), tuple(_on_trust(decision)))


def _tried(at: str, checks: Iterator[Finding]) -> Iterator[Finding]:
    """Go through checks; what cannot even be computed is a finding."""
    try:
        yield from checks
    except (ArithmeticError, LookupError, ValueError) as error:
        fault = f"{type(error).__name__}: {error}"
        yield Finding(f"{at} can be read", ok=False, found=fault, stated=None)


def _equal(check: str, found: object, stated: object) -> Finding:
    return Finding(check, found == stated, found, stated)


def _true(check: str, *, ok: bool, found: object, stated: object) -> Finding:
    return Finding(check, ok, found, stated)


def _second_of(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp())


# ---- the decision as a whole


def _decision(decision: Decision) -> Iterator[Finding]:
    yield _equal("digest", digest_of(decision), decision.digest)
    kind = decision.decision
    name = decision_id(decision.rollout, kind, decision.sequence)
    yield _equal("id", name, decision.id)
    gravest = max((_code(reason) for reason in decision.reasons), default=0)
    action, severity = decode(gravest)
    yield _equal("decision", action.word, kind)
    if action is not Action.CLEAR:  # a clear is as grave as what it lifts
        yield _equal("severity", severity.word, decision.severity)
    yield _equal("level", level_of(action), decision.level)
    decided = _second_of(decision.decided_at)
    yield _equal("deadline", deadline(action, decided), decision.deadline)


def _code(reason: Reason) -> int:
    return encode(_ACTIONS[reason.action], _SEVERITIES[reason.severity])


# ---- the evidence


def _view(at: str, view: View, decision: Decision) -> Iterator[Finding]:
    end = _second_of(decision.decided_at)
    yield _equal(f"{at}.end", instant(end), view.end)
    yield _equal(f"{at}.start", instant(end - view.window_seconds), view.start)
    yield _equal(f"{at}.canary.version", decision.canary, view.canary.version)
    yield from _cohort(f"{at}.canary", view.canary, view.window_seconds)
    yield from _cohort(f"{at}.baseline", view.baseline, view.window_seconds)


def _cohort(at: str, cohort: CohortEvidence, length: int) -> Iterator[Finding]:
    """Sums from the seconds, ratios from the sums, quantiles from the buckets."""
    requests = sum(second[1] for second in cohort.seconds)
    errors = sum(second[2] for second in cohort.seconds)
    yield _equal(f"{at}.requests", requests, cohort.requests)
    yield _equal(f"{at}.errors", errors, cohort.errors)
    ratio = errors / requests if requests else None
    yield _equal(f"{at}.error_ratio", ratio, cohort.error_ratio)
    interval = error_interval(requests, errors)
    yield _equal(f"{at}.error_interval", interval, cohort.error_interval)
    yield _equal(f"{at}.status", requests, sum(cohort.status.values()))
    counted = sum(count for _, count in cohort.buckets)
    yield _equal(f"{at}.buckets", requests, counted)
    yield _equal(f"{at}.latency_ms", latency_of(cohort.buckets), cohort.latency_ms)
    offsets = [second[0] for second in cohort.seconds]
    possible = sorted({offset for offset in offsets if 0 <= offset < length})
    yield _equal(f"{at}.seconds", possible, offsets)


# ---- the reasons


def _reason(at: str, reason: Reason, decision: Decision) -> Iterator[Finding]:
    words = wording.words(reason, decision.evidence)
    yield _equal(f"{at}.text", words, reason.text)
    if reason.rule in METRICS:
        yield from _limit(at, reason, decision)
        return
    if reason.window_seconds is not None:
        main = decision.evidence.views[0].window_seconds
        yield _equal(f"{at}.window_seconds", main, reason.window_seconds)
    if reason.kept_seconds is not None:
        is_early = reason.kept_seconds < (reason.clear_seconds or 0)
        yield _true(
            f"{at} is not trusted yet",
            ok=is_early,
            found=reason.kept_seconds,
            stated=reason.clear_seconds,
        )
    elif _numbers(reason) != {None}:
        yield from _blind(at, reason, decision)


def _numbers(reason: Reason) -> set[float | None]:
    return {reason.held_seconds, reason.reading, reason.beside}


def _limit(at: str, reason: Reason, decision: Decision) -> Iterator[Finding]:
    view = _view_of(reason, decision.evidence.views)
    reading = _read(reason.rule, view.canary)
    yield _equal(f"{at}.reading", reading, reason.reading)
    yield _equal(f"{at}.requests", view.canary.requests, reason.requests)
    if reason.plus is not None:
        beside = _read(reason.rule, view.baseline)
        yield _equal(f"{at}.beside", beside, reason.beside)
        yield _equal(f"{at}.bound", _bound_beside(reason, beside), reason.bound)
    if reason.judged_at is None:
        yield from _judged(at, reason)
    if reason.held_seconds:
        yield from _held(at, reason, reason.held_seconds, decision)


def _view_of(reason: Reason, views: list[View]) -> View:
    wanted = reason.window_seconds, reason.critical_only
    for view in views:
        if (view.window_seconds, view.critical_only) == wanted:
            return view
    raise LookupError(f"no view of {wanted[0]} s, critical only: {wanted[1]}")


def _read(metric: str, cohort: CohortEvidence) -> float | None:
    """Read a metric from counts and buckets alone."""
    if not cohort.requests:
        return None
    measure, quantile = METRICS[metric]
    if measure is Measure.LATENCY:
        return Sketch.from_entries(cohort.buckets).quantile(quantile or 0.0)
    if measure is Measure.SUCCESS_RATIO:
        return (cohort.requests - cohort.errors) / cohort.requests
    return cohort.errors / cohort.requests


def _bound_beside(reason: Reason, beside: float | None) -> float | None:
    if beside is None or reason.plus is None:
        return None
    if reason.times is None:  # below is worse
        return beside - reason.plus
    return beside * reason.times + reason.plus


def _is_beyond(reason: Reason, reading: float | None, bound: float | None) -> bool:
    if reading is None or bound is None:
        return False
    is_below_worse = METRICS[reason.rule][0] is Measure.SUCCESS_RATIO
    return reading < bound if is_below_worse else reading > bound


def _distance(reading: float | None, bound: float | None) -> float:
    return 0.0 if reading is None or bound is None else abs(reading - bound)


def _judged(at: str, reason: Reason) -> Iterator[Finding]:
    requests, least = reason.requests or 0, reason.least_requests or 0
    yield _true(
        f"{at} can be judged", ok=requests >= least, found=requests, stated=least
    )
    is_beyond = _is_beyond(reason, reason.reading, reason.bound)
    yield _equal(f"{at} is beyond its limit", is_beyond, bool(reason.held_seconds))


def _held(at: str, reason: Reason, held: int, decision: Decision) -> Iterator[Finding]:
    """Whether a breach may have lasted as long as it says."""
    bound, least = reason.bound, reason.least_reading
    bound_then = bound if reason.plus is None else reason.least_bound
    is_beyond = _is_beyond(reason, least, bound_then)
    check = f"{at}.least_reading is beyond the limit"
    yield _true(check, ok=is_beyond, found=least, stated=bound_then)
    if reason.judged_at is None:
        distances = _distance(least, bound_then), _distance(reason.reading, bound)
        check = f"{at}.least_reading is nearest to it"
        yield _true(
            check, ok=distances[0] <= distances[1], found=distances, stated=least
        )
    end = _second_of(reason.judged_at or decision.decided_at)
    lasted = end - _second_of(reason.since or decision.decided_at)
    check = f"{at}.held_seconds fit between since and now"
    yield _true(check, ok=held <= lasted, found=lasted, stated=held)


def _blind(at: str, reason: Reason, decision: Decision) -> Iterator[Finding]:
    main = decision.evidence.views[0]
    canary, least = main.canary, reason.least_requests or 0
    beside = main.baseline.requests
    if reason.rule in _LATE_SIDES:
        side = main.baseline if reason.rule == "late_baseline" else canary
        yield from _late(at, reason, side)
        return
    if reason.rule == "sample_ratio":
        yield from _misfit(at, reason, decision.evidence.split)
        return
    if reason.requests is not None:
        yield _equal(f"{at}.requests", canary.requests, reason.requests)
    if reason.rule == "clock_skew":
        yield _skewed(at, reason, main)
    elif reason.rule == "little_traffic":
        is_little = canary.requests < least or 0 < beside < least
        found = canary.requests, beside
        yield _true(f"{at} is so", ok=is_little, found=found, stated=least)
    elif reason.rule == "no_baseline":
        yield _equal(f"{at} is so", beside, 0)
        since = reason.since or main.start
        ok = _second_of(since) <= _second_of(main.start)
        yield _true(f"{at}.since", ok=ok, found=main.start, stated=since)
    else:
        yield from _silent(at, reason, main)


def _late(at: str, reason: Reason, side: CohortEvidence) -> Iterator[Finding]:
    """So great a share of one side's requests came late."""
    seen = side.requests + side.late
    yield _equal(f"{at}.requests", seen, reason.requests)
    yield _equal(f"{at}.reading", late_share(side.requests, side.late), reason.reading)
    is_late = (reason.reading or 0.0) > (reason.bound or 0.0)
    is_much = seen >= (reason.least_requests or 0)
    found, stated = reason.reading, reason.bound
    yield _true(f"{at} is so", ok=is_late and is_much, found=found, stated=stated)


def _misfit(at: str, reason: Reason, split: SplitEvidence | None) -> Iterator[Finding]:
    """The share that the canary got, and that its account has reached 1 / alpha."""
    if split is None:
        raise LookupError("no evidence of the split")
    yield _equal(f"{at}.reading", split.canary / split.requests, reason.reading)
    yield _equal(f"{at}.requests", split.requests, reason.requests)
    yield _equal(f"{at}.bound", split.weight, reason.bound)
    least, found = -math.log(ALPHA), split.log_evidence
    yield _true(f"{at} is so", ok=found >= least - 1e-3, found=found, stated=least)


def _skewed(at: str, reason: Reason, main: View) -> Finding:
    """One side ahead of Kafka, or both apart; of enough requests."""
    limit, least = reason.bound or 0.0, reason.least_requests or 0
    sides = ((main.canary, reason.reading), (main.baseline, reason.beside))
    delays = [
        delay for side, delay in sides if delay is not None and side.requests >= least
    ]
    is_ahead = -min(delays) > limit
    is_apart = len(delays) > 1 and max(delays) - min(delays) > limit
    return _true(f"{at} is so", ok=is_ahead or is_apart, found=delays, stated=limit)


def _silent(at: str, reason: Reason, main: View) -> Iterator[Finding]:
    """No request in the last so many seconds, but so many expected."""
    silent, told = reason.held_seconds or 0, main.canary.seconds
    if reason.rule == "telemetry_silent":
        told = told + main.baseline.seconds
    is_long = silent >= (reason.sustain_seconds or 0)
    check = f"{at}.held_seconds are long enough"
    yield _true(check, ok=is_long, found=silent, stated=reason.sustain_seconds)
    latest = max((at for at, requests, _ in told if requests), default=-1)
    seen = main.window_seconds - 1 - latest
    fits = silent == seen if latest >= 0 else silent >= seen
    yield _true(f"{at}.held_seconds", ok=fits, found=seen, stated=silent)
    is_enough = (reason.reading or 0.0) >= (reason.bound or 0.0)
    check = f"{at} expects enough"
    yield _true(check, ok=is_enough, found=reason.reading, stated=reason.bound)


def _on_trust(decision: Decision) -> Iterator[str]:
    """What its own evidence cannot show."""
    yield from _ALWAYS_ON_TRUST
    for reason in decision.reasons:
        yield from _reason_on_trust(reason)


def _reason_on_trust(reason: Reason) -> Iterable[str]:
    if reason.rule.startswith("watch:"):
        return [f"{reason.rule}: that the detector found a change"]
    if reason.rule == "clear":
        return ["clear: that every limit that was broken has been kept for so long"]
    if reason.rule == "policy_changed":
        return ["policy_changed: that another policy judged this rollout before"]
    if reason.rule in _PAST:
        return [f"{reason.rule}: {_PAST[reason.rule]}"]
    if reason.judged_at is not None or (reason.held_seconds or 0) > 1:
        span = wording.duration(reason.window_seconds or 0)
        return [f"{reason.rule}: that it was so before, too, each time over {span}"]
    return ()
