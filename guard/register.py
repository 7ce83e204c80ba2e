"""The rollouts of a target partition: who is on trial, and what was said of it.

Rows of integers, so that a second of many rollouts is judged at once. Without a rollout
event a canary version is on trial from its first second on, at the policy's stage.
"""

from typing import Any, NamedTuple

import numpy as np

from guard.cohort import Cohort, Role
from guard.decision import rollout_id
from guard.pane import Ints
from guard.rollout import Standing, State
from guard.tally import CohortRows
from guard.verdict import Severity

ERA = 1_000_000  # sequence numbers that a change of policy skips
NOBODY = 0  # the row of windows that never holds anything


class Rollout(NamedTuple):
    """One canary version of one service on trial."""

    service: str
    version: str | None
    started: int  # the first second that holds a request of it

    @property
    def id(self) -> str:
        """Name it as decisions do."""
        return rollout_id(*self)

    @property
    def order(self) -> tuple[str, bool, str]:
        """Where it stands among the others of a second."""
        return self.service, self.version is not None, self.version or ""


class Register:
    """Rollouts by row.

    `canary`, `baseline` and their critical parts are rows of the windows; `NOBODY`
    where there is no such request yet.
    """

    _COLUMNS = (
        "canary", "baseline", "critical_canary", "critical_baseline",
        "last_canary", "last_baseline", "canary_seen", "state", "severity", "sequence",
    )  # fmt: skip

    def __init__(self) -> None:
        self.rollouts: dict[int, Rollout] = {}
        self._of_service: dict[str, dict[str | None, int]] = {}
        self._free: list[int] = []
        self._columns = np.zeros((len(self._COLUMNS), 0), np.int64)
        self._era = 0  # what the sequence numbers of new rollouts begin behind

    def column(self, name: str) -> Ints:
        """Return a column by its name; a view, to be read and changed."""
        column: Ints = self._columns[self._COLUMNS.index(name)]
        return column

    @property
    def size(self) -> int:
        """Rows there is room for."""
        return self._columns.shape[1]

    def enter(self, cohort: Cohort, rows: CohortRows, second: int) -> None:
        """Take notice of a cohort's first requests."""
        service, role, version, _ = cohort
        if role is Role.CANARY and version not in self._of_service.get(service, {}):
            row = self._begin(Rollout(service, version, second), rows)
            self._of_service.setdefault(service, {})[version] = row
        for row in self._of_service.get(service, {}).values():
            self._link(row, self.rollouts[row], rows)

    def _begin(self, rollout: Rollout, rows: CohortRows) -> int:
        if not self._free:
            size = self.size
            wide = np.zeros((len(self._COLUMNS), max(16, size)), np.int64)
            self._columns = np.hstack((self._columns, wide))
            self._free = list(range(self.size - 1, size - 1, -1))
        row = self._free.pop()
        self._columns[:, row] = 0
        self.rollouts[row] = rollout
        self.column("canary")[row] = rows[
            Cohort(rollout.service, Role.CANARY, rollout.version)
        ]
        self.column("baseline")[row] = rows[Cohort(rollout.service, Role.BASELINE)]
        self.column("last_baseline")[row] = self.column("last_canary")[row] = (
            rollout.started
        )
        self.column("severity")[row] = Severity.WARNING
        self.column("sequence")[row] = self._era
        return row

    def _link(self, row: int, rollout: Rollout, rows: CohortRows) -> None:
        service, version, _ = rollout
        canary = Cohort(service, Role.CANARY, version, is_critical=True)
        baseline = Cohort(service, Role.BASELINE, is_critical=True)
        self.column("critical_canary")[row] = rows.get(canary, NOBODY)
        self.column("critical_baseline")[row] = rows.get(baseline, NOBODY)

    def unlink(self, rows: Ints) -> None:
        """Let go of critical rows that are freed: soon they may be another's."""
        for name in ("critical_canary", "critical_baseline"):
            column = self.column(name)
            column[np.isin(column, rows)] = NOBODY

    def standing(self, row: int) -> Standing:
        """What was last published about a rollout."""
        state, severity = self.column("state")[row], self.column("severity")[row]
        return Standing(State(int(state)), Severity(int(severity)))

    def publish(self, row: int, standing: Standing) -> int:
        """Note what is published; its sequence number."""
        self.column("state")[row] = standing.state
        self.column("severity")[row] = standing.severity
        self.column("sequence")[row] += 1
        return int(self.column("sequence")[row])

    def begin_era(self) -> None:
        """Number on behind everything that another policy may have published."""
        self._era += ERA
        self.column("sequence")[:] += ERA

    def forget(self, row: int) -> None:
        """Drop a rollout; its row is used again."""
        rollout = self.rollouts.pop(row)
        known = self._of_service[rollout.service]
        del known[rollout.version]
        if not known:
            del self._of_service[rollout.service]
        self._free = sorted({*self._free, row}, reverse=True)
        self._columns[:, row] = 0

    def state(self) -> dict[str, Any]:
        """Return everything, for a snapshot."""
        return {
            "rollouts": [(row, *rollout) for row, rollout in self.rollouts.items()],
            "columns": self._columns.tobytes(),
            "free": self._free,
            "era": self._era,
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> "Register":
        """Go on where `state` was taken."""
        register = cls()
        for row, service, version, started in state["rollouts"]:
            register.rollouts[row] = Rollout(service, version, started)
            register._of_service.setdefault(service, {})[version] = row
        columns = np.frombuffer(state["columns"], np.int64)
        register._columns = columns.reshape(len(cls._COLUMNS), -1).copy()
        register._free, register._era = list(state["free"]), state["era"]
        return register
