"""The life of a rollout, drawn from its own table."""

import pytest

from guard.rollout import TRANSITIONS, Standing, State, diagram, step
from guard.verdict import Action, Severity

EVERY = [(s, a) for s in State for a in Action]


def test_every_state_and_action_stands_in_the_table():
    """No pair is left to chance."""
    assert set(TRANSITIONS) == set(EVERY)


@pytest.mark.parametrize(("state", "action"), EVERY)
@pytest.mark.parametrize("severity", Severity)
@pytest.mark.parametrize("before", Severity)
def test_a_change_is_published_and_nothing_else(state, action, before, severity):
    """A new state, or a graver severity of the same one."""
    following, published = step(Standing(state, before), action, severity)
    assert following.state is TRANSITIONS[state, action]
    is_same = following.state is state
    is_graver = int(action) == int(state) > 0 and severity > before
    if is_same and not is_graver:
        assert (following, published) == ((state, before), None)
    else:
        assert (following.severity, published) == (severity, action)


def test_a_rollback_is_final():
    """From there only something graver is said."""
    for action in Action:
        assert TRANSITIONS[State.ROLLED_BACK, action] is State.ROLLED_BACK


@pytest.mark.parametrize("state", [s for s in State if s is not State.ROLLED_BACK])
def test_a_state_is_named_by_what_was_asked(state):
    """From any other state, what is wanted is where it goes."""
    for action in Action:
        assert int(TRANSITIONS[state, action]) == int(action)


def test_the_diagram_has_an_arrow_for_everything_published():
    """Drawn from the table: as many arrows as there are things to say."""
    lines = diagram().splitlines()
    assert lines[:2] == ["stateDiagram-v2", "    [*] --> WATCHED"]
    said = [
        (state, following, action)
        for (state, action), following in TRANSITIONS.items()
        if state is not following
    ]
    expected = {f"    {s.name} --> {f.name}: {a.word}" for s, f, a in said}
    expected |= {
        "    HELD --> HELD: hold, graver",
        "    IN_EVALUATION --> IN_EVALUATION: evaluate, graver",
        "    ROLLED_BACK --> ROLLED_BACK: rollback, graver",
    }
    assert set(lines[2:]) == expected
    assert diagram().endswith("\n")
