"""The life of a rollout: from what the judge wants to what is published.

A rollout is watched until a limit is broken or it cannot be judged. The judge keeps a
broken limit standing until it has been kept for the policy's time again, so what it
wants does not flicker; here the change alone is published, whichever way it goes. A
graver severity of the same action is news too.

A rollback is final: a canary that looks well again after it was told to go is not
well, it has no traffic or flaps. Only something graver is still said.
"""

import enum
from typing import NamedTuple

from guard.verdict import Action, Severity


class State(enum.IntEnum):
    """What was last published about a rollout; the order of gravity."""

    WATCHED = 0
    HELD = 1
    IN_EVALUATION = 2
    ROLLED_BACK = 3


class Standing(NamedTuple):
    """A rollout's state and the severity it was published with."""

    state: State = State.WATCHED
    severity: Severity = Severity.WARNING


W, H, E, R = State
TRANSITIONS: dict[tuple[State, Action], State] = {
    (W, Action.CLEAR): W,
    (W, Action.HOLD): H,
    (W, Action.EVALUATE): E,
    (W, Action.ROLLBACK): R,
    (H, Action.CLEAR): W,
    (H, Action.HOLD): H,
    (H, Action.EVALUATE): E,
    (H, Action.ROLLBACK): R,
    (E, Action.CLEAR): W,
    (E, Action.HOLD): H,
    (E, Action.EVALUATE): E,
    (E, Action.ROLLBACK): R,
    (R, Action.CLEAR): R,
    (R, Action.HOLD): R,
    (R, Action.EVALUATE): R,
    (R, Action.ROLLBACK): R,
}


def step(
    standing: Standing, wanted: Action, severity: Severity
) -> tuple[Standing, Action | None]:
    """Return the next standing, and the action to publish where there is news.

    >>> step(Standing(), Action.HOLD, Severity.WARNING)[1].word
    'hold'
    """
    following = TRANSITIONS[standing.state, wanted]
    is_graver = int(wanted) == int(following) and severity > standing.severity
    if following is standing.state and (following is State.WATCHED or not is_graver):
        return standing, None
    return Standing(following, severity), wanted


def diagram() -> str:
    """Draw the table for Mermaid: an arrow for every change, and what is published."""
    lines = ["stateDiagram-v2", f"    [*] --> {State.WATCHED.name}"]
    for (state, action), following in TRANSITIONS.items():
        if following is not state:
            lines.append(f"    {state.name} --> {following.name}: {action.word}")
        elif int(action) == int(following) and state is not State.WATCHED:
            lines.append(f"    {state.name} --> {state.name}: {action.word}, graver")
    return "\n".join([*lines, ""])
