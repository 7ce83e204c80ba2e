"""Reasons beside the limits: what cannot be judged, and that all is well again.

They have no words yet: `worded` writes them, once the evidence is there.
"""

from typing import NamedTuple

import msgspec

from guard import wording
from guard.blindness import EVALUATE, HOLD, Blind, Hush, Plight
from guard.decision import Evidence, Reason, SplitEvidence, instant
from guard.policy import Policy
from guard.rules import decode
from guard.verdict import Action, Severity

_RULES = {
    Blind.CANARY_SILENT: "canary_silent",
    Blind.NO_BASELINE: "no_baseline",
    Blind.LITTLE_TRAFFIC: "little_traffic",
    Blind.TELEMETRY_SILENT: "telemetry_silent",
    Blind.LATE: "late_telemetry",
    Blind.BASELINE_LATE: "late_baseline",
    Blind.SAMPLE_RATIO: "sample_ratio",
    Blind.CLOCK_SKEW: "clock_skew",
}


class Told(NamedTuple):
    """What one side told in the policy's window."""

    requests: int
    late: int
    delay_seconds: float | None = None  # the least


class Seen(NamedTuple):
    """What was seen of a rollout."""

    canary: Told
    baseline: Told
    last_baseline: int | None  # second of its last request
    hush: Hush
    split: SplitEvidence | None = None


def of_blindness(plight: Plight, policy: Policy, seen: Seen) -> list[Reason]:
    """Why a rollout cannot be judged."""
    canary, hush, last, split = seen.canary, seen.hush, seen.last_baseline, seen.split
    numbers: dict[Blind, dict[str, float | int | str | None]] = {
        Blind.CANARY_SILENT: {
            "reading": hush.expected,
            "bound": float(policy.silent_least_expected),
            "held_seconds": hush.seconds,
            "sustain_seconds": policy.silent_after_seconds,
        },
        Blind.TELEMETRY_SILENT: {
            "reading": hush.promised,
            "bound": float(policy.silent_least_expected),
            "held_seconds": hush.all_seconds,
            "sustain_seconds": policy.silent_after_seconds,
        },
        Blind.NO_BASELINE: {
            "requests": canary.requests,
            "since": None if last is None else instant(last + 1),
            "held_seconds": plight.blind_for,
            "sustain_seconds": policy.hold_after_seconds,
        },
        Blind.LITTLE_TRAFFIC: {
            "requests": canary.requests,
            "least_requests": policy.least_requests,
            "held_seconds": plight.blind_for,
            "sustain_seconds": policy.hold_after_seconds,
        },
        Blind.LATE: _late(canary, policy),
        Blind.BASELINE_LATE: _late(seen.baseline, policy),
        Blind.SAMPLE_RATIO: {
            "reading": split.canary / split.requests if split else None,
            "bound": policy.weight,
            "requests": split.requests if split else None,
        },
        Blind.CLOCK_SKEW: {
            "reading": _delay(canary, policy),
            "beside": _delay(seen.baseline, policy),
            "bound": float(policy.skew_limit_seconds),
            "requests": canary.requests,
            "least_requests": policy.least_requests,
        },
    }
    trusted_again = {
        "kept_seconds": plight.seen_for,
        "clear_seconds": policy.clear_after_seconds,
    }
    reasons: list[Reason] = []
    for flag, rule in _RULES.items():
        if plight.why & flag:
            action, severity = decode(EVALUATE if flag is Blind.CANARY_SILENT else HOLD)
            bare = Reason(
                rule=rule,
                text="",
                severity=severity.word,
                action=action.word,
                window_seconds=policy.window_seconds,
            )
            told = numbers[flag] if plight.now & flag else trusted_again
            reasons.append(msgspec.structs.replace(bare, **told))
    return reasons


def _late(told: Told, policy: Policy) -> dict[str, float | int | str | None]:
    return {
        "reading": late_share(told.requests, told.late),
        "bound": policy.late_share_limit,
        "requests": told.requests + told.late,
        "least_requests": policy.least_requests,
    }


def _delay(told: Told, policy: Policy) -> float | None:
    """The least delay, where it is of enough requests to mean anything."""
    return told.delay_seconds if told.requests >= policy.least_requests else None


def late_share(requests: int, late: int) -> float:
    """Return the share of all requests that came late; 0 without any."""
    return late / max(1, requests + late)


def of_clear(policy: Policy) -> Reason:
    """Say that everything is within its limits again."""
    return Reason(
        rule="clear",
        text="",
        severity=Severity.WARNING.word,
        action=Action.CLEAR.word,
        window_seconds=policy.window_seconds,
        clear_seconds=policy.clear_after_seconds,
    )


def of_change(policy: Policy) -> Reason:
    """Say that what was decided before was decided by another policy."""
    return Reason(
        rule="policy_changed",
        text="",
        severity=Severity.WARNING.word,
        action=Action.HOLD.word,
        window_seconds=policy.window_seconds,
        clear_seconds=policy.clear_after_seconds,
    )


def worded(reasons: list[Reason], evidence: Evidence) -> list[Reason]:
    """Return the reasons with their words."""
    return [
        msgspec.structs.replace(reason, text=wording.words(reason, evidence))
        for reason in reasons
    ]
