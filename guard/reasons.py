"""Reasons beside the limits: what cannot be judged, and that all is well again.

They have no words yet: `worded` writes them, once the evidence is there.
"""

from typing import NamedTuple

import msgspec

from guard import wording
from guard.blindness import EVALUATE, HOLD, Blind, Plight
from guard.decision import Evidence, Reason
from guard.policy import Policy
from guard.rules import decode
from guard.verdict import Action, Severity

_RULES = {
    Blind.CANARY_SILENT: "canary_silent",
    Blind.NO_BASELINE: "no_baseline",
    Blind.LITTLE_TRAFFIC: "little_traffic",
    Blind.LATE: "late_telemetry",
}


class Seen(NamedTuple):
    """What was seen of a canary."""

    requests: int  # in the policy's window
    late: int
    silent_seconds: int
    expected: float  # requests in the time that it was silent


def of_blindness(plight: Plight, policy: Policy, seen: Seen) -> list[Reason]:
    """Why a rollout cannot be judged."""
    numbers: dict[Blind, dict[str, float | int]] = {
        Blind.CANARY_SILENT: {
            "reading": seen.expected,
            "bound": float(policy.silent_least_expected),
            "held_seconds": seen.silent_seconds,
            "sustain_seconds": policy.silent_after_seconds,
        },
        Blind.NO_BASELINE: {
            "requests": seen.requests,
            "held_seconds": plight.blind_for,
            "sustain_seconds": policy.hold_after_seconds,
        },
        Blind.LITTLE_TRAFFIC: {
            "requests": seen.requests,
            "least_requests": policy.least_requests,
            "held_seconds": plight.blind_for,
            "sustain_seconds": policy.hold_after_seconds,
        },
        Blind.LATE: {
            "reading": late_share(seen.requests, seen.late),
            "bound": policy.late_share_limit,
            "requests": seen.requests + seen.late,
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
