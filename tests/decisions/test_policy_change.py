"""Another policy, or another image, takes over a state that it did not make."""

import sys
from pathlib import Path

import msgspec
import pytest

from guard import engine as engine_module
from guard.engine import Engine, decides_alike
from guard.explain import explain
from guard.register import ERA
from guard.rollout import State
from guard.verdict import Action, Severity

sys.path.insert(0, str(Path(__file__).parent.parent / "replay"))

from rollouts import START, Event, Sources, limit, metric, policy_of

SECONDS = 40
BAD, GOOD = "s0", "s1"
CUT = 20  # seconds after which the other policy takes over


def policy(above, **words):
    """Rolls back above this error ratio."""
    rule = limit(Severity.CRITICAL, Action.ROLLBACK, above, sustain_seconds=2)
    return policy_of(metric("error_ratio", rule), **words)


STRICT, MILD = policy(0.3), policy(0.9)


def log_of(failed):
    """Two services; five canary requests a second, so many of them failed in one."""
    events = [
        Event(START + second, service, cohort, version, 50.0, is_bad and n < failed)
        for second in range(SECONDS)
        for service in (BAD, GOOD)
        for cohort, version in (("canary", "v2"), ("baseline", "v1"))
        for n in range(5)
        for is_bad in [service == BAD and cohort == "canary"]
    ]
    return Sources(events).log()


def judged(engine, log, start=0):
    """Decisions of a part of the log."""
    return [
        decision
        for offset, panes in enumerate(log[start:], start)
        for decision in engine.apply(offset, panes)
    ]


def taken_over(policy_before, policy_after, log, **words):
    """What the second engine starts from, and where in the log."""
    first = Engine(policy_before)
    said = []
    for offset, panes in enumerate(log):
        said += first.apply(offset, panes)
        if first.chain.closed >= START + CUT:
            break
    state = msgspec.msgpack.decode(msgspec.msgpack.encode(first.state()), strict=False)
    return said, Engine.adopt(state, policy_after, **words), offset + 1


def kinds(decisions):
    """What was decided about whom, and why."""
    return [(d.service, d.decision, d.reasons[0].rule) for d in decisions]


def test_after_a_clean_stop_nothing_needs_to_be_said():
    """A stricter policy goes on with the windows of the other one."""
    log = log_of(failed=2)
    said, engine, start = taken_over(MILD, STRICT, log, owes_change=False)
    assert said == []
    decisions = judged(engine, log, start)
    assert kinds(decisions) == [(BAD, "rollback", "error_ratio")]
    assert decisions[0].evidence.views[0].canary.requests == 50
    assert decisions[0].policy.sha256 != Engine(MILD).state()["policy"]


def test_after_any_other_end_every_open_rollout_is_held():
    """It says why, its evidence holds, and it is cleared like any other hold."""
    log = log_of(failed=2)
    _, engine, start = taken_over(MILD, policy(0.95), log, owes_change=True)
    decisions = judged(engine, log, start)
    assert kinds(decisions) == [
        (BAD, "hold", "policy_changed"),
        (GOOD, "hold", "policy_changed"),
        (BAD, "clear", "clear"),
        (GOOD, "clear", "clear"),
    ]
    assert "the policy changed while" in decisions[0].reasons[0].text
    explained = [explain(decision) for decision in decisions]
    assert all(explanation.holds for explanation in explained)
    assert any("policy_changed" in trust for trust in explained[0].on_trust)


def test_a_rollback_stays_one():
    """Who was rolled back by the other policy is not held."""
    log = log_of(failed=2)
    said, engine, start = taken_over(STRICT, MILD, log, owes_change=True)
    assert kinds(said) == [(BAD, "rollback", "error_ratio")]
    held = [d for d in judged(engine, log, start) if d.decision == "hold"]
    assert kinds(held) == [(GOOD, "hold", "policy_changed")]
    rows = {r.service: row for row, r in engine.register.rollouts.items()}
    assert engine.register.standing(rows[BAD]).state is State.ROLLED_BACK


def test_no_id_is_used_by_two_policies():
    """The sequence numbers of an era begin behind all that the other one may use."""
    log = log_of(failed=2)
    said, engine, start = taken_over(STRICT, MILD, log, owes_change=True)
    numbers = [decision.sequence for decision in judged(engine, log, start)]
    assert max(decision.sequence for decision in said) < ERA < min(numbers)
    twice = Engine(MILD)
    for number in (1, 2):
        twice = Engine.adopt(twice.state(), STRICT, owes_change=True)
        again = Engine.from_state(twice.state(), STRICT)
        assert [d.sequence for d in judged(again, log)] == [number * ERA + 1]


def test_a_quiet_engine_judges_and_says_nothing():
    """Speaking again, it says at once what still holds."""
    log = log_of(failed=4)
    _, engine, start = taken_over(MILD, STRICT, log, owes_change=True)
    engine.is_quiet = True
    middle = (start + len(log)) // 2
    assert judged(engine, log[:middle], start) == []
    engine.is_quiet = False
    found = kinds(judged(engine, log, middle))
    assert found[:2] == [(BAD, "hold", "policy_changed"),
                         (GOOD, "hold", "policy_changed")]  # fmt: skip
    assert (BAD, "rollback", "error_ratio") in found


def test_a_quiet_engine_does_not_watch_aloud():
    """A drift in a canary without a baseline leads to no decision either."""
    words = {"watch": ("page_hinkley",), "hold_after_seconds": 500}
    events = [
        Event(START + second, BAD, "canary", "v2", 900.0 if second > 100 else 50.0)
        for second in range(130)
        for _ in range(5)
    ]
    log = Sources(events).log()
    loud, quiet = (Engine(policy(0.99, **words)) for _ in range(2))
    quiet.is_quiet = True
    assert "watch" in " ".join(rule for *_, rule in kinds(judged(loud, log)))
    assert judged(quiet, log) == []


def test_other_windows_begin_empty():
    """Sums of other lengths cannot be had from the old ones; the clock starts anew."""
    log = log_of(failed=2)
    longer = policy(0.3, window_seconds=15)
    _, engine, start = taken_over(MILD, longer, log, owes_change=False)
    assert engine.windows.sums(15).sum() == 0
    fresh = Engine.adopt(Engine(MILD).state(), longer, owes_change=False)
    assert kinds(judged(fresh, log)) == [(BAD, "rollback", "error_ratio")]
    decisions = judged(engine, log, start)
    assert kinds(decisions) == [(BAD, "rollback", "error_ratio")]
    assert all(explain(decision).holds for decision in decisions)


def test_what_is_owed_is_kept_in_the_state():
    """A worker that dies before it has told of the change tells it later."""
    log = log_of(failed=2)
    _, engine, start = taken_over(MILD, STRICT, log, owes_change=True)
    again = Engine.from_state(engine.state(), STRICT)
    assert judged(again, log, start) == judged(engine, log, start)


def test_an_image_that_decides_otherwise_is_told_apart(monkeypatch):
    """Its results carry a version of their own."""
    state = Engine(MILD).state()
    assert decides_alike(state, MILD)
    assert not decides_alike(state, STRICT)
    monkeypatch.setattr(engine_module, "RESULTS_VERSION", 99)
    assert not decides_alike(state, MILD)
    with pytest.raises(ValueError, match="other rules"):
        Engine.from_state(state, MILD)
