"""What we ask for, with everything it rests on; the message that others act on.

A decision is a value: the same log and policy give the same decision, byte for byte,
whoever decides it and how often. Its id is made of the rollout, the kind and a
sequence number, so that what is decided again is the same decision and a consumer can
drop the repeat. `emitted_at` alone is the clock's; the one who publishes fills it in.
`guard.explain` recomputes a decision from what it carries.
"""

import hashlib
import uuid
from datetime import UTC, datetime

import msgspec

from guard.verdict import Action

NAMESPACE = uuid.UUID("6f1f5b7e-0c1c-5e0e-9d0b-3f2f0a9a7c11")
DEADLINE_SECONDS = {Action.EVALUATE: 900, Action.ROLLBACK: 300}  # the guide's times
FEATURE_FLAG = 1  # the first level of rollback


def instant(second: float) -> str:
    """RFC 3339 in UTC.

    >>> instant(1661140434)
    '2022-08-22T03:53:54Z'
    """
    text = datetime.fromtimestamp(second, UTC).isoformat()
    return text.replace("+00:00", "Z")


class Reason(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why, in words and in the numbers that the words were made of.

    Parameters
    ----------
    rule
        The metric of a limit, or what cannot be judged, or who watches.
    reading, bound, beside
        Ratios or milliseconds; `beside` is the baseline's reading, for a limit against
        it: the bound is `beside * times + plus`, or `beside - plus` where below is
        worse. Of a silent canary the requests that were expected, and the least of
        them that mean a silence. Of a clock skew seconds from a request to Kafka: the
        quickest one's of the canary, and beside it of the baseline; below 0 is ahead.
    requests, least_requests
        What the reading was made of in the window, and how many it takes.
    since, held_seconds, sustain_seconds
        When the breach began, judged seconds in a row it was over, and how many it
        takes. Of what cannot be judged: for how long.
    least_reading, least_bound
        The reading nearest to its bound since the breach began; that bound, where it
        moves with the baseline.
    kept_seconds, clear_seconds
        For how long it has been well again, and how long that takes to count.
    judged_at
        The end of the last second that could be judged, where it is not this one.
    """

    rule: str
    text: str
    severity: str
    action: str
    reading: float | None = None
    bound: float | None = None
    beside: float | None = None
    times: float | None = None
    plus: float | None = None
    requests: int | None = None
    least_requests: int | None = None
    critical_only: bool = False
    window_seconds: int | None = None
    since: str | None = None
    held_seconds: int | None = None
    sustain_seconds: int | None = None
    least_reading: float | None = None
    least_bound: float | None = None
    kept_seconds: int | None = None
    clear_seconds: int | None = None
    judged_at: str | None = None


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """Quantiles of a window in milliseconds, relative accuracy 1 %."""

    p50: float
    p95: float
    p99: float
    # 95 %, where requests are few; no upper end where they are too few for one
    p95_interval: tuple[float, float | None] | None = None


class CohortEvidence(msgspec.Struct, frozen=True, kw_only=True):
    """What a cohort did in the window."""

    version: str | None
    requests: int
    errors: int
    error_ratio: float | None
    error_interval: tuple[float, float] | None  # Wilson's, 95 %, for display
    status: dict[str, int]
    late: int  # requests that came too late to be counted
    latency_ms: Latency | None
    buckets: list[tuple[int, int]]  # of the latency sketch: bucket, requests
    seconds: list[tuple[int, int, int]]  # after the window's start; requests, errors


class View(msgspec.Struct, frozen=True, kw_only=True):
    """Canary and baseline in the same window, `start` to `end`."""

    window_seconds: int
    critical_only: bool
    start: str
    end: str
    canary: CohortEvidence
    baseline: CohortEvidence


class SplitEvidence(msgspec.Struct, frozen=True, kw_only=True):
    """How the traffic was split, as long as it took to call it a mismatch."""

    weight: float  # the share that was meant for the canary
    canary: int  # requests
    requests: int  # of both
    blocks: int  # what the account counts: some seconds each
    log_evidence: float  # against the weight; natural logarithm, to 3 places


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """What is needed to recompute the decision.

    The first of the `views` is the policy's window; the others are those of the
    reasons. `sources` names, for every source partition, the first and last offset of
    the blocks that the window's requests of this rollout came from.
    """

    views: list[View]
    sources: dict[str, tuple[int, int]]
    late_behind_seconds: float | None = None  # the lateness that would have sufficed
    split: SplitEvidence | None = None  # where it does not fit the weight


class PolicyName(msgspec.Struct, frozen=True, kw_only=True):
    """Which policy decided."""

    name: str
    sha256: str


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """One decision, as it stands on the topic (the value of a CloudEvent).

    `digest` is the SHA-256 of its JSON without `digest`, `emitted_at` and `dry_run`:
    two decisions of one id must have the same one.
    """

    id: str
    service: str
    rollout: str
    canary: str | None  # version
    stage: str
    decision: str
    severity: str
    level: int | None
    deadline: str | None
    reasons: list[Reason]
    evidence: Evidence
    policy: PolicyName
    sequence: int
    decided_at: str
    digest: str = ""
    emitted_at: str | None = None
    dry_run: bool = False


def digest_of(decision: Decision) -> str:
    """Return the SHA-256, in hex, of all that the log and the policy determine."""
    bare = msgspec.structs.replace(decision, digest="", emitted_at=None, dry_run=False)
    return hashlib.sha256(msgspec.json.encode(bare)).hexdigest()


def rollout_id(service: str, version: str | None, started: int) -> str:
    """Name a rollout that no event announced.

    A canary without a version is named by its service alone. Slashes in names are
    escaped, so that no two rollouts have the same name.

    >>> rollout_id("cart", "v2", 1661140434), rollout_id("a/b", None, 1661140434)
    ('cart/v2/2022-08-22T03:53:54Z', 'a%2Fb/2022-08-22T03:53:54Z')
    """
    names = (service,) if version is None else (service, version)
    escaped = [name.replace("%", "%25").replace("/", "%2F") for name in names]
    return "/".join([*escaped, instant(started)])


def decision_id(rollout: str, kind: str, sequence: int) -> str:
    """Return the idempotency key: equal for what is decided again."""
    return str(uuid.uuid5(NAMESPACE, f"{rollout}|{kind}|{sequence}"))


def level_of(action: Action) -> int | None:
    """Return the level of rollback that is asked for; None where none is."""
    return FEATURE_FLAG if action is Action.ROLLBACK else None


def deadline(action: Action, decided: int) -> str | None:
    """Until when the guide wants it done."""
    seconds = DEADLINE_SECONDS.get(action)
    return None if seconds is None else instant(decided + seconds)
