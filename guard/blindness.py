"""No data is never a pass: which rollouts cannot be judged, and why.

A rollout is *blind* when it could not be judged for the policy's time (too few
requests, no baseline), and at once when too many requests of one side come late, when
both sides fall silent or the canary alone, when the canary gets another share of the
traffic than its weight, when the clocks of those who send are apart, or when drift
shows where there is no baseline. Blind asks for a hold; a silence of the canary alone
is how a hang looks, and asks for an evaluation. It has to be seen for the clear time to
be trusted again. A share that does not fit is believed until the weight changes: all
that was compared was split wrongly.
"""

import enum
from typing import Any, NamedTuple

import numpy as np

from guard.pane import REQUESTS, Ints
from guard.policy import Policy
from guard.rules import Bools, Floats, Sides, encode
from guard.tally import LATE
from guard.verdict import Action, Severity
from models.sample_ratio import SampleRatio

HOLD = encode(Action.HOLD, Severity.WARNING)
EVALUATE = encode(Action.EVALUATE, Severity.CRITICAL)
ALPHA = 0.01  # chance that a share that fits its weight is ever called a mismatch
LEAST_SEEN = 50  # canary requests before its silence means anything


class Blind(enum.IntFlag):
    """Why a rollout cannot be judged."""

    NOTHING = 0
    LITTLE_TRAFFIC = 1
    NO_BASELINE = 2
    CANARY_SILENT = 4
    LATE = 8
    TELEMETRY_SILENT = 16
    BASELINE_LATE = 32
    SAMPLE_RATIO = 64
    CLOCK_SKEW = 128


# As plain integers: with arrays, an enum's members take ten times as long.
_LITTLE_TRAFFIC, _NO_BASELINE = int(Blind.LITTLE_TRAFFIC), int(Blind.NO_BASELINE)
_CANARY_SILENT, _LATE = int(Blind.CANARY_SILENT), int(Blind.LATE)
_ALL_SILENT, _BASELINE_LATE = int(Blind.TELEMETRY_SILENT), int(Blind.BASELINE_LATE)
_SAMPLE_RATIO, _CLOCK_SKEW = int(Blind.SAMPLE_RATIO), int(Blind.CLOCK_SKEW)


class Hush(NamedTuple):
    """The silence of one rollout."""

    seconds: int
    expected: float
    all_seconds: int
    promised: float


class Silence(NamedTuple):
    """How long each canary has said nothing, and what it should have said."""

    seconds: Ints  # since its last request
    seen: Ints  # requests since the rollout began
    expected: Floats  # requests in the silent time
    all_seconds: Ints  # since the last request of canary or baseline
    promised: Floats  # requests of both, in the time that both are silent

    def of(self, place: int) -> Hush:
        """Return that of one rollout."""
        return Hush(
            int(self.seconds[place]),
            float(self.expected[place]),
            int(self.all_seconds[place]),
            float(self.promised[place]),
        )


class Split(NamedTuple):
    """The requests of one second, by side."""

    second: int
    canary: Ints
    baseline: Ints


class Lag(NamedTuple):
    """The least delays of both sides of late, in milliseconds."""

    canary: Ints
    baseline: Ints
    is_settled: Bools  # whether the two can be compared


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
        self._ratio = SampleRatio(policy.weight, ALPHA) if policy.weight else None

    @property
    def rows(self) -> int:
        """Rows there is room for."""
        return self._clocks.shape[1]

    def grow(self, more: int) -> None:
        """Make room for so many rollouts more."""
        self._clocks = np.pad(self._clocks, ((0, 0), (0, more)))
        if self._ratio:
            self._ratio.grow(self.rows)

    def forget(self, row: int) -> None:
        """Begin anew."""
        self._clocks[:, row] = 0
        if self._ratio:
            self._ratio.forget(np.array([row]))

    def look(
        self, rows: Ints, main: Sides, silence: Silence, split: Split, lag: Lag
    ) -> Ints:
        """Move the clocks of these rollouts on by a second; the code each asks for."""
        policy = self._policy
        slow = self._slowly(main)
        at_once = self._at_once(main, silence) | self._skewed(main, lag)
        if self._ratio:
            self._ratio.update(split.second, rows, split.canary, split.baseline)
            at_once = at_once | self._ratio.is_mismatch(rows) * _SAMPLE_RATIO
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
        policy, is_seen = self._policy, silence.seen >= LEAST_SEEN
        at_once: Ints = np.zeros(len(is_seen), np.int64)
        for seconds, expected, flag in (
            (silence.seconds, silence.expected, _CANARY_SILENT),
            (silence.all_seconds, silence.promised, _ALL_SILENT),
        ):
            if expected.any():
                is_silent = is_seen & (seconds >= policy.silent_after_seconds)
                is_much = expected >= policy.silent_least_expected
                at_once |= (is_silent & is_much) * flag
        for side, flag in ((main.canary, _LATE), (main.baseline, _BASELINE_LATE)):
            late = side.counts[:, LATE]
            if late.any():
                everything = side.counts[:, REQUESTS] + late
                is_late = late > policy.late_share_limit * everything
                at_once |= (is_late & (everything >= policy.least_requests)) * flag
        return at_once

    def _skewed(self, main: Sides, lag: Lag) -> Ints:
        limit = 1000 * self._policy.skew_limit_seconds
        enough, enough_beside = (
            side.counts[:, REQUESTS] >= self._policy.least_requests for side in main
        )
        is_ahead = enough & (lag.canary < -limit)
        is_ahead |= enough_beside & (lag.baseline < -limit)
        is_apart = np.abs(lag.canary - lag.baseline) > limit
        is_apart &= enough & enough_beside & lag.is_settled
        return np.asarray((is_ahead | is_apart) * _CLOCK_SKEW)

    def mismatch(self, row: int) -> SampleRatio | None:
        """Return the accounts where this row's has found a mismatch; else None."""
        ratio = self._ratio
        return ratio if ratio and ratio.is_mismatch(np.array([row])).any() else None

    def state(self) -> dict[str, Any]:
        """Return the clocks of all rows, and the accounts."""
        ratio = self._ratio.state() if self._ratio else None
        return {"clocks": self._clocks.tobytes(), "ratio": ratio}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken, under the same policy."""
        clocks = np.frombuffer(state["clocks"], np.int64)
        self._clocks = clocks.reshape(self._CLOCKS, -1).copy()
        if self._ratio:
            self._ratio = SampleRatio.from_state(state["ratio"])
