"""From what was counted to what is wanted: (evidence, policy) -> verdict.

Every rollout of a target partition is judged at once, a row each, every second of event
time. A rule is one limit of the policy. It is *over* in a second when its metric, over
the rolling window, is beyond the limit; *held* counts the judged seconds in a row in
which it was over. Held for the limit's sustain time it *stands*, until it was kept for
the policy's clear time. A second without canary requests, or with too few in the
window, is not judged: it stops these clocks for up to the policy's gap, then resets
them.

What cannot be judged stands in `guard.blindness`; the graver of the two is wanted.
"""

from typing import Any, NamedTuple

import numpy as np

from guard.blindness import Blindness, Lag, Plight, Silence, Split
from guard.limit import Measure, Metric
from guard.pane import REQUESTS, Ints
from guard.policy import Policy
from guard.rules import Bools, Floats, Sides, View, bound_of, read, rules_of
from guard.verdict import Severity, Verdict


class Sight(NamedTuple):
    """What the judge is shown of one second, a row a rollout."""

    second: int
    views: dict[View, Sides]
    canary_now: Ints  # requests in this second
    baseline_now: Ints
    silence: Silence
    lag: Lag


class Breach(NamedTuple):
    """How one rule stands with one rollout."""

    held: int  # judged seconds in a row in which it was over
    since: int  # second in which the breach began
    least: tuple[float, float]  # its reading nearest to the bound, and that bound
    kept: int  # judged seconds in a row in which it was not
    judged_at: int  # the last second in which it was judged


class _Gauge(NamedTuple):
    """A metric in a view; several rules may read it."""

    metric: Metric
    view: View


class _Rules(NamedTuple):
    """The rules as rows of numbers, so that all are looked at in one stroke."""

    gauge: list[int]  # place among the gauges
    codes: Ints
    signs: Floats  # 1 where above the bound is worse, -1 where below is
    bounds: Floats  # absolute ones; NaN for those against the baseline
    sustain: Ints
    beside: list[int]  # the rules against the baseline
    used: list[int]  # gauges
    used_beside: list[int]  # gauges of the rules against the baseline


_HELD, _SINCE, _KEPT, _JUDGED_AT, _STANDS = range(5)


class Judge:
    """Clocks of all rules of all rollouts of a target partition.

    Rows are rollouts; `grow` makes room, `forget` clears rows for use by others.
    """

    def __init__(self, policy: Policy, stage: str) -> None:
        self.policy = policy
        self.stage = stage
        self.rules = rules_of(policy, stage)
        self.main = View(policy.window_seconds)
        self.views = tuple(sorted({self.main, *(rule.view for rule in self.rules)}))
        self.blindness = Blindness(policy)
        self._gauges = [
            _Gauge(metric, view)
            for metric in policy.metrics
            for view in dict.fromkeys(r.view for r in self.rules if r.metric is metric)
        ]
        self._views = tuple(dict.fromkeys(gauge.view for gauge in self._gauges))
        self._rules = self._numbers()
        self._clocks = np.zeros((5, 0, len(self.rules)), np.int64)
        self._least = np.zeros((2, 0, len(self.rules)))  # of the breach; see Breach

    def _numbers(self) -> _Rules:
        limits = [rule.limit for rule in self.rules]
        beside = [i for i, limit in enumerate(limits) if limit.against == "baseline"]
        bounds = [
            np.nan if i in beside else limit.bound_in(self.stage)
            for i, limit in enumerate(limits)
        ]
        gauge = [self._gauges.index(_Gauge(r.metric, r.view)) for r in self.rules]
        return _Rules(
            gauge,
            np.array([rule.code for rule in self.rules], np.int64),
            np.array([1.0 if limit.over else -1.0 for limit in limits]),
            np.array(bounds),
            np.array([max(1, limit.sustain_seconds) for limit in limits], np.int64),
            beside,
            sorted(set(gauge)),
            sorted({gauge[number] for number in beside}),
        )

    def plight(self, row: int) -> Plight | None:
        """Why a rollout cannot be judged; None where it can."""
        return self.blindness.plight(row)

    def standing(self, row: int) -> list[int]:
        """Numbers of the rules that stand, gravest first."""
        numbers = np.flatnonzero(self._clocks[_STANDS, row]).tolist()
        return sorted(numbers, key=lambda number: (-self.rules[number].code, number))

    def breach(self, row: int, number: int, second: int) -> Breach:
        """Return the clocks of one rule, as of this second.

        A gap that was too long shows in them although only the next judged second
        will reset them: that moment may depend on other rules.
        """
        held, since, kept, judged_at, _ = self._clocks[:, row, number].tolist()
        if second - judged_at > self.policy.gap_seconds:
            held = kept = 0
        reading, bound = self._least[:, row, number].tolist()
        return Breach(held, since, (reading, bound), kept, judged_at)

    def grow(self, rows: int) -> None:
        """Make room for so many rollouts; never shrinks."""
        more = rows - self._least.shape[1]
        if more > 0:
            self.blindness.grow(more)
            self._clocks = np.pad(self._clocks, ((0, 0), (0, more), (0, 0)))
            self._least = np.pad(self._least, ((0, 0), (0, more), (0, 0)))

    def forget(self, row: int) -> None:
        """Begin anew."""
        self.blindness.forget(row)
        self._clocks[:, row] = 0
        self._least[:, row] = 0

    def judge(self, rows: Ints, sight: Sight) -> Ints:
        """Move the clocks of these rollouts on by a second; what each one wants.

        The answer is encoded as by `encode`, 0 where nothing is wanted.
        """
        split = Split(sight.second, sight.canary_now, sight.baseline_now)
        main = sight.views[self.main]
        wanted = self.blindness.look(rows, main, sight.silence, split, sight.lag)
        if not self.rules:
            return wanted
        places = np.flatnonzero(sight.canary_now)
        if places.size:
            self._apply(rows[places], places, sight)
        standing = self._clocks[_STANDS, rows] * self._rules.codes
        return np.asarray(np.maximum(wanted, standing.max(axis=1)))

    def _apply(self, rows: Ints, places: Ints, sight: Sight) -> None:
        """Move the clocks of the rules on; `places` of the rows in the sight."""
        rules, second = self._rules, sight.second
        is_judged, readings, bounds = self._looked_at(places, sight)
        beyond = (readings - bounds) * rules.signs
        is_over = is_judged & (beyond > 0)
        clocks = self._clocks[:, rows]
        judged_at: Ints = clocks[_JUDGED_AT]
        is_running = second - judged_at - 1 <= self.policy.gap_seconds
        held: Ints = clocks[_HELD] * is_running
        kept: Ints = clocks[_KEPT] * is_running
        begins = is_over & (held == 0)
        least = self._least[:, rows]
        is_nearer = is_over & (beyond < (least[0] - least[1]) * rules.signs)
        is_least = begins | is_nearer
        least[0] = np.where(is_least, readings, least[0])
        least[1] = np.where(is_least, bounds, least[1])
        self._least[:, rows] = least
        held = np.where(is_judged, (held + 1) * is_over, held)
        kept = np.where(is_judged, (kept + 1) * ~is_over, kept)
        is_kept: Bools = kept >= self.policy.clear_after_seconds
        clocks[_HELD] = held
        clocks[_SINCE] = np.where(begins, second, clocks[_SINCE])
        clocks[_KEPT] = kept
        clocks[_JUDGED_AT] = np.where(is_judged, second, judged_at)
        clocks[_STANDS] = (clocks[_STANDS] * ~is_kept) | (held >= rules.sustain)
        self._clocks[:, rows] = clocks

    def _looked_at(self, places: Ints, sight: Sight) -> tuple[Bools, Floats, Floats]:
        """By rollout and rule: whether it can be judged, its reading, its bound."""
        rules = self._rules
        is_judged, readings = self._read(sight, 0, places, rules.used)
        bounds = rules.bounds
        if rules.beside:
            enough, beside = self._read(sight, 1, places, rules.used_beside)
            bounds = np.repeat(bounds[np.newaxis], len(places), axis=0)
            for number in rules.beside:
                limit = self.rules[number].limit
                bounds[:, number] = bound_of(limit, self.stage, beside[:, number])
                is_judged[:, number] &= enough[:, number]
        return is_judged, readings, bounds

    def _read(
        self, sight: Sight, side: int, places: Ints, wanted: list[int]
    ) -> tuple[Bools, Floats]:
        """Whether there are enough requests, and the readings of the wanted gauges.

        By rollout and rule; `side` 0 is the canary, 1 the baseline.
        """
        shape = len(self._gauges), len(places)
        enough, readings = np.zeros(shape, bool), np.full(shape, np.nan)
        requests = {
            view: sight.views[view][side].counts[places, REQUESTS]
            for view in self._views
        }
        for number in wanted:
            metric, view = self._gauges[number]
            seen = sight.views[view][side]
            enough[number] = requests[view] >= metric.least_requests
            if metric.measure is Measure.LATENCY:  # costly: only where it is judged
                some = np.flatnonzero(enough[number])
                readings[number, some] = read(metric, seen, places[some])
            else:
                readings[number] = read(metric, seen, places)
        return enough.T[:, self._rules.gauge], readings.T[:, self._rules.gauge]

    def verdict(self, row: int) -> Verdict:
        """What the evidence of this instant says of a rollout."""
        severities = [self.rules[n].limit.severity for n in self.standing(row)]
        if not severities:
            is_seen = self.blindness.is_seen(row)
            return Verdict.PASS if is_seen else Verdict.INCONCLUSIVE
        is_mild = max(severities) is Severity.WARNING
        return Verdict.WARNING if is_mild else Verdict.CRITICAL

    def state(self) -> dict[str, Any]:
        """Return the clocks of all rows."""
        return {
            "clocks": self._clocks.tobytes(),
            "least": self._least.tobytes(),
            "blindness": self.blindness.state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken, under the same policy."""
        self.blindness.restore(state["blindness"])
        rows = self.blindness.rows
        clocks = np.frombuffer(state["clocks"], np.int64)
        self._clocks = clocks.reshape(5, rows, len(self.rules)).copy()
        least = np.frombuffer(state["least"], np.float64)
        self._least = least.reshape(2, rows, len(self.rules)).copy()
