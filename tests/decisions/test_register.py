"""Who is on trial: rows that are used again, and never for two at once."""

import numpy as np
import pytest

from guard.cohort import Cohort, Role
from guard.register import NOBODY, Register, Rollout
from guard.rollout import Standing, State
from guard.tally import CohortRows
from guard.verdict import Severity

CANARY, BASELINE = Role.CANARY, Role.BASELINE


class Entrance:
    """A register beside the rows of the windows."""

    def __init__(self):
        self.rows, self.register = CohortRows(), Register()

    def enter(self, service, role=CANARY, version=None, second=100, **words):
        cohort = Cohort(service, role, version, **words)
        row = self.rows[cohort]
        self.register.enter(cohort, self.rows, second)
        return row

    def row_of(self, service, version):
        names = {
            (r.service, r.version): row for row, r in self.register.rollouts.items()
        }
        return names[service, version]


def test_a_canary_version_is_on_trial_beside_its_baseline():
    """Each for itself, from its first second on; a baseline alone is not."""
    at = Entrance()
    baseline = at.enter("cart", BASELINE)
    assert at.register.rollouts == {}
    second, third = (
        at.enter("cart", version="v2"),
        at.enter("cart", version="v3", second=105),
    )
    at.enter("cart", version="v2", second=110)
    for row, version, canary, started in (
        (0, "v2", second, 100),
        (1, "v3", third, 105),
    ):
        assert at.register.rollouts[row] == Rollout("cart", version, started)
        assert at.register.column("canary")[row] == canary
        assert at.register.column("baseline")[row] == baseline
        assert at.register.column("last_canary")[row] == started
    assert at.register.rollouts[0].id == "cart/v2/1970-01-01T00:01:40Z"


def test_a_baseline_gets_its_row_before_it_comes():
    """So that nobody else's requests can be taken for it."""
    at = Entrance()
    at.enter("cart", version="v2")
    kept = at.register.column("baseline")[0]
    assert kept == at.enter("cart", BASELINE) != NOBODY


def test_critical_rows_are_linked_when_they_come_and_let_go():
    """By all versions of the service; nobody's before and after."""
    at = Entrance()
    at.enter("cart", version="v2")
    at.enter("cart", version="v3")
    columns = [
        at.register.column(f"critical_{role.value}") for role in (CANARY, BASELINE)
    ]
    assert [column[:2].tolist() for column in columns] == [[NOBODY] * 2] * 2
    critical = at.enter("cart", version="v3", is_critical=True)
    beside = at.enter("cart", BASELINE, is_critical=True)
    assert [column[:2].tolist() for column in columns] == [[0, critical], [beside] * 2]
    at.register.unlink(np.array([critical]))
    assert [column[:2].tolist() for column in columns] == [[0, 0], [beside] * 2]


def test_what_is_published_is_counted():
    """From 1 on, for every rollout."""
    at = Entrance()
    at.enter("cart", version="v2")
    assert at.register.standing(0) == Standing()
    held = Standing(State.HELD, Severity.CRITICAL)
    assert [at.register.publish(0, held), at.register.publish(0, Standing())] == [1, 2]
    at.register.publish(0, held)
    assert at.register.standing(0) == held


def test_a_row_is_used_again_and_is_clean():
    """The one with the smallest number first; more are made when none is left."""
    at = Entrance()
    for number in range(17):
        at.enter(f"s{number:02}", version="v2")
    assert at.register.size == 32
    for service in ("s05", "s03"):
        row = at.row_of(service, "v2")
        at.register.publish(row, Standing(State.ROLLED_BACK, Severity.IMMEDIATE))
        at.register.forget(row)
        assert at.register.column("canary")[row] == NOBODY
    at.enter("new", version="v1")
    assert at.row_of("new", "v1") == 3
    assert at.register.standing(3) == Standing()
    assert at.register.column("sequence")[3] == 0


def test_a_service_goes_with_its_last_version():
    """One version may go while the other stays."""
    at = Entrance()
    at.enter("cart", version="v2")
    at.enter("cart", version="v3")
    at.register.forget(0)
    assert at.register._of_service == {"cart": {"v3": 1}}
    at.register.forget(1)
    assert at.register._of_service == {}


def test_a_snapshot_holds_everything():
    """And goes on alike."""
    at = Entrance()
    for version in ("v2", "v3", None):
        at.enter("cart", version=version)
    at.register.publish(1, Standing(State.HELD))
    at.register.forget(0)
    again = Register.from_state(at.register.state())
    assert again.state() == at.register.state()
    for register in (again, at.register):
        register.enter(Cohort("cart", CANARY, "v4"), at.rows, 200)
    assert again.state() == at.register.state()


@pytest.mark.parametrize("name", ["canary", "sequence"])
def test_a_column_is_a_view(name):
    """What is written there is kept."""
    at = Entrance()
    at.enter("cart", version="v2")
    at.register.column(name)[0] = 7
    assert at.register.column(name)[0] == 7


def test_rollouts_have_an_order():
    """By service; no version before the empty one before any other."""
    names = [("b", "v1"), ("a", "v2"), ("a", ""), ("a", None)]
    ordered = sorted((Rollout(*name, 0) for name in names), key=lambda r: r.order)
    assert [(r.service, r.version) for r in ordered] == names[::-1]
