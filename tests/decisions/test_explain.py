"""A decision recomputed from its own evidence, and caught where it was changed."""

import sys
from pathlib import Path

import msgspec
import pytest

from guard.decision import Decision, digest_of
from guard.engine import Engine
from guard.explain import explain

sys.path.insert(0, str(Path(__file__).parent.parent / "replay"))

from rollouts import RICH, START, Event, Sources, policy_of, traffic


def decisions(events, policy=RICH):
    engine = Engine(policy)
    log = Sources(events).log()
    return [d for i, panes in enumerate(log) for d in engine.apply(i, panes)]


def faulty():
    """Healthy, then a fault of every kind, then healthy again."""
    for n in range(80):
        is_bad = 20 <= n < 45
        for number in range(10):
            failed, slow = is_bad and number < 5, 700.0 if is_bad else 90.0 + number
            yield Event(START + n, "s0", "canary", "v2", slow, failed, number < 6)
            if n < 70:
                yield Event(START + n, "s0", "baseline", "v1", 90.0 + number)


def silent():
    """A canary that hangs while its baseline goes on."""
    for n in range(60):
        for number in range(10):
            yield Event(START + n, "s0", "baseline", "v1", 90.0 + number)
            if n < 30:
                yield Event(START + n, "s0", "canary", None, 90.0 + number)


def mild():
    """As bad as is only held, and well again."""
    for n in range(90):
        for number in range(20):
            is_error = n in range(30, 45) and number < 1
            yield Event(START + n, "s0", "baseline", "v1", 90.0 + number)
            yield Event(START + n, "s0", "canary", "v2", 90.0 + number, is_error)


def gone():
    """A service of which nothing is heard any more, and then again."""
    for n in (*range(20), *range(28, 60)):
        for number in range(10):
            yield Event(START + n, "s0", "baseline", "v1", 90.0 + number)
            yield Event(START + n, "s0", "canary", "v2", 90.0 + number)


WEIGHTED = policy_of(*RICH.metrics, weight=0.2)

EVERY = [*decisions(faulty()), *decisions(silent()), *decisions(mild())]
EVERY += [*decisions(gone()), *decisions(mild(), WEIGHTED)]

IDS = [f"{number}-{decision.decision}" for number, decision in enumerate(EVERY)]


def test_these_are_decisions_of_every_kind():
    """Else nothing below would prove much."""
    assert {d.decision for d in EVERY} == {"hold", "evaluate", "rollback", "clear"}
    rules = {reason.rule for d in EVERY for reason in d.reasons}
    assert rules >= {*(m.name for m in RICH.metrics), "clear", "canary_silent"}
    assert rules >= {"telemetry_silent", "sample_ratio"}


@pytest.mark.parametrize("decision", EVERY, ids=IDS)
def test_what_the_engine_decides_holds(decision):
    """On the topic, where it was stamped too; and it says what is taken on trust."""
    stamped = msgspec.structs.replace(decision, emitted_at="now", dry_run=True)
    again = msgspec.json.decode(msgspec.json.encode(stamped), type=Decision)
    explanation = explain(again)
    assert [f for f in explanation.findings if not f.ok] == []
    assert explanation.holds
    assert any("policy" in assumption for assumption in explanation.on_trust)


def numbers_in(value, path=()):
    """Paths to every number in it."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield from numbers_in(part, (*path, key))
    elif isinstance(value, list):
        for place, part in enumerate(value):
            yield from numbers_in(part, (*path, place))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield path


def with_changed(plain, path, change):
    copy = msgspec.json.decode(msgspec.json.encode(plain))
    at = copy
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = change(at[path[-1]])
    return msgspec.convert(copy, Decision)


CHANGES = {
    "one more": lambda x: x + 1,
    "one less": lambda x: x - 1,
    "a little": lambda x: 1.0001 * x + 1e-9 if isinstance(x, float) else x + 1,
    "nothing": lambda x: 0 if x else 1,
    "negative": lambda x: -x - 1,
    "huge": lambda _: 2**40,
}


@pytest.mark.slow
@pytest.mark.parametrize("decision", EVERY, ids=IDS)
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_any_number_changed_is_found(decision, change):
    """Every one in the evidence, the reasons and the decision; none crashes it."""
    plain = msgspec.json.decode(msgspec.json.encode(decision))
    paths = list(numbers_in(plain))
    assert len(paths) > 80
    for path in paths:
        assert not explain(with_changed(plain, path, change)).holds, path


# Offsets, the policy's, the past's; and buckets and seconds that no reading goes by.
BELIEVED = {
    *("t/0", "least_requests", "least_bound", "late_behind_seconds"),
    *("buckets", "seconds", "late", "blocks", "log_evidence"),
}


def _more(number):
    return type(number)(1.2 * number + 1)


@pytest.mark.parametrize("decision", EVERY, ids=IDS)
def test_who_writes_a_new_digest_is_still_found(decision):
    """What can be recomputed is recomputed; the digest is only the last resort."""
    plain = msgspec.json.decode(msgspec.json.encode(decision))
    missed = set()
    for path in numbers_in(plain):
        changed = with_changed(plain, path, _more)
        sealed = msgspec.structs.replace(changed, digest=digest_of(changed))
        if explain(sealed).holds:
            missed.add(next(key for key in reversed(path) if isinstance(key, str)))
    assert missed <= BELIEVED


WORDS = [
    ("decision", "clear"),
    ("decision", "nonsense"),
    ("severity", "nonsense"),
    ("deadline", "2023-11-14T22:13:26Z"),
    ("decided_at", "2023-11-14T22:13:26Z"),
    ("decided_at", "nonsense"),
    ("service", "s1"),
    ("rollout", "s1/v2"),
    ("canary", "v9"),
    ("reasons", []),
]


@pytest.mark.parametrize(("name", "value"), WORDS)
def test_a_changed_word_is_found(name, value):
    """Also one that makes it unreadable; a new digest helps only with names."""
    rollback = next(d for d in EVERY if d.decision == "rollback")
    changed = msgspec.structs.replace(rollback, **{name: value})
    assert not explain(changed).holds
    sealed = msgspec.structs.replace(changed, digest=digest_of(changed))
    assert explain(sealed).holds == (name == "service")


def changed_reason(decision, place=0, **fields):
    reasons = list(decision.reasons)
    reasons[place] = msgspec.structs.replace(reasons[place], **fields)
    return msgspec.structs.replace(decision, reasons=reasons)


@pytest.mark.parametrize(
    "fields",
    [
        {"rule": "nonsense"},
        {"text": "all is well"},
        {"severity": "nonsense"},
        {"action": "hold"},
        {"window_seconds": 7},
        {"critical_only": True},
        {"since": "2024-11-14T22:13:26Z"},
        {"since": None},
        {"reading": None},
        {"least_reading": None},
        {"bound": None},
        {"held_seconds": None},
    ],
)
def test_a_changed_reason_is_found(fields):
    """Whatever is changed in it."""
    rollback = next(d for d in EVERY if d.decision == "rollback")
    changed = changed_reason(rollback, **fields)
    explanation = explain(changed)
    broken = [f.check for f in explanation.findings if not f.ok]
    assert [check for check in broken if check != "digest"] != []


def test_it_tells_what_it_takes_on_trust():
    """By the reasons that there are."""
    told = {line.split(":")[0] for d in EVERY for line in explain(d).on_trust}
    assert told >= {"error_ratio", "clear", "canary_silent"}


def test_a_watch_is_believed():
    """What a detector saw is not in the evidence."""
    policy = policy_of(*RICH.metrics, watch=("page_hinkley",), hold_after_seconds=120)
    events = [
        Event(START + n, "s0", "canary", "v2", 90.0 if n < 100 else 900.0 + n % 3)
        for n in range(130)
        for _ in range(5)
    ]
    (first, *_) = (d for d in decisions(events, policy) if d.reasons[0].rule[0] == "w")
    assert explain(first).holds
    assert any("detector" in line for line in explain(first).on_trust)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20, 26))
def test_random_decisions_hold(seed):
    """Gaps, late rules, blindness: whatever the traffic does."""
    for decision in decisions(traffic(seed, 120)):
        assert [f for f in explain(decision).findings if not f.ok] == []
