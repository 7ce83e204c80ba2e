"""A decision as a value: its names, its times, what is in its digest."""

import msgspec
import pytest

from guard.decision import (
    Decision,
    Evidence,
    PolicyName,
    deadline,
    decision_id,
    digest_of,
    instant,
    level_of,
    rollout_id,
)
from guard.verdict import Action

DECISION = Decision(
    id="1",
    service="cart",
    rollout="cart/v2/2022-08-22T03:53:54Z",
    canary="v2",
    stage="canary",
    decision="hold",
    severity="warning",
    level=None,
    deadline=None,
    reasons=[],
    evidence=Evidence(views=[], sources={"t/0": (0, 9)}),
    policy=PolicyName(name="p", sha256="0"),
    sequence=1,
    decided_at=instant(1661140434),
)


def test_instants_are_utc():
    """RFC 3339, with a Z, with as many digits as the second has."""
    assert instant(0) == "1970-01-01T00:00:00Z"
    assert instant(1661140434.25) == "2022-08-22T03:53:54.250000Z"


def test_no_two_rollouts_share_a_name():
    """Slashes in names, a missing version, one called as what is missing."""
    names = [
        rollout_id("a", "b/c", 0),
        rollout_id("a/b", "c", 0),
        rollout_id("a", None, 0),
        rollout_id("a", "", 0),
        rollout_id("a", "canary", 0),
        rollout_id("a%2Fb", "c", 0),
        rollout_id("a", "b", 1),
    ]
    assert len(set(names)) == len(names)


def test_the_id_is_that_of_what_is_decided():
    """Rollout, kind and number; nothing else."""
    assert decision_id("r", "hold", 1) == decision_id("r", "hold", 1)
    others = {decision_id(*key) for key in (("r", "hold", 2), ("r", "clear", 1))}
    others.add(decision_id("s", "hold", 1))
    assert len(others | {decision_id("r", "hold", 1)}) == 4


@pytest.mark.parametrize(
    ("action", "level", "until"),
    [
        (Action.CLEAR, None, None),
        (Action.HOLD, None, None),
        (Action.EVALUATE, None, "1970-01-01T00:15:00Z"),
        (Action.ROLLBACK, 1, "1970-01-01T00:05:00Z"),
    ],
)
def test_levels_and_deadlines_are_the_guides(action, level, until):
    """15 minutes to evaluate, 5 to switch a flag off."""
    assert (level_of(action), deadline(action, 0)) == (level, until)


def test_the_digest_is_of_what_log_and_policy_determine():
    """Neither who publishes it when, nor whether it does."""
    published = msgspec.structs.replace(DECISION, emitted_at="now", dry_run=True)
    assert digest_of(published) == digest_of(DECISION)
    again = msgspec.json.decode(msgspec.json.encode(published), type=Decision)
    assert digest_of(again) == digest_of(DECISION)
    other = msgspec.structs.replace(DECISION, sequence=2)
    assert digest_of(other) != digest_of(DECISION)
