"""Who is idle costs nothing, and is let go of in the end.

What the engine looks at is counted, not timed: the rows that the judge is shown.
"""

import sys
from pathlib import Path

import pytest

from guard.engine import Engine
from guard.judge import Judge

sys.path.insert(0, str(Path(__file__).parent))

from rollouts import CRITICAL, ROLLBACK, START, Event, Sources, limit, metric, policy_of

POLICY = policy_of(metric("error_ratio", limit(CRITICAL, ROLLBACK, 0.5)))
SETTLES = 10 + 8 + 1  # its window, its time to hold, and the second itself


@pytest.fixture
def looked_at(monkeypatch):
    """By second, how many rollouts the judge was shown."""
    shown = {}
    judge = Judge.judge

    def noting(self, rows, sight):
        shown[sight.second] = len(rows)
        return judge(self, rows, sight)

    monkeypatch.setattr(Judge, "judge", noting)
    return shown


def pair(second, service, version="v2", count=1):
    yield Event(second, service, "canary", version, 50.0, count=count)
    yield Event(second, service, "baseline", "v1", 50.0, count=count)


def applied(events, policy=POLICY, *, is_quiet=False):
    engine = Engine(policy)
    engine.is_quiet = is_quiet
    log = Sources(events, block_size=1 << 20).log()
    return engine, [d for i, panes in enumerate(log) for d in engine.apply(i, panes)]


def test_only_who_had_traffic_of_late_is_looked_at(looked_at):
    """A thousand services speak for one second, one goes on."""
    events = [e for n in range(1, 1001) for e in pair(START, f"s{n}")]
    events += [e for n in range(100) for e in pair(START + n, "s0")]
    events.sort(key=lambda event: event.second)
    applied(events)
    assert looked_at[START + SETTLES] == 1001
    after = [rows for second, rows in looked_at.items() if second > START + SETTLES]
    assert after == [1] * (99 - SETTLES)


def test_seconds_in_which_nobody_speaks_are_skipped(looked_at):
    """A day of silence costs the seconds until what it means has been said."""
    policy = policy_of(*POLICY.metrics, forget_after_seconds=7 * 86_400)
    events = [*pair(START, "s0"), *pair(START + 86_400, "s0")]
    applied(events, policy)
    assert len(looked_at) <= SETTLES + 3


def test_fifty_versions_of_a_service_are_judged_each_for_itself(looked_at):
    """Beside one baseline; a fault of one is the fault of no other."""
    versions = [f"v{n}" for n in range(2, 52)]
    events = [
        event
        for n in range(20)
        for version in versions
        for event in (
            Event(START + n, "s0", "canary", version, 50.0, version == "v7", count=9),
            Event(START + n, "s0", "baseline", "v1", 50.0),
        )
    ]
    engine, decisions = applied(events)
    assert [(d.canary, d.decision) for d in decisions] == [("v7", "rollback")]
    assert len(engine.register.rollouts) == 50
    assert len(set(engine.register.column("baseline")[:50].tolist())) == 1
    assert set(looked_at.values()) == {50}


def test_who_is_held_for_little_traffic_is_held_once():
    """Each service of many, and nothing is said again."""
    _, decisions = applied([e for n in range(100) for e in pair(START, f"s{n}")])
    assert decisions == []  # the replay ended before
    events = [e for n in range(100) for e in pair(START, f"s{n}")]
    _, decisions = applied([*events, *pair(START + 100, "s0")])
    assert len(decisions) == len({d.service for d in decisions}) == 100
    assert {d.decision for d in decisions} == {"hold"}


@pytest.mark.slow
def test_ten_thousand_services_with_little_each(looked_at):
    """Looked at while that can change anything, and let go of in the end."""
    events = [e for n in range(10_000) for e in pair(START + n // 2500, f"s{n}")]
    events += [e for n in range(4, 200) for e in pair(START + n, "s0", count=9)]
    engine, _ = applied(events, is_quiet=True)
    assert max(looked_at.values()) == 10_000
    assert looked_at[START + 60] == 1
    assert next(iter(engine.register.rollouts.values())).service == "s0"
    assert len(engine.register.rollouts) == 1
    assert len(engine.tally.cohorts) == 2
    assert (
        engine.windows.sums(10).sum()
        == engine.windows.sums(10)[sorted(engine.tally.cohorts.values())].sum()
    )
    assert engine._watch.state() == {}
