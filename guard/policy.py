"""What we tolerate: the policy of a service, read from plain data.

The words stand in ``guard.policy_words``, the walk along them in
``guard.policy_reader``, the contradictions in ``guard.policy_conflicts``; here what was
read becomes a policy.

Two policies that mean the same are equal and have the same fingerprint, however they
were written: metrics and limits are kept in canonical order. Limits go from mild to
grave (severity, then action), all requests before critical endpoints, absolute before
relative; of two that differ in their numbers only, the stricter bound is first, then
the shorter sustain.
"""

import hashlib
from typing import Any

import msgspec

from guard import policy_conflicts
from guard.fault import Fault, Path
from guard.limit import STAGES, Limit, Measure, Metric
from guard.policy_reader import is_sound, read_mapping
from guard.policy_words import (
    DETECTORS,
    METRICS,
    POLICY,
    Mapping,
    bound_word,
    margin_word,
    metric,
)
from guard.verdict import Action, Severity

__all__ = [
    "DETECTORS",
    "STAGES",
    "Fault",
    "Limit",
    "Measure",
    "Metric",
    "Policy",
    "fingerprint",
    "parse",
]


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a service's canary is judged by.

    Parameters
    ----------
    stage
        Assumed while no rollout event has named one.
    hold_after_seconds
        Not judgeable for so long: hold.
    silent_after_seconds, silent_least_expected
        No canary request for so long, in which its past share promised so many.
    gap_seconds
        A second without telemetry stops a sustain clock for up to so long, then
        resets it.
    clear_after_seconds
        Nothing broken for so long: clear.
    late_share_limit
        Share of late events, 0 to 1, above which the guard holds.
    skew_limit_seconds
        How far the clocks of canary and baseline may be apart, and either one's ahead
        of Kafka's, before the guard holds.
    weight
        The share of the requests, 0 to 1, that is meant for the canary; None where
        nobody says.
    forget_after_seconds
        A service without telemetry is forgotten after so long.
    watch
        Names out of ``DETECTORS``.
    """

    name: str
    version: int = 1
    window_seconds: int = 60
    least_requests: int = 100
    stage: str = "canary"
    hold_after_seconds: int = 60
    silent_after_seconds: int = 20
    silent_least_expected: int = 30
    gap_seconds: int = 30
    clear_after_seconds: int = 60
    late_share_limit: float = 0.01
    skew_limit_seconds: int = 2
    weight: float | None = None
    forget_after_seconds: int = 3600
    metrics: tuple[Metric, ...]
    watch: tuple[str, ...] = DETECTORS


def fingerprint(policy: Policy) -> str:
    """Return the SHA-256, in hex, of the policy's canonical JSON.

    Of what was understood, not of the file: comments, units and the order of keys
    do not change it.
    """
    text = msgspec.json.encode(policy, order="deterministic")
    return hashlib.sha256(text).hexdigest()


def parse(data: object) -> tuple[Policy | None, list[Fault]]:
    """Read a policy out of plain data: every fault at once, never an exception.

    Examples
    --------
    >>> limit = {"severity": "critical", "abov": "2 %", "action": "rollback"}
    >>> metrics = {"error_ratio": {"limits": [limit]}}
    >>> policy, faults = parse({"version": 1, "name": "shop", "metrics": metrics})
    >>> policy is None, faults[0].path, faults[0].message
    (True, (..., 'limits', 0, 'abov'), 'unknown word "abov" (did you mean "above"?)')
    """
    faults: list[Fault] = []
    words: dict[str, Any] = read_mapping(POLICY, data, (), faults)
    metrics: dict[str, Any] = words.pop("metrics", {})
    # Built even when something is at fault: what is not given is then its default.
    fields: dict[str, Any] = {"name": "", "metrics": ()}
    policy = Policy(**(fields | _fields(POLICY, words)))
    faults += policy_conflicts.of_times(_sound_times(policy, faults))
    read = tuple(
        _metric(name, metrics[name], policy, faults)
        for name in METRICS
        if name in metrics
    )
    return None if faults else msgspec.structs.replace(policy, metrics=read), faults


def _fields(shape: Mapping, words: dict[str, Any]) -> dict[str, Any]:
    """Return the values by the names of the struct's fields."""
    return {
        key.field: tuple(words[key.word]) if key.word == "watch" else words[key.word]
        for key in shape.keys
        if key.word in words
    }


def _sound_times(policy: Policy, faults: list[Fault]) -> dict[str, int]:
    return {
        key.word: getattr(policy, key.field)
        for key in POLICY.keys
        if key.field.endswith("_seconds") and is_sound((key.word,), faults)
    }


def _metric(
    name: str, words: dict[str, Any], policy: Policy, faults: list[Fault]
) -> Metric:
    measure, quantile = METRICS[name]
    path: Path = ("metrics", name)
    limits: dict[int, Limit] = {}
    for index, entry in enumerate(words.pop("limits", ())):
        at = (*path, "limits", index)
        if is_sound(at, faults):
            limits[index] = _limit(entry, measure)
            faults += policy_conflicts.of_limit(limits[index], measure, at)
    faults += policy_conflicts.of_metric(limits, words.get("target"), measure, path)
    defaults = {
        "window_seconds": policy.window_seconds,
        "least_requests": policy.least_requests,
    }
    return Metric(
        name=name,
        measure=measure,
        quantile=quantile,
        limits=tuple(sorted(limits.values(), key=_rank)),
        **{**defaults, **_fields(metric(measure), words)},
    )


def _limit(words: dict[str, Any], measure: Measure) -> Limit:
    margin: dict[str, float] | None = words.get(margin_word(measure))
    return Limit(
        severity=Severity[words["severity"].upper()],
        action=Action[words["action"].upper()],
        bound=words.get(bound_word(measure), 0.0),
        over=measure is not Measure.SUCCESS_RATIO,
        sustain_seconds=words.get("sustain", 0),
        stages=tuple(sorted(words.get("stages", ()), key=STAGES.index)),
        in_stage=words.get("in_stage", {}),
        against="absolute" if margin is None else "baseline",
        critical_endpoints=words.get("critical_endpoints", False),
        **(margin or {}),
    )


def _rank(limit: Limit) -> tuple[object, ...]:
    return (
        limit.severity,
        limit.action,
        limit.critical_endpoints,
        limit.against,
        limit.times,
        limit.plus,
        limit.bound if limit.over else -limit.bound,
        limit.sustain_seconds,
        limit.stages,
        sorted(limit.in_stage.items()),
    )
