"""Reasons in words, with both numbers in them.

`guard.explain` writes the words again from the numbers beside them, so a reason cannot
say one thing and mean another. A reading that is beyond its limit never looks equal to
it: both get as many digits as it takes.
"""

from collections.abc import Callable
from decimal import Decimal

from guard.decision import Evidence, Reason
from guard.limit import Measure
from guard.policy_words import METRICS

_NAMES = {"error_ratio": "error rate", "success_ratio": "success rate"}
_MOST_DIGITS = 17  # of a float


def number(value: float, digits: int = 3) -> str:
    """A number for people: so many digits that count, no integer cut, thousands apart.

    >>> number(0.02314), number(1204.4), number(812.44, 4), number(0.0)
    ('0.0231', '1,204', '812.4', '0')
    """
    return _rounded(Decimal(repr(value)), digits)


def percent(ratio: float, digits: int = 3) -> str:
    """A ratio as people write it; two more digits near 100 %, where they count.

    >>> percent(0.005), percent(0.0231), percent(0.99541), percent(1.0)
    ('0.5 %', '2.31 %', '99.541 %', '100 %')
    """
    digits += 2 if ratio >= 0.9 else 0
    return f"{_rounded(100 * Decimal(repr(ratio)), digits)} %"


def milliseconds(value: float, digits: int = 3) -> str:
    """A latency.

    >>> milliseconds(612.4), milliseconds(0.51)
    ('612 ms', '0.51 ms')
    """
    return f"{number(value, digits)} ms"


def duration(seconds: int) -> str:
    """A time for people.

    >>> duration(12), duration(600), duration(612), duration(7500)
    ('12 s', '10 min', '10 min 12 s', '2 h 5 min')
    """
    if seconds < 120:
        return f"{seconds} s"
    units = (("h", seconds // 3600), ("min", seconds // 60 % 60), ("s", seconds % 60))
    return " ".join(f"{count} {unit}" for unit, count in units if count)


def metric_name(metric: str) -> str:
    """Name a metric as people do.

    >>> metric_name("error_ratio"), metric_name("latency_p95")
    ('error rate', 'latency p95')
    """
    return _NAMES.get(metric, metric.replace("_", " "))


def apart(
    reading: float, bound: float, written: Callable[[float, int], str], digits: int = 3
) -> tuple[str, str]:
    """Both numbers, in as many digits as it takes to tell them apart, or more.

    >>> apart(500.3, 500.0, milliseconds), apart(0.0050002, 0.005, percent)
    (('500.3 ms', '500 ms'), ('0.50002 %', '0.5 %'))
    """
    texts = written(reading, digits), written(bound, digits)
    while texts[0] == texts[1] and reading != bound and digits < _MOST_DIGITS:
        digits += 1
        texts = written(reading, digits), written(bound, digits)
    return texts


def words(reason: Reason, evidence: Evidence) -> str:
    """Say why; `evidence` is that of the same decision."""
    if reason.rule in METRICS:
        return _limit(reason)
    if reason.rule == "clear":
        return _clear(reason, evidence)
    if reason.rule.startswith("watch:"):
        return _watched(reason)
    if reason.rule == "policy_changed":
        return (
            "the policy changed while this rollout was judged, and not at a clean "
            "stop: what was decided last may differ; trusted after "
            f"{duration(reason.clear_seconds or 0)}"
        )
    if reason.kept_seconds is not None:
        return (
            f"{_NOT_TRUSTED[reason.rule]}; it can be judged again for "
            f"{duration(reason.kept_seconds)}, "
            f"trusted after {duration(reason.clear_seconds or 0)}"
        )
    return _BLIND[reason.rule](reason, evidence)


# ---- limits


def _limit(reason: Reason) -> str:
    measure, _ = METRICS[reason.rule]
    written = milliseconds if measure is Measure.LATENCY else percent
    bound = reason.bound or 0.0
    own_digits = len(Decimal(repr(bound)).normalize().as_tuple().digits)
    reading, limit = apart(
        bound if reason.reading is None else reason.reading,
        bound,
        written,
        3 if reason.beside is not None else max(3, own_digits),
    )
    edge = f"{reason.severity} limit {limit}{_margin(reason, written)}"
    name, held = metric_name(reason.rule), reason.held_seconds or 0
    if reason.judged_at is not None:
        return f"{name} {_unjudged(reason, edge, held)}"
    which = "critical requests" if reason.critical_only else "requests"
    what = f"{name} {reading} of {reason.requests or 0:,} {which}"
    if not held:
        return (
            f"{what} is within the {edge} again, for "
            f"{duration(reason.kept_seconds or 0)} "
            f"(cleared after {duration(reason.clear_seconds or 0)})"
        )
    sign = "<" if measure is Measure.SUCCESS_RATIO else ">"
    return f"{what} {sign} {edge}, for {duration(held)}{_sustained(reason, held)}"


def _margin(reason: Reason, written: Callable[[float], str]) -> str:
    """How a bound follows from the baseline; nothing for an absolute one."""
    if reason.beside is None:
        return ""
    times, plus = reason.times or 1.0, reason.plus or 0.0
    factor = "" if times == 1 else f"{number(times)} x "
    is_below = METRICS[reason.rule][0] is Measure.SUCCESS_RATIO
    more = f" {'-' if is_below else '+'} {written(plus)}" if plus else ""
    return f" ({factor}the baseline's {written(reason.beside)}{more})"


def _sustained(reason: Reason, held: int) -> str:
    sustain = reason.sustain_seconds or 0
    if not sustain:
        return ""
    if held < sustain:
        return f" again (sustained for {duration(sustain)} before, not cleared since)"
    return f" (sustain {duration(sustain)})"


def _unjudged(reason: Reason, edge: str, held: int) -> str:
    """What was so when it could last be judged."""
    if held:
        what = f"was beyond the {edge}, for {duration(held)}, when last judged"
    elif reason.kept_seconds:
        what = f"was within the {edge} again when last judged"
    else:
        what = f"was beyond the {edge} before a gap, last judged"
    return f"{what} at {reason.judged_at}; {reason.requests or 0:,} requests now"


# ---- what cannot be judged


def _clear(reason: Reason, evidence: Evidence) -> str:
    canary = evidence.views[0].canary
    text = (
        f"no limit is broken any more, for {duration(reason.clear_seconds or 0)}: "
        f"error rate {percent(canary.error_ratio or 0.0)} "
        f"of {canary.requests:,} requests"
    )
    if canary.latency_ms:
        text += f", latency p95 {milliseconds(canary.latency_ms.p95)}"
    return text


def _silent(reason: Reason, _: Evidence) -> str:
    return (
        f"no canary request for {duration(reason.held_seconds or 0)}, while its past "
        f"share of the traffic promised {number(reason.reading or 0.0)} "
        f"(limit {number(reason.bound or 0.0)})"
    )


def _alone(reason: Reason, _: Evidence) -> str:
    return (
        f"no baseline request in {duration(reason.window_seconds or 0)} to hold the "
        f"canary's {reason.requests or 0:,} against, for "
        f"{duration(reason.held_seconds or 0)}; "
        + (f"the last one came before {reason.since}" if reason.since else "none ever")
    )


def _all_silent(reason: Reason, _: Evidence) -> str:
    return (
        "telemetry silent: no request of canary or baseline for "
        f"{duration(reason.held_seconds or 0)}, while their past promised "
        f"{number(reason.reading or 0.0)} (limit {number(reason.bound or 0.0)})"
    )


def _misfit(reason: Reason, _: Evidence) -> str:
    share, weight = apart(reason.reading or 0.0, reason.bound or 0.0, percent)
    return (
        f"canary share {share} of {reason.requests or 0:,} requests does not fit the "
        f"rollout's weight of {weight} (chance under 1 %)"
    )


def _little(reason: Reason, evidence: Evidence) -> str:
    return (
        f"too little traffic to judge: {reason.requests or 0:,} canary and "
        f"{evidence.views[0].baseline.requests:,} baseline requests in "
        f"{duration(reason.window_seconds or 0)}, at least "
        f"{reason.least_requests or 0:,} are needed of each"
        f", for {duration(reason.held_seconds or 0)}"
    )


def _late(reason: Reason, evidence: Evidence) -> str:
    share, limit = apart(reason.reading or 0.0, reason.bound or 0.0, percent)
    return (
        f"{share} of the {_LATE_SIDES[reason.rule]}'s {reason.requests or 0:,} "
        "requests in "
        f"{duration(reason.window_seconds or 0)} came too late to be counted (limit "
        f"{limit}); a lateness of {number(evidence.late_behind_seconds or 0.0)} s "
        "would have sufficed"
    )


def _skewed(reason: Reason, _: Evidence) -> str:
    sides = (("canary", reason.reading), ("baseline", reason.beside))
    delays = {name: delay for name, delay in sides if delay is not None}
    told = ", ".join(
        f"the quickest {name} request {number(abs(delay))} s "
        f"{'before' if delay < 0 else 'after'} its own time"
        for name, delay in delays.items()
    )
    limit, ahead = reason.bound or 0.0, -min(delays.values())
    gap = round(max(delays.values()) + ahead, 3)
    is_ahead = ahead > limit
    skew, edge = apart(ahead if is_ahead else gap, limit, number)
    what = "ahead of Kafka's clock" if is_ahead else "apart"
    return (
        f"clock skew: in {duration(reason.window_seconds or 0)} Kafka saw {told}: "
        f"{skew} s {what} (limit {edge} s)"
    )


def _watched(reason: Reason) -> str:
    _, detector, statistic = reason.rule.split(":")
    what = statistic.replace("_", " ")
    return (
        f"watch: the canary's {what} changed ({detector}), and there is no baseline "
        "to tell whether the canary did it"
    )


_BLIND: dict[str, Callable[[Reason, Evidence], str]] = {
    "canary_silent": _silent,
    "no_baseline": _alone,
    "little_traffic": _little,
    "telemetry_silent": _all_silent,
    "late_telemetry": _late,
    "late_baseline": _late,
    "sample_ratio": _misfit,
    "clock_skew": _skewed,
}
_LATE_SIDES = {"late_telemetry": "canary", "late_baseline": "baseline"}
_NOT_TRUSTED = {
    "canary_silent": "the canary had fallen silent",
    "no_baseline": "there was no baseline",
    "little_traffic": "there was too little traffic to judge",
    "telemetry_silent": "telemetry was silent",
    "late_telemetry": "too many of the canary's requests came late",
    "late_baseline": "too many of the baseline's requests came late",
    "sample_ratio": "the canary's share of the traffic did not fit its weight",
    "clock_skew": "the clocks of those who send were apart",
}


def _rounded(value: Decimal, digits: int) -> str:
    """So many digits that count, but never fewer than the integer has."""
    if not value:
        return "0"
    decimals = max(0, digits - 1 - value.adjusted())
    text = f"{value:,.{decimals}f}"
    return text.rstrip("0").rstrip(".") if decimals else text
