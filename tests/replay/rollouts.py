"""Random traffic of services on trial, folded by the real fold; and a slow judge.

The judge here is written from the rules as people read them: lists of requests, loops
over seconds, nothing kept between them that could be added up anew. What the engine
does with arrays must come to the same.
"""

import json
import math
import random
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from guard.fold import Batch, Fold, FoldSettings, Source
from guard.limit import Limit, Measure, Metric
from guard.pane import Panes
from guard.policy import Policy
from guard.shell.inputs import native
from guard.verdict import Action, Severity
from guard.words import Words
from models.quantile import Sketch

START = 1_700_000_000


class Event(NamedTuple):
    """A request, as the generators make it."""

    second: int
    service: str
    cohort: str
    version: str | None
    latency_ms: float
    is_error: bool = False
    is_critical: bool = False
    count: int = 1
    delay_seconds: float = 0.0  # from its time to Kafka's

    @property
    def value(self) -> bytes:
        return json.dumps(
            {
                "service": self.service,
                "ts": self.second + 0.25,
                "cohort": self.cohort,
                "version": self.version,
                "latency_ms": self.latency_ms,
                "status": 503 if self.is_error else 200,
                "critical": self.is_critical,
                "count": self.count,
            }
        ).encode()


def metric(name: str, *limits: Limit, window: int = 10, least: int = 20) -> Metric:
    measure = {
        "error_ratio": Measure.ERROR_RATIO,
        "success_ratio": Measure.SUCCESS_RATIO,
    }.get(name, Measure.LATENCY)
    return Metric(
        name=name,
        measure=measure,
        quantile=0.95 if measure is Measure.LATENCY else None,
        window_seconds=window,
        least_requests=least,
        limits=limits,
    )


def policy_of(*metrics: Metric, **words: Any) -> Policy:
    short = {
        "window_seconds": 10,
        "least_requests": 20,
        "hold_after_seconds": 8,
        "silent_after_seconds": 5,
        "silent_least_expected": 10,
        "gap_seconds": 6,
        "clear_after_seconds": 7,
        "forget_after_seconds": 120,
        "watch": (),
    }
    return Policy(name="test", metrics=metrics, **{**short, **words})


HOLD, EVALUATE, ROLLBACK = Action.HOLD, Action.EVALUATE, Action.ROLLBACK
WARNING, CRITICAL, IMMEDIATE = Severity.WARNING, Severity.CRITICAL, Severity.IMMEDIATE


def limit(
    severity: Severity, action: Action, bound: float = 0.0, **words: Any
) -> Limit:
    return Limit(severity=severity, action=action, bound=bound, **words)


def beside(severity: Severity, action: Action, **words: Any) -> Limit:
    return Limit(severity=severity, action=action, against="baseline", **words)


RICH = policy_of(
    metric(
        "error_ratio",
        limit(WARNING, HOLD, 0.05, in_stage={"canary": 0.04}, sustain_seconds=3),
        limit(CRITICAL, EVALUATE, 0.1),
        limit(CRITICAL, ROLLBACK, 0.1, sustain_seconds=12),
        limit(CRITICAL, ROLLBACK, 0.01, stages=("full",)),
        beside(CRITICAL, EVALUATE, times=3.0, plus=0.05, sustain_seconds=4),
        limit(IMMEDIATE, ROLLBACK, 0.4, sustain_seconds=2),
    ),
    metric(
        "latency_p95",
        limit(WARNING, HOLD, 300.0, sustain_seconds=2),
        beside(CRITICAL, EVALUATE, times=2.0, sustain_seconds=3),
        limit(CRITICAL, ROLLBACK, 900.0, sustain_seconds=5),
        window=6,
        least=12,
    ),
    metric(
        "success_ratio",
        limit(CRITICAL, EVALUATE, 0.8, over=False, critical_endpoints=True),
        beside(WARNING, HOLD, over=False, plus=0.1, sustain_seconds=2),
        window=15,
        least=25,
    ),
)


# ---- traffic


def traffic(seed: int, seconds: int = 220) -> list[Event]:
    """Some services with spells of health, faults, silence and absence."""
    rng = random.Random(seed)
    events: list[Event] = []
    for number in range(rng.randint(1, 4)):
        events += _service(rng, f"s{number}", seconds)
    return sorted(events, key=lambda event: event.second)


def _service(rng: random.Random, name: str, seconds: int) -> Iterator[Event]:
    versions = rng.sample(["v2", "v3", None], rng.choice([1, 1, 2]))
    cohorts = [("canary", version) for version in versions]
    if rng.random() < 0.85:
        cohorts.append(("baseline", "v1"))
    for cohort, version in cohorts:
        rate = rng.choice([0.5, 2, 5, 9])
        second = START + rng.choice([0, 0, 7, 40])
        while second < START + seconds:
            length = rng.choice([3, 8, 15, 30, 60])
            spell = rng.choice(["well", "well", "well", "bad", "slow", "gone", "worse"])
            for _ in range(length):
                if spell != "gone":
                    yield from _requests(
                        rng, second, name, cohort, version, rate, spell
                    )
                second += 1
            second += rng.choice([0] * 30 + [300, 4000])


def _requests(  # noqa: PLR0917 - what a request is made of
    rng: random.Random,
    second: int,
    service: str,
    cohort: str,
    version: str | None,
    rate: float,
    spell: str,
) -> Iterator[Event]:
    share = {"bad": 0.2, "worse": 0.6}.get(spell, 0.02)
    scale = {"slow": 8.0, "worse": 3.0}.get(spell, 1.0)
    for _ in range(int(rate + rng.random())):
        yield Event(
            second,
            service,
            cohort,
            version,
            round(scale * rng.lognormvariate(4.5, 0.5), 3),
            rng.random() < share,
            rng.random() < 0.3,
            rng.choice([1, 1, 1, 3]),
        )


# ---- folding


def skewed(seed: int, events: Iterable[Event]) -> list[Event]:
    """The same, with clocks that are now apart and now are not."""
    rng = random.Random(seed)
    clocks: dict[tuple[str, str, int], float] = {}
    found: list[Event] = []
    for event in events:
        clock = event.service, event.cohort, (event.second - START) // 30
        ahead = rng.choice([0, 0, 0, 1.5, 3, 4.5, -1.5, -2.5])
        delay = clocks.setdefault(clock, ahead) + rng.choice([0, 0.125, 1])
        found.append(event._replace(delay_seconds=delay))
    return found


class Sources:
    """Events spread over source partitions, folded into messages by target."""

    def __init__(
        self,
        events: Iterable[Event],
        *,
        partitions: int = 1,
        targets: int = 1,
        block_size: int = 64,
        is_cut_fine: bool = True,
        seed: int = 0,
        lateness_seconds: float = 0.0,
    ) -> None:
        self.messages: list[list[tuple[int, Panes]]] = []  # by source: target, message
        rng = random.Random(seed)
        parts: list[list[Event]] = [[] for _ in range(partitions)]
        for event in events:
            parts[rng.randrange(partitions)].append(event)
        settings = FoldSettings(
            targets=targets,
            sources={"t": partitions},
            lateness_seconds=lateness_seconds,
            block_size=block_size,
        )
        words = Words(lambda service: int(service[1:]) % targets)
        for number, part in enumerate(parts):
            fold = Fold(Source("t", number), words, native.decode, settings)
            sent = []
            for batch in _batches(part, is_cut_fine=is_cut_fine):
                fold.add(batch)
                if is_cut_fine:
                    fold.flush()
                sent += [(out.target, out.panes) for out in fold.take()]
            fold.finish()
            sent += [(out.target, out.panes) for out in fold.take()]
            self.messages.append(sent)

    def log(self, target: int = 0, *, seed: int | None = None) -> list[Panes]:
        """One target's messages: sources in turn, or in an order drawn by `seed`."""
        queues = [[p for at, p in sent if at == target] for sent in self.messages]
        rng = random.Random(seed)
        log: list[Panes] = []
        while any(queues):
            left = [queue for queue in queues if queue]
            queue = left[0] if seed is None else rng.choice(left)
            log.append(queue.pop(0))
        return log


def _batches(events: list[Event], *, is_cut_fine: bool) -> Iterator[Batch]:
    start = 0
    while start < len(events):
        end = start + 1
        while end < len(events) and (
            not is_cut_fine or events[end].second == events[start].second
        ):
            end += 1
        part = events[start:end]
        yield Batch(
            [event.value for event in part],
            np.arange(start, end),
            np.array([event.second + 0.25 + event.delay_seconds for event in part]),
        )
        start = end


# ---- the slow judge


class Said(NamedTuple):
    """What a decision comes down to."""

    service: str
    version: str | None
    second: int
    kind: str
    severity: str
    rules: tuple[tuple[Any, ...], ...]


class SlowJudge:
    """The rules as people read them, for one canary version of one service."""

    def __init__(
        self, policy: Policy, service: str, version: str | None, events: list[Event]
    ) -> None:
        self.policy, self.service, self.version = policy, service, version
        self.requests: dict[str, dict[int, list[Event]]] = {
            "canary": {},
            "baseline": {},
        }
        for event in events:
            if event.service == service and (
                event.cohort == "baseline" or event.version == version
            ):
                by_second = self.requests[event.cohort]
                by_second.setdefault(event.second, []).append(event)
        self.seen: dict[Any, list[Event]] = {}
        self.read: dict[Any, float | None] = {}
        self.rules = [
            (m, li) for m in policy.metrics for li in m.limits
            if li.applies_in(policy.stage)
        ]  # fmt: skip

    def decisions(self) -> list[Said]:
        """Every rollout of this version: a new one each time it was forgotten."""
        seconds = sorted(self.requests["canary"])
        found: list[Said] = []
        while seconds:
            first, last = seconds[0], seconds[0]
            for second in seconds:
                if second - last >= self.policy.forget_after_seconds:
                    break
                last = second
            seconds = [second for second in seconds if second > last]
            found += self._rollout(first, last)
        return found

    def _rollout(self, first: int, last: int) -> list[Said]:
        self.first = first
        self.over: dict[int, list[tuple[int, float | None, float]]] = {
            n: [] for n in range(len(self.rules))
        }  # judged seconds: second, reading where over, bound
        self.stands: set[int] = set()
        self.seen_for = self.blind_for = 0
        self.latch = (0, 0)
        said: list[Said] = []
        state, severity = 0, 1
        end = min(last + self.policy.forget_after_seconds, self.end)
        for second in range(first, end):
            self._look(second)
            self._clocks(second)
            wanted = max([self.latch, *(self._code(n) for n in self.stands)])
            if state == 3 and wanted[0] < 3:
                continue
            if wanted[0] != state or (state and wanted[1] > severity):
                before = severity
                state, severity = wanted[0], wanted[1] or 1
                told = severity if state else before
                said.append(self._said(second, state, told))
        return said

    def _code(self, number: int) -> tuple[int, int]:
        _, li = self.rules[number]
        return int(li.action), int(li.severity)

    end = START + 10**9

    def _window(
        self, cohort: str, second: int, length: int, *, critical: bool = False
    ) -> list[Event]:
        of_cohort = self.requests[cohort]
        key = self.first, cohort, second, length, critical
        if key not in self.seen:
            self.seen[key] = [
                event
                for at in range(second - length + 1, second + 1)
                for event in of_cohort.get(at, ())
                if event.is_critical or not critical
                if at >= self.first or cohort == "baseline"
            ]
        return self.seen[key]

    def _count(self, events: list[Event]) -> int:
        return sum(event.count for event in events)

    def _look(self, second: int) -> None:
        policy = self.policy
        canary, baseline = (
            self._count(self._window(cohort, second, policy.window_seconds))
            for cohort in ("canary", "baseline")
        )
        least = policy.least_requests
        is_blind = canary < least or baseline < least
        is_silent = self._is_silent(second)
        is_untrue = self._is_gone(second) or self._is_skewed(second)
        self.blind_for = self.blind_for + 1 if is_blind else 0
        is_seen = not (is_blind or is_silent or is_untrue)
        self.seen_for = self.seen_for + 1 if is_seen else 0
        if self.seen_for >= policy.clear_after_seconds:
            self.latch = (0, 0)
        if self.blind_for >= policy.hold_after_seconds or is_untrue:
            self.latch = max(self.latch, (1, 1))
        if is_silent:
            self.latch = (2, 2)

    def _is_silent(self, second: int) -> bool:
        policy = self.policy
        times = [at for at in self.requests["canary"] if self.first <= at <= second]
        if second - max(times) < policy.silent_after_seconds:
            return False
        everything = [e for at in times for e in self.requests["canary"][at]]
        if self._count(everything) < 50:
            return False
        of_late = self._count(
            self._window("baseline", second, policy.silent_after_seconds)
        )
        return of_late > 0 and self.expected(second) >= policy.silent_least_expected

    def expected(self, second: int) -> float:
        """Canary requests that its past share promised."""
        rates = self._rates(second)
        of_late = self._window("baseline", second, self.policy.silent_after_seconds)
        return rates[0] / rates[1] * self._count(of_late)

    def _is_gone(self, second: int) -> bool:
        """Whether canary and baseline have both fallen silent."""
        policy, first = self.policy, self.first
        times = [at for at in self.requests["canary"] if first <= at <= second]
        beside = [at for at in self.requests["baseline"] if first <= at <= second]
        silent = second - max(times + beside)
        seen = self._count([e for at in times for e in self.requests["canary"][at]])
        if silent < policy.silent_after_seconds or seen < 50:
            return False
        return sum(self._rates(second)) * silent >= policy.silent_least_expected

    def _is_skewed(self, second: int) -> bool:
        """Whether clocks are apart: over the window, and up to a sixth more."""
        policy, delays, limit = self.policy, {}, self.policy.skew_limit_seconds
        bucket = -(-policy.window_seconds // 6)
        first, is_settled = (second // bucket - 6) * bucket, True
        for cohort, of_cohort in self.requests.items():
            start = max(first, self.first) if cohort == "canary" else first
            times = [at for at in of_cohort if start <= at <= second]
            is_settled &= any(at < first + 2 * bucket for at in times)
            requests = self._window(cohort, second, policy.window_seconds)
            if self._count(requests) >= policy.least_requests:
                delays[cohort] = min(
                    e.delay_seconds for at in times for e in of_cohort[at]
                )
        if any(delay < -limit for delay in delays.values()):
            return True
        is_apart = (
            len(delays) == 2 and abs(delays["canary"] - delays["baseline"]) > limit
        )
        return is_settled and is_apart

    def _rates(self, second: int) -> list[float]:
        """Past requests a second of canary and baseline."""
        rates = []
        for cohort in ("canary", "baseline"):
            if not any(at <= second for at in self.requests[cohort]):
                rates.append(0.0)
                continue
            first = self.first if cohort == "canary" else self._first_baseline(second)
            of_cohort = self.requests[cohort]
            times = [at for at in of_cohort if first <= at <= second]
            last = max(times)
            weighted = sum(
                self._count(of_cohort[at]) * 0.5 ** ((last - at) / 300.0)
                for at in times
            )
            filled = 1 - 0.5 ** ((last + 1 - first) / 300.0)
            rates.append(math.log(2) / 300.0 * weighted / filled)
        return rates

    def _first_baseline(self, second: int) -> int:
        """Its first second since it was last forgotten."""
        times = sorted(at for at in self.requests["baseline"] if at <= second)
        first = times[0]
        canaries = sorted(self.canary_seconds)
        for before, after in pairwise(times):
            gone = before + self.policy.forget_after_seconds
            is_kept = any(
                seen <= gone < seen + self.policy.forget_after_seconds
                for seen in canaries
            )
            if after > gone and not is_kept:
                first = after
        return first

    canary_seconds: tuple[int, ...] = ()

    def _read(self, m: Metric, events: list[Event]) -> float | None:
        if not events:
            return None
        if m.measure is Measure.LATENCY:
            sketch = Sketch()
            sketch.update(
                [event.latency_ms for event in events],
                [event.count for event in events],
            )
            return sketch.quantile(m.quantile or 0.0)
        requests = self._count(events)
        errors = self._count([event for event in events if event.is_error])
        if m.measure is Measure.SUCCESS_RATIO:
            return (requests - errors) / requests
        return errors / requests

    def _sight(
        self, number: int, second: int
    ) -> tuple[bool, float | None, float | None, int]:
        """Whether a rule can be judged; reading, bound, requests."""
        m, li = self.rules[number]
        windows = [
            self._window(c, second, m.window_seconds, critical=li.critical_endpoints)
            for c in ("canary", "baseline")
        ]
        requests, others = map(self._count, windows)
        readings = []
        for role, window in enumerate(windows):
            key = self.first, role, m.name, li.critical_endpoints, second
            if key not in self.read:
                self.read[key] = self._read(m, window)
            readings.append(self.read[key])
        reading, other = readings
        is_judged = second in self.requests["canary"] and requests >= m.least_requests
        if li.against == "absolute":
            return is_judged, reading, li.bound_in(self.policy.stage), requests
        bound = None if other is None else li.bound_beside(other)
        return is_judged and others >= m.least_requests, reading, bound, requests

    def _clocks(self, second: int) -> None:
        for number, (_, li) in enumerate(self.rules):
            is_judged, reading, bound, _ = self._sight(number, second)
            if not is_judged:
                continue
            history = self.over[number]
            if history and second - history[-1][0] > self.policy.gap_seconds + 1:
                history.clear()
            assert reading is not None
            assert bound is not None
            is_over = li.is_broken_by(reading, bound)
            history.append((second, reading if is_over else None, bound))
            kept, held = self._run(number, over=False), self._run(number, over=True)
            if len(kept) >= self.policy.clear_after_seconds:
                self.stands.discard(number)
            if held and len(held) >= li.sustain_seconds:
                self.stands.add(number)

    def _run(self, number: int, *, over: bool) -> list[tuple[int, float | None, float]]:
        run = []
        for judged in reversed(self.over[number]):
            if (judged[1] is not None) is not over:
                break
            run.append(judged)
        return run[::-1]

    def _said(self, second: int, state: int, severity: int) -> Said:
        told = []
        order = sorted(self.stands, key=lambda n: (*(-c for c in self._code(n)), n))
        for number in order if state else ():
            _, reading, bound, requests = self._sight(number, second)
            run = self._run(number, over=True)
            if second - self.over[number][-1][0] > self.policy.gap_seconds:
                run = []
            told.append(
                (
                    self.rules[number][0].name,
                    reading,
                    bound,
                    requests,
                    len(run),
                    min(run, key=_beyond)[1] if run else None,
                    run[0][0] if run else None,
                )
            )
        return Said(
            self.service,
            self.version,
            second,
            Action(state).word,
            Severity(severity).word,
            tuple(told),
        )


def _beyond(judged: tuple[int, float | None, float]) -> float:
    _, reading, bound = judged
    assert reading is not None
    return abs(reading - bound)


def slowly(policy: Policy, events: list[Event]) -> list[Said]:
    """What the slow judge says of all of them, in the order of second and name."""
    last = max(event.second for event in events)
    said: list[Said] = []
    canaries = {(e.service, e.version) for e in events if e.cohort == "canary"}
    for service, version in canaries:
        judge = SlowJudge(policy, service, version, events)
        judge.end = last + 1
        judge.canary_seconds = tuple(
            e.second for e in events if e.service == service and e.cohort == "canary"
        )
        said += judge.decisions()
    return sorted(
        said,
        key=lambda s: (s.second, s.service, s.version is not None, s.version or ""),
    )
