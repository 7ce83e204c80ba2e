"""The engine against a judge of lists and loops, and against itself cut elsewhere.

Random rollouts go through the real fold. How their records reach the engine must not
show in what it decides.
"""

import math
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guard.decision import Decision
from guard.engine import Engine
from guard.explain import explain
from guard.policy_words import METRICS
from guard.rules import encode
from guard.verdict import Action, Severity
from models.quantile import Sketch

sys.path.insert(0, str(Path(__file__).parent))

from rollouts import (
    CRITICAL,
    EVALUATE,
    HOLD,
    IMMEDIATE,
    RICH,
    ROLLBACK,
    START,
    WARNING,
    Event,
    Said,
    Sources,
    limit,
    metric,
    policy_of,
    skewed,
    slowly,
    traffic,
)

SEEDS = range(6)
LAX = policy_of(
    metric("error_ratio", limit(CRITICAL, ROLLBACK, 0.9)),
    window_seconds=20,
    least_requests=5,
)
AT_ONCE = policy_of(
    metric("error_ratio", limit(CRITICAL, ROLLBACK, 0.1), window=5, least=10),
    metric("latency_p95", limit(WARNING, HOLD, 250.0, sustain_seconds=6), window=20),
    gap_seconds=0,
    clear_after_seconds=1,
    stage="full",
)


def run(policy, log):
    engine = Engine(policy)
    return [d for i, panes in enumerate(log) for d in engine.apply(i, panes)]


def second_of(text):
    return int(datetime.fromisoformat(text).timestamp())


def said(decision: Decision) -> Said:
    rules = tuple(
        (
            r.rule,
            r.reading,
            r.bound,
            r.requests,
            r.held_seconds,
            r.least_reading,
            second_of(r.since) if r.since else None,
        )
        for r in decision.reasons
        if r.rule in METRICS
    )
    second = second_of(decision.decided_at) - 1
    kind, severity = decision.decision, decision.severity
    return Said(decision.service, decision.canary, second, kind, severity, rules)


@pytest.mark.slow
@pytest.mark.parametrize("policy", [RICH, AT_ONCE], ids=["rich", "at_once"])
@pytest.mark.parametrize("seed", SEEDS)
def test_the_engine_decides_as_the_slow_judge(seed, policy):
    """Kind, severity, second and the numbers of every reason."""
    events = traffic(seed)
    decisions = run(policy, Sources(events).log())
    assert slowly(policy, events) == [said(d) for d in decisions]


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_clocks_that_are_apart_are_held_as_the_slow_judge_holds(seed):
    """In any order of the messages, and across snapshots."""
    events = skewed(seed, traffic(seed))
    words = {"partitions": 2, "seed": seed, "lateness_seconds": 9.0}
    sources = Sources(events, **words)
    decisions = run(LAX, sources.log())
    assert slowly(LAX, events) == [said(d) for d in decisions]
    assert all(explain(decision).holds for decision in decisions)
    log = sources.log(seed=1)
    coarse = Sources(events, **words, is_cut_fine=False).log(seed=2)
    assert decisions == run(LAX, log) == run(LAX, coarse)
    again, found = Engine(LAX), []
    for offset, panes in enumerate(log):
        again = restored(again) if offset % 16 == 0 else again
        found += again.apply(offset, panes)
    assert found == decisions


def test_the_random_rollouts_show_everything():
    """A property over traffic that decides nothing would prove nothing."""
    decisions = [d for s in SEEDS for d in run(RICH, Sources(traffic(s)).log())]
    assert {d.decision for d in decisions} == {a.word for a in Action}
    assert {d.severity for d in decisions} == {s.word for s in Severity}
    rules = {r.rule for d in decisions for r in d.reasons}
    assert rules >= {*{m.name for m in RICH.metrics}, "little_traffic", "no_baseline"}
    assert "canary_silent" in rules
    apart = [Sources(skewed(s, traffic(s)), lateness_seconds=9.0) for s in SEEDS]
    skews = [
        {r.rule for d in run(LAX, sources.log()) for r in d.reasons}
        for sources in apart
    ]
    assert sum("clock_skew" in rules for rules in skews) >= 4


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_order_and_cut_of_the_messages_do_not_show(seed):
    """Sources in turn or in any order, a message a second or a block."""
    events = traffic(seed)
    fine = Sources(events, partitions=3, seed=seed)
    coarse = Sources(events, partitions=3, seed=seed, is_cut_fine=False)
    expected = run(RICH, fine.log())
    assert expected == run(RICH, fine.log(seed=1)) == run(RICH, fine.log(seed=2))
    assert expected == run(RICH, coarse.log()) == run(RICH, coarse.log(seed=3))


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_the_number_of_targets_does_not_show(seed):
    """A service's decisions are the same whatever else its engine judges."""
    events = traffic(seed)
    together = run(RICH, Sources(events, partitions=2).log())
    apart = Sources(events, partitions=2, targets=4)
    by_target = [run(RICH, apart.log(target, seed=target)) for target in range(4)]
    for service in {event.service for event in events}:
        own = [d for decisions in by_target for d in decisions if d.service == service]
        assert [d for d in together if d.service == service] == own


def restored(engine: Engine) -> Engine:
    packed = msgspec.msgpack.encode(engine.state())
    again = Engine.from_state(msgspec.msgpack.decode(packed), engine.policy)
    assert packed == msgspec.msgpack.encode(again.state())
    return again


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS[:4])
def test_a_snapshot_goes_on_as_if_nothing_had_been(seed):
    """At every message: the same decisions, and the same state bit for bit."""
    log = Sources(traffic(seed, 120), partitions=2, block_size=256).log(seed=seed)
    policy = msgspec.structs.replace(RICH, watch=("page_hinkley",))
    engine = again = Engine(policy)
    for offset, panes in enumerate(log):
        again = restored(again)
        assert engine.apply(offset, panes) == again.apply(offset, panes)
        assert engine.apply(offset, panes) == []
    ends = [msgspec.msgpack.encode(e.state()) for e in (engine, again)]
    assert ends[0] == ends[1]


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_quiet_seconds_may_be_skipped(seed, monkeypatch):
    """An engine that steps through every second says the same."""
    log = Sources(traffic(seed)).log()
    expected = run(RICH, log)
    monkeypatch.setattr(Engine, "_next_event", lambda _self, second, _before: second)
    monkeypatch.setattr(Engine, "_in_view", lambda self, _: np.flatnonzero(
        self.register.column("canary")
    ))  # fmt: skip
    started = next(panes for panes in log if panes.cells)
    engine = Engine(RICH)
    engine.chain.closed = int(min(_seconds(started))) - 1
    stepped = [d for i, panes in enumerate(log) for d in engine.apply(i, panes)]
    assert expected == stepped


def _seconds(panes):
    return np.frombuffer(panes.seconds[1:], f"<i{2 ** panes.seconds[0]}")


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_a_decision_can_be_recomputed_from_its_json(seed):
    """Also once it stands on the topic; and what stands there is JSON."""
    for decision in run(RICH, Sources(traffic(seed), partitions=2).log()):
        text = msgspec.json.encode(decision)
        again = msgspec.json.decode(text, type=Decision)
        assert msgspec.json.encode(again) == text
        explanation = explain(again)
        assert [f for f in explanation.findings if not f.ok] == []
        assert explanation.holds
        _each_number(msgspec.json.decode(text), _is_finite)


def _each_number(value: object, check: Callable[[float], None]) -> None:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for part in value:
            _each_number(part, check)
    elif isinstance(value, float):
        check(value)


def _is_finite(number: float) -> None:
    assert math.isfinite(number)


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_the_evidence_is_that_of_the_raw_events(seed):
    """Requests, errors, seconds, quantiles and offsets, added up from the events."""
    events = traffic(seed)
    size = 32
    decisions = run(RICH, Sources(events, block_size=size).log())
    for decision in decisions:
        offsets = []
        for view in decision.evidence.views:
            end = second_of(view.end)
            inside = [
                (offset, event)
                for offset, event in enumerate(events)
                if end - view.window_seconds <= event.second < end
                and event.service == decision.service
                and (event.is_critical or not view.critical_only)
            ]
            started = second_of(decision.rollout[-20:])
            canary = [
                (offset, event)
                for offset, event in inside
                if event.cohort == "canary" and event.version == decision.canary
                if event.second >= started
            ]
            baseline = [part for part in inside if part[1].cohort == "baseline"]
            for part, cohort in ((canary, view.canary), (baseline, view.baseline)):
                _holds(cohort, [event for _, event in part], end - view.window_seconds)
                offsets += [offset for offset, _ in part]
        blocks = [offset // size for offset in offsets]
        expected = {"t/0": (min(blocks) * size, (max(blocks) + 1) * size - 1)}
        assert decision.evidence.sources == expected


def _holds(cohort, events, start):
    assert cohort.requests == sum(event.count for event in events)
    assert cohort.errors == sum(event.count for event in events if event.is_error)
    seconds = sorted({event.second for event in events})
    series = [
        (
            second - start,
            sum(e.count for e in events if e.second == second),
            sum(e.count for e in events if e.second == second and e.is_error),
        )
        for second in seconds
    ]
    assert cohort.seconds == series
    assert cohort.status.get("5xx", 0) == cohort.errors
    if events:
        sketch = Sketch()
        sketch.update([e.latency_ms for e in events], [e.count for e in events])
        assert cohort.buckets == sketch.entries()
        assert cohort.latency_ms.p99 == sketch.quantile(0.99)
    else:
        assert cohort.latency_ms is None


# ---- strictness

LOG = Sources(
    sorted(
        (
            event._replace(service=f"{event.service}{seed}")
            for seed in (0, 3)
            for event in traffic(seed, 90)
        ),
        key=lambda event: event.second,
    )
).log()


def _of_one(name, severity, action, bound, sustain):
    return policy_of(
        metric(name, limit(severity, action, bound, sustain_seconds=sustain))
    )


def _graveness(decisions):
    """By rollout: the second of the first decision, and how grave every second is."""
    by_rollout: dict[str, list[tuple[int, int]]] = {}
    for d in decisions:
        code = encode(Action[d.decision.upper()], Severity[d.severity.upper()])
        told = by_rollout.setdefault(d.rollout, [])
        told.append((second_of(d.decided_at), code))
    return by_rollout


def _at(told, second):
    codes = [code for at, code in told if at <= second]
    return codes[-1] if codes else 0


@pytest.mark.slow
@settings(max_examples=25)
@given(
    st.sampled_from([("error_ratio", 1.0), ("latency_p95", 1500.0)]),
    st.sampled_from(
        [
            (WARNING, HOLD),
            (CRITICAL, EVALUATE),
            (CRITICAL, ROLLBACK),
            (IMMEDIATE, ROLLBACK),
        ]
    ),
    st.tuples(st.floats(0.01, 0.6), st.floats(0.1, 1.0)),
    st.tuples(st.integers(0, 15), st.integers(0, 15)),
)
def test_a_stricter_policy_never_judges_milder(measured, asked, bounds, sustains):
    """A lower bound or a shorter sustain: as grave at every second, never later."""
    name, scale = measured
    bound, factor = scale * bounds[0], bounds[1]
    lax = _of_one(name, *asked, bound, max(sustains))
    strict = _of_one(name, *asked, bound * factor, min(sustains))
    mild, grave = _graveness(run(lax, LOG)), _graveness(run(strict, LOG))
    for rollout, told in mild.items():
        assert grave[rollout][0][0] <= told[0][0]
        for second, code in told:
            assert _at(grave[rollout], second) >= code


# ---- coming and going


def steady(service, start, seconds, *, rate=4, errors=0, version="v2", **words):
    """Both cohorts at the same rate; so many of the canary's requests fail."""
    for second in range(start, start + seconds):
        for cohort in ("canary", "baseline"):
            of_cohort = version if cohort == "canary" else "v1"
            for number in range(rate):
                is_error = cohort == "canary" and number < errors
                yield Event(
                    second, service, cohort, of_cohort, 100.0, is_error, **words
                )


def test_who_comes_back_after_being_forgotten_is_a_new_rollout():
    """Another id, and nothing left of what was said before."""
    events = [*steady("s0", START, 20, errors=4)]
    events += [*steady("s0", START + 400, 20, errors=4)]
    decisions = run(RICH, Sources(events).log())
    first, second = (d for d in decisions if d.severity == "immediate")
    assert first.sequence == second.sequence
    assert first.rollout != second.rollout
    assert first.id != second.id
    assert second_of(second.rollout[-20:]) == START + 400


def test_critical_rows_are_let_go_before_another_takes_them():
    """A critical cohort's row goes to a stranger; no view may follow it there."""
    policy = policy_of(
        metric(
            "success_ratio",
            limit(CRITICAL, ROLLBACK, 0.9, over=False, critical_endpoints=True),
        ),
        forget_after_seconds=60,
    )
    events = [
        *steady("s0", START, 10, is_critical=True),
        *steady("s0", START + 10, 140),
    ]
    events += [*steady("s1", START + 80, 60, errors=4, is_critical=True)]
    events.sort(key=lambda event: event.second)
    decisions = run(policy, Sources(events).log())
    assert {d.service for d in decisions if d.decision == "rollback"} == {"s1"}
    again = [*events, *steady("s0", START + 150, 30, errors=4, is_critical=True)]
    decisions = run(policy, Sources(again).log())
    assert {d.service for d in decisions if d.decision == "rollback"} == {"s0", "s1"}


def test_nobodys_row_is_never_given_away():
    """With as many rollouts as there are rows, row 0 was forgotten like any other."""
    events = [e for n in range(16) for e in steady(f"s{n}", START, 3)]
    events += list(steady("s99", START + 1000, 3))
    events.sort(key=lambda event: event.second)
    engine = Engine(RICH)
    for offset, panes in enumerate(Sources(events, block_size=4096).log()):
        engine.apply(offset, panes)
    assert 0 not in engine.tally.cohorts.values()
    assert len(engine.register.rollouts) == 1


@pytest.mark.slow
def test_services_that_come_and_go_leave_nothing_behind():
    """10,000 services, some at a time: no more rows than were there at once."""
    policy = policy_of(*RICH.metrics, forget_after_seconds=60, hold_after_seconds=60)
    events = [
        event
        for second in range(2500)
        for n in range(4)
        for event in steady(f"s{4 * second + n}", START + second, 1, rate=1)
    ]
    engine = Engine(policy)
    most = 0
    for offset, panes in enumerate(Sources(events, block_size=1 << 20).log()):
        engine.apply(offset, panes)
        most = max(most, len(engine.register.rollouts))
    assert most <= 62 * 4
    assert engine.tally.cohorts.size <= 64 * 4 * 2 + 1
    assert engine.register.size <= 512
    assert len(engine.register._of_service) <= most
    assert len(msgspec.msgpack.encode(engine.state())) < 1_000_000


def test_a_baseline_alone_leaves_nothing_behind():
    """A service without any canary is forgotten too."""
    events = [Event(START + n, f"s{n}", "baseline", "v1", 1.0) for n in range(300)]
    engine = Engine(RICH)
    for offset, panes in enumerate(Sources(events).log()):
        engine.apply(offset, panes)
    assert engine.register._of_service == {}
    assert engine.tally.cohorts.size <= 125
