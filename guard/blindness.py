"""No data is never a pass: which rollouts cannot be judged, and why.

A rollout is *blind* when it could not be judged for the policy's time (too few
requests, no baseline), and at once when too many of its requests come late, when its
canary falls silent while the baseline goes on, or when drift shows where there is no
baseline. Blind asks for a hold; a silence is how a hang looks, and asks for an
evaluation. It has to be seen for the clear time to be trusted again.
"""

import enum
from typing import NamedTuple

import numpy as np

from guard.pane import REQUESTS, Ints
from guard.policy import Policy
from guard.rules import Floats, Sides, encode
from guard.tally import LATE
from guard.verdict import Action, Severity

HOLD = encode(Action.HOLD, Severity.WARNING)
EVALUATE = encode(Action.EVALUATE, Severity.CRITICAL)
LEAST_SEEN = 50  # canary requests before its silence means anything


class Blind(enum.IntFlag):
    """Why a rollout cannot be judged."""

    NOTHING = 0
    LITTLE_TRAFFIC = 1
    NO_BASELINE = 2
    CANARY_SILENT = 4
    LATE = 8


# As plain integers: with arrays, an enum's members take ten times as long.
_LITTLE_TRAFFIC, _NO_BASELINE = int(Blind.LITTLE_TRAFFIC), int(Blind.NO_BASELINE)
_CANARY_SILENT, _LATE = int(Blind.CANARY_SILENT), int(Blind.LATE)


class Silence(NamedTuple):
    """How long each canary has said nothing, and what it should have said."""

    seconds: Ints  # since its last request
    seen: Ints  # requests since the rollout began
    expected: Floats  # requests in the silent time


class Plight(NamedTuple):
    """Why one rollout is blind, or not trusted yet."""

    why: Blind
    now: Blind  # those of the reasons that are true in this second
    blind_for: int  # seconds in a row that could not be judged
    seen_for: int  # seconds in a row without any reason


class Blindness:
    """Clocks of all rollouts: rows of seen_for, blind_for, the latched code, why, now.

    Rows are rollouts; `grow` makes room, `forget` clears rows for use by others.
    """

    _CLOCKS = 5

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._clocks = np.zeros((self._CLOCKS, 0), np.int64)

    @property
    def rows(self) -> int:
        """Rows there is room for."""
        return self._clocks.shape[1]

    def grow(self, more: int) -> None:
        """Make room for so many rollouts more."""
        self._clocks = np.pad(self._clocks, ((0, 0), (0, more)))

    def forget(self, row: int) -> None:
        """Begin anew."""
        self._clocks[:, row] = 0

    def look(self, rows: Ints, main: Sides, silence: Silence) -> Ints:
        """Move the clocks of these rollouts on by a second; the code each asks for."""
        policy = self._policy
        slow, at_once = self._slowly(main), self._at_once(main, silence)
        now = slow | at_once
        seen_for, blind_for, code, why, _ = self._clocks[:, rows]
        seen_for = (seen_for + 1) * (now == 0)
        blind_for = (blind_for + 1) * (slow != 0)
        code[seen_for >= policy.clear_after_seconds] = 0
        is_blind = (blind_for >= policy.hold_after_seconds) | (at_once != 0)
        is_silent = (at_once & _CANARY_SILENT) != 0
        code = np.maximum(code, np.where(is_silent, EVALUATE, is_blind * HOLD))
        # A silence that led to an evaluation stays its reason until trust is back.
        lasting = np.where(code == EVALUATE, why & _CANARY_SILENT, 0)
        why = np.where(now == 0, why, now | lasting)
        self._clocks[:, rows] = seen_for, blind_for, code, why, now
        return np.asarray(code)

    def distrust(self, row: int) -> None:
        """Hold this rollout from now on, as if it had not been seen for long."""
        self._clocks[0, row] = 0
        self._clocks[2, row] = max(HOLD, self._clocks[2, row])

    def plight(self, row: int) -> Plight | None:
        """Why a rollout is blind; None where it is not."""
        seen_for, blind_for, code, why, now = self._clocks[:, row].tolist()
        return Plight(Blind(why), Blind(now), blind_for, seen_for) if code else None

    def is_seen(self, row: int) -> bool:
        """Whether a rollout could be judged in the last second, and is trusted."""
        return bool(self._clocks[0, row] > 0 and self._clocks[2, row] == 0)

    def _slowly(self, main: Sides) -> Ints:
        requests = main.canary.counts[:, REQUESTS]
        beside = main.baseline.counts[:, REQUESTS]
        least = self._policy.least_requests
        is_alone = beside == 0
        is_little = (requests < least) | ((beside < least) & ~is_alone)
        return np.asarray(is_little * _LITTLE_TRAFFIC + is_alone * _NO_BASELINE)

    def _at_once(self, main: Sides, silence: Silence) -> Ints:
        policy = self._policy
        late = main.canary.counts[:, LATE]
        if not (late.any() or silence.expected.any()):  # as a rule
            return np.zeros(len(late), np.int64)
        is_silent = (
            (silence.seconds >= policy.silent_after_seconds)
            & (silence.seen >= LEAST_SEEN)
            & (silence.expected >= policy.silent_least_expected)
        )
        everything = main.canary.counts[:, REQUESTS] + late
        is_late = (late > policy.late_share_limit * everything) & (
            everything >= policy.least_requests
        )
        return np.asarray(is_silent * _CANARY_SILENT + is_late * _LATE)

    def state(self) -> bytes:
        """Return the clocks of all rows."""
        return self._clocks.tobytes()

    def restore(self, state: bytes) -> None:
        """Go on where `state` was taken."""
        clocks = np.frombuffer(state, np.int64)
        self._clocks = clocks.reshape(self._CLOCKS, -1).copy()
