"""The judge as a state machine over one log: small stories, each with one point.

Random rollouts against a slow judge are in `tests/replay/test_replay_engine.py`.
"""

import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest

from guard.chain import Taken
from guard.cohort import Cell
from guard.decision import digest_of
from guard.engine import Engine
from guard.explain import explain
from guard.pane import FOREVER, Late, Panes, pack_ints
from guard.rollout import State
from guard.verdict import Action, Severity

sys.path.insert(0, str(Path(__file__).parent.parent / "replay"))

from rollouts import START, Event, Sources, limit, metric, policy_of

POLICY = policy_of(
    metric(
        "error_ratio",
        limit(Severity.WARNING, Action.HOLD, 0.1, sustain_seconds=2),
        limit(Severity.CRITICAL, Action.ROLLBACK, 0.5, sustain_seconds=2),
    )
)


def requests(service, seconds, *, cohorts=("canary", "baseline"), failed=0, each=5):
    """The same number of requests of each cohort in each of these seconds."""
    return [
        Event(
            START + n, service, cohort, version, 50.0, cohort == "canary" and i < failed
        )
        for n in seconds
        for cohort in cohorts
        for version in ["v2" if cohort == "canary" else "v1"]
        for i in range(each)
    ]


def run(events, policy=POLICY, **words):
    engine = Engine(policy)
    events = sorted(events, key=lambda event: event.second)
    log = Sources(events, **words).log()
    return engine, [d for i, panes in enumerate(log) for d in engine.apply(i, panes)]


def told(decisions):
    return [(d.decision, d.severity, [r.rule for r in d.reasons]) for d in decisions]


def test_a_fault_is_held_rolled_back_and_final():
    """As it grows graver; what comes after does not take it back."""
    events = requests("s0", range(10)) + requests("s0", range(10, 20), failed=5)
    engine, decisions = run(events + requests("s0", range(20, 60)))
    rules = ["error_ratio"]
    assert told(decisions) == [
        ("hold", "warning", rules),
        ("rollback", "critical", rules * 2),
    ]
    assert engine.register.standing(0).state is State.ROLLED_BACK
    rollback = decisions[-1]
    assert (rollback.level, rollback.sequence, rollback.stage) == (1, 2, "canary")
    assert rollback.reasons[0].text == (
        "error rate 70 % of 50 requests > critical limit 50 %, for 2 s (sustain 2 s)"
    )


def test_what_was_held_is_cleared():
    """With the severity that it was held with."""
    events = requests("s0", range(10)) + requests("s0", range(10, 13), failed=3)
    _, decisions = run(events + requests("s0", range(13, 60)))
    kinds = [("hold", "warning", ["error_ratio"]), ("clear", "warning", ["clear"])]
    assert told(decisions) == kinds


def test_a_milder_severity_of_the_same_action_is_no_news():
    """What was held as critical and is a warning now is still held."""
    policy = policy_of(
        metric(
            "error_ratio",
            limit(Severity.WARNING, Action.HOLD, 0.05),
            limit(Severity.CRITICAL, Action.HOLD, 0.3),
        )
    )
    events = requests("s0", range(10)) + requests("s0", range(10, 15), failed=5)
    _, decisions = run(events + requests("s0", range(15, 45), failed=1), policy)
    rules = ["error_ratio"]
    assert told(decisions) == [
        ("hold", "warning", rules),
        ("hold", "critical", rules * 2),
    ]


def test_a_canary_that_hangs_is_evaluated():
    """Soon after it began, when a fading rate alone would have promised too little."""
    events = requests("s0", range(600), cohorts=["baseline"])
    events += requests("s0", range(600, 620), cohorts=["canary"], each=4)
    _, decisions = run(events + requests("s0", range(600, 640), cohorts=["baseline"]))
    first = decisions[0]
    assert told([first])[0] == ("evaluate", "critical", ["canary_silent"])
    assert first.reasons[0].held_seconds == 5
    assert first.reasons[0].reading == pytest.approx(20, rel=0.05)


def test_a_service_that_falls_silent_is_held():
    """All of it: no data is never a pass."""
    events = requests("s0", range(15)) + requests("s1", range(60))
    _, decisions = run(events)
    (held,) = decisions
    assert (held.service, held.decision) == ("s0", "hold")
    assert [r.rule for r in held.reasons] == ["telemetry_silent"]
    assert held.reasons[0].text.startswith(
        "telemetry silent: no request of canary or baseline for 5 s, while their past "
        "promised "
    )
    assert held.reasons[0].reading == pytest.approx(50, rel=0.05)
    assert explain(held).holds


def test_a_service_that_was_hardly_seen_is_held_for_its_little_traffic():
    """Its past promises nothing, so its silence says nothing."""
    events = requests("s0", range(4)) + requests("s1", range(60))
    _, decisions = run(events)
    (held,) = decisions
    assert [r.rule for r in held.reasons] == ["no_baseline", "little_traffic"]
    assert "the last one came before 2023-11-14T22:13:24Z" in held.reasons[0].text
    assert explain(held).holds


def test_a_share_that_does_not_fit_the_weight_is_held():
    """With the share, the weight, and what it was made of; one that fits is not."""
    policy = msgspec.structs.replace(POLICY, weight=0.2)
    fits = requests("s0", range(300), cohorts=["canary"], each=5)
    fits += requests("s0", range(300), cohorts=["baseline"], each=20)
    assert run(fits, policy)[1] == []
    events = requests("s1", range(100), each=10)
    assert run(events)[1] == []
    (held,) = run(events, policy)[1]
    (reason,) = held.reasons
    assert reason.text == (
        f"canary share 50 % of {reason.requests:,} requests does not fit the rollout's "
        "weight of 20 % (chance under 1 %)"
    )
    assert held.evidence.split.requests == reason.requests
    assert explain(held).holds
    changed = msgspec.structs.replace(held.evidence.split, canary=1)
    evidence = msgspec.structs.replace(held.evidence, split=changed)
    again = msgspec.structs.replace(held, evidence=evidence)
    again = msgspec.structs.replace(again, digest=digest_of(again))
    assert not explain(again).holds
    none = msgspec.structs.replace(held.evidence, split=None)
    assert not explain(msgspec.structs.replace(held, evidence=none)).holds


def delayed(events, canary, baseline=0.0):
    """The same, each so long on its way."""
    return [
        event._replace(delay_seconds=canary if event.cohort == "canary" else baseline)
        for event in events
    ]


def test_clocks_that_are_apart_are_held_and_cleared():
    """With both delays; as long as the window holds nothing quicker."""
    events = delayed(requests("s0", range(30)), 3.25, 0.5)
    events += delayed(requests("s0", range(30, 80)), 0.5, 0.5)
    _, decisions = run(events, lateness_seconds=9.0)
    assert [d.decision for d in decisions] == ["hold", "clear"]
    (reason,) = decisions[0].reasons
    assert (reason.rule, reason.severity) == ("clock_skew", "warning")
    assert reason.text == (
        "clock skew: in 10 s Kafka saw the quickest canary request 3.25 s after its "
        "own time, the quickest baseline request 0.5 s after its own time: 2.75 s "
        "apart (limit 2 s)"
    )
    assert all(explain(decision).holds for decision in decisions)
    assert "clock_skew: when Kafka got each request" in explain(decisions[0]).on_trust
    lax = msgspec.structs.replace(POLICY, skew_limit_seconds=3)
    assert run(events, lax, lateness_seconds=9.0)[1] == []


def test_a_clock_that_is_ahead_of_kafka_is_held():
    """Also where it cannot be compared; it is told apart from the other reasons."""
    events = delayed(requests("s0", range(30)), -2.5, -2.5)
    _, decisions = run(events, lateness_seconds=9.0)
    assert told(decisions) == [("hold", "warning", ["clock_skew"])]
    assert (
        decisions[0]
        .reasons[0]
        .text.endswith("2.5 s ahead of Kafka's clock (limit 2 s)")
    )
    few = requests("s0", range(30), cohorts=["canary"], each=1)
    few += delayed(requests("s0", range(30), cohorts=["baseline"]), 0.0, -2.5)
    _, decisions = run(few, lateness_seconds=9.0)
    rules = ["little_traffic", "clock_skew"]
    assert told(decisions)[0] == ("hold", "warning", rules)
    reason = decisions[0].reasons[1]
    assert (reason.reading, reason.beside) == (None, -2.5)
    assert all(explain(decision).holds for decision in decisions)
    changed = msgspec.structs.replace(reason, beside=-1.5)
    again = msgspec.structs.replace(decisions[0], reasons=[changed])
    assert not explain(again).holds
    broken = [f.check for f in explain(again).findings if not f.ok]
    assert "reasons[0] is so" in broken


def test_a_row_that_is_used_again_knows_no_clock_of_another():
    """Also where the window is longer than the time after which one is forgotten."""
    words = {"window_seconds": 300, "forget_after_seconds": 60}
    policy = msgspec.structs.replace(POLICY, **words, hold_after_seconds=20)
    events = delayed(requests("s0", range(20)), -2.5, -2.5)
    events += requests("s2", range(200)) + requests("s1", range(90, 200))
    _, decisions = run(events, policy, lateness_seconds=9.0)
    skewed = [d for d in decisions if d.reasons[0].rule == "clock_skew"]
    assert {d.service for d in skewed} == {"s0"}


@pytest.mark.parametrize("phase", range(5))
def test_exporters_that_gather_are_no_skew(phase):
    """One sends at every fifth second, one at another; also where one begins late."""
    events = [
        event._replace(delay_seconds=4.75 - (event.second + shift) % 5)
        for event in requests("s0", range(90), each=40)
        for shift in [phase if event.cohort == "canary" else 0]
        if event.cohort == "baseline" or event.second >= START + 20 + phase
    ]
    assert run(events, lateness_seconds=9.0)[1] == []


def test_late_requests_hold_and_say_how_late():
    """They are in the evidence, and count for nothing else."""
    cell = Cell("s0", "v2", "canary", critical=False)
    engine = Engine(POLICY)
    log = Sources(requests("s0", range(12)), block_size=1 << 20).log()
    late = [Late(START + 8, cell, 7, 12.5)]
    told_late = [
        msgspec.structs.replace(panes, late=late)
        if panes.start == START + 8 or panes.start < START + 8 < panes.to
        else panes
        for panes in log
    ]
    decisions = [d for i, p in enumerate(told_late) for d in engine.apply(i, p)]
    (held,) = decisions
    assert [r.rule for r in held.reasons] == ["late_telemetry"]
    assert held.evidence.late_behind_seconds == 12.5
    assert held.evidence.views[0].canary.late == 7
    assert "a lateness of 12.5 s would have sufficed" in held.reasons[0].text
    assert explain(held).holds


def test_a_late_request_of_a_baseline_that_has_no_other():
    """A row whose rate is 0 promises nothing, and divides nothing."""
    cell = Cell("s0", "v1", "baseline", critical=False)
    events = requests("s0", range(12), cohorts=["canary"], each=10)
    events += requests("s1", range(40))
    events.sort(key=lambda event: event.second)
    log = Sources(events, block_size=1 << 20).log()
    engine = Engine(POLICY)
    for offset, panes in enumerate(log):
        late = [Late(START + 2, cell, 3, 9.0)] if panes.start == START + 2 else []
        engine.apply(offset, msgspec.structs.replace(panes, late=late))
    assert engine.register.standing(0).state is State.HELD


def test_late_requests_of_the_baseline_hold_too():
    """They are missing in what the canary is compared with."""
    cell = Cell("s0", "v1", "baseline", critical=False)
    log = Sources(requests("s0", range(12)), block_size=1 << 20).log()
    late, engine = [Late(START + 8, cell, 7, 12.5)], Engine(POLICY)
    decisions = []
    for offset, panes in enumerate(log):
        is_there = panes.start == START + 8 or panes.start < START + 8 < panes.to
        told = msgspec.structs.replace(panes, late=late) if is_there else panes
        decisions += engine.apply(offset, told)
    (held,) = decisions
    assert [r.rule for r in held.reasons] == ["late_baseline"]
    assert "of the baseline's " in held.reasons[0].text
    assert "a lateness of 12.5 s would have sufficed" in held.reasons[0].text
    assert explain(held).holds


def test_decisions_of_a_second_are_in_the_order_of_names():
    """Whatever row a service came to stand in."""
    names = [f"s{n}" for n in range(12)]
    late = names[5:] + names[:5]
    events = [e for n, name in enumerate(late) for e in requests(name, range(n, 30))]
    faults = [e for name in names for e in requests(name, range(30, 40), failed=5)]
    _, decisions = run(events + faults)
    by_second = {}
    for decision in decisions:
        by_second.setdefault(decision.decided_at, []).append(decision.service)
    assert max(map(len, by_second.values())) == 12
    assert all(services == sorted(services) for services in by_second.values())


def test_drift_without_a_baseline_is_held_and_stays_so():
    """Not cleared a second later; and nothing milder than what was said is said."""
    policy = policy_of(*POLICY.metrics, watch=("page_hinkley",), hold_after_seconds=500)
    events = requests("s0", range(100), cohorts=["canary"])
    slow = requests("s0", range(100, 130), cohorts=["canary"])
    slow = [event._replace(latency_ms=900.0 + i % 3) for i, event in enumerate(slow)]
    engine, decisions = run(events + slow, policy)
    assert {d.decision for d in decisions} == {"hold"}
    assert decisions[0].reasons[0].rule == "watch:page_hinkley:mean_latency"
    assert engine.register.standing(0).state is State.HELD
    failed = requests("s0", range(100, 130), cohorts=["canary"], failed=5)
    _, decisions = run(events + failed, policy)
    assert [d.decision for d in decisions][-1] == "rollback"


def test_drift_beside_a_baseline_is_not_looked_for():
    """Nor where the policy names no detector."""
    events = requests("s0", range(100))
    slow = [e._replace(latency_ms=900.0) for e in requests("s0", range(100, 130))]
    policy = policy_of(*POLICY.metrics, watch=("page_hinkley",))
    assert run(events + slow, policy)[1] == run(events + slow)[1] == []
    engine, _ = run(events, policy)
    assert engine._watch.state() == {}


def test_messages_that_do_not_go_on_change_nothing():
    """Offsets again, repeats and gaps are counted; decisions are not made twice."""
    events = requests("s0", range(10)) + requests("s0", range(10, 20), failed=5)
    log = Sources(events, block_size=16).log()
    engine = Engine(POLICY)
    before = []
    for offset, panes in enumerate(log):
        before += engine.apply(2 * offset, panes)
        assert engine.apply(2 * offset, panes) == []
        assert engine.apply(2 * offset + 1, panes) == []
    assert before == run(events, block_size=16)[1]
    assert (engine.taken[Taken.GOES_ON], engine.taken[Taken.GAP]) == (len(log), 0)
    assert engine.taken[Taken.REPEAT] == len(log)
    ahead = msgspec.structs.replace(log[0], block=99, sources={"t": 1})
    assert engine.apply(9999, ahead) == []
    assert engine.taken[Taken.GAP] == 1


def test_offsets_are_in_the_blocks_of_their_own_source():
    """Sources of two topics, whose blocks differ in size."""
    plain = requests("s0", range(10)) + requests("s0", range(10, 20), failed=5)
    panes = [
        [p for _, p in Sources(plain, block_size=size).messages[0]] for size in (64, 32)
    ]
    both = {"t": 1, "u": 1}
    engine, decisions = Engine(POLICY), []
    for offset in range(max(map(len, panes)) * 2):
        queue = panes[offset % 2]
        if queue:
            topic = "tu"[offset % 2]
            message = msgspec.structs.replace(queue.pop(0), topic=topic, sources=both)
            decisions += engine.apply(offset, message)
    sources = decisions[-1].evidence.sources
    assert sources["t/0"][1] % 64 == 63
    assert sources["u/0"][0] % 32 == 0
    assert sources["u/0"][1] < sources["t/0"][1] + 64


def test_a_replay_ends_with_its_last_second():
    """Nobody waits for what will not come."""
    engine, _ = run(requests("s0", range(10)))
    assert engine.chain.passed() == FOREVER
    assert engine.chain.closed == START + 10
    empty = Engine(POLICY)
    end = Panes(
        topic="t",
        partition=0,
        sources={"t": 1},
        block_size=16,
        block=0,
        start=0,
        to=FOREVER,
        is_last=True,
        seconds=pack_ints(np.empty(0, np.int64)),
    )
    assert empty.apply(0, end) == []


def test_who_forgets_a_row_forgets_where_it_came_from():
    """Of a row that is used again, the evidence knows nothing older."""
    policy = policy_of(
        metric(
            "error_ratio",
            limit(Severity.CRITICAL, Action.ROLLBACK, 0.5, sustain_seconds=2),
            window=300,
        ),
        forget_after_seconds=60,
        hold_after_seconds=60,
    )
    events = requests("s0", range(20)) + requests("s2", range(120))
    events += requests("s1", range(90, 110), failed=5)
    _, decisions = run(events, policy, block_size=16)
    rollback = next(d for d in decisions if d.service == "s1")
    offsets = [i for i, e in enumerate(sorted(events, key=lambda e: e.second))
               if e.service == "s1"]  # fmt: skip
    assert rollback.evidence.sources["t/0"][0] == offsets[0] // 16 * 16


def test_a_digest_is_that_of_the_decision():
    """So that two of one id can be compared."""
    events = requests("s0", range(10)) + requests("s0", range(10, 20), failed=5)
    _, decisions = run(events)
    assert [d.digest for d in decisions] == [digest_of(d) for d in decisions]


@pytest.mark.parametrize(
    ("change", "message"),
    [({"version": 99}, "state version 99"), ({"policy": "other"}, "another policy")],
)
def test_a_foreign_state_is_refused(change, message):
    """Of another version, or made under another policy."""
    state = Engine(POLICY).state()
    with pytest.raises(ValueError, match=message):
        Engine.from_state(state | change, POLICY)
