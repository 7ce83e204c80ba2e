"""A decision drawn up: the reasons, the evidence that they rest on, and their words."""

from typing import NamedTuple

import msgspec
import numpy as np

from guard import reasons
from guard.blindness import Hush
from guard.decision import (
    Decision,
    Evidence,
    PolicyName,
    Reason,
    SplitEvidence,
    deadline,
    decision_id,
    digest_of,
    instant,
    level_of,
)
from guard.delay import Delays
from guard.evidence import Witness, columns_of
from guard.judge import Judge
from guard.origin import Origin, Source
from guard.pane import NO_DELAY, REQUESTS
from guard.policy import Policy
from guard.presence import Presence
from guard.reasons import Seen, Told
from guard.register import Register
from guard.rules import Side, View
from guard.tally import LATE
from guard.verdict import Action, Severity


class Saying(NamedTuple):
    """What is to be published about a rollout, and why."""

    action: Action
    severity: Severity
    reasons: list[Reason]
    sequence: int


class Clerk(NamedTuple):
    """Draws up decisions from the state of an engine."""

    policy: Policy
    policy_name: PolicyName
    witness: Witness
    register: Register
    judge: Judge
    presence: Presence
    delays: Delays
    origin: Origin
    sources: list[Source]  # by their numbers

    def why(self, row: int, second: int, hush: Hush) -> list[Reason]:
        """Return the limits that are broken, and why it is blind where it is."""
        why = self.witness.reasons(row, second)
        plight = self.judge.plight(row)
        if plight is not None:
            sides = self.witness.sides(self.judge.main, np.array([row]))
            canary = self._told(row, "canary", sides.canary)
            baseline = self._told(row, "baseline", sides.baseline)
            beside = int(self.register.column("baseline")[row])
            last, split = self.presence.last(beside), self._split(row)
            seen = Seen(canary, baseline, last, hush, split)
            why += reasons.of_blindness(plight, self.policy, seen)
        return why

    def _told(self, row: int, name: str, side: Side) -> Told:
        requests, late = side.counts[0, [REQUESTS, LATE]].tolist()
        delay = int(self.delays.least(self.register.column(name)[[row]])[0])
        return Told(requests, late, None if delay == NO_DELAY else delay / 1000)

    def decision(self, row: int, second: int, saying: Saying) -> Decision:
        """Draw up the decision that is made when this second closes."""
        rollout = self.register.rollouts[row]
        action = saying.action
        evidence = self._evidence(row, second, saying.reasons)
        decision = Decision(
            id=decision_id(rollout.id, action.word, saying.sequence),
            service=rollout.service,
            rollout=rollout.id,
            canary=rollout.version,
            stage=self.judge.stage,
            decision=action.word,
            severity=saying.severity.word,
            level=level_of(action),
            deadline=deadline(action, second + 1),
            reasons=reasons.worded(saying.reasons, evidence),
            evidence=evidence,
            policy=self.policy_name,
            sequence=saying.sequence,
            decided_at=instant(second + 1),
        )
        return msgspec.structs.replace(decision, digest=digest_of(decision))

    def _evidence(self, row: int, second: int, why: list[Reason]) -> Evidence:
        main = self.judge.main
        looked_at = {
            View(reason.window_seconds, reason.critical_only)
            for reason in why
            if reason.window_seconds
        }
        views = [main, *sorted(looked_at - {main})]
        starts: dict[int, int] = {}  # by row the first second that is looked at
        for view in views:
            for name in columns_of(view):
                at = int(self.register.column(name)[row])
                # What came before a row's first second was another cohort's.
                start = max(second + 1 - view.window_seconds, self.presence.since(at))
                starts[at] = min(start, starts.get(at, start))
        behind = [self._behind(row, name, starts) for name in columns_of(main)]
        return Evidence(
            views=[self.witness.view(row, view, second) for view in views],
            sources=self.origin.offsets(self.sources, starts),
            late_behind_seconds=max(behind) or None,
            split=self._split(row),
        )

    def _behind(self, row: int, name: str, starts: dict[int, int]) -> float:
        at = int(self.register.column(name)[row])
        return self.origin.worst_behind(at, starts[at]) or 0.0

    def _split(self, row: int) -> SplitEvidence | None:
        ratio = self.judge.blindness.mismatch(row)
        if ratio is None:
            return None
        canary, requests, blocks = ratio.counts(row)
        return SplitEvidence(
            weight=self.policy.weight or 0.0,
            canary=canary,
            requests=requests,
            blocks=blocks,
            log_evidence=round(float(ratio.log_evidence(np.array([row]))[0]), 3),
        )
