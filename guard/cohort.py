"""Who: the requests that are counted together, and the part they play in a rollout."""

import enum
from typing import NamedTuple


class Role(enum.Enum):
    """The part a cohort plays while a new version is on trial."""

    CANARY = "canary"
    BASELINE = "baseline"
    OTHER = "other"


class Cell(NamedTuple):
    """Requests that are counted together: they agree in these four."""

    service: str
    version: str | None
    cohort: str | None
    critical: bool

    @property
    def role(self) -> Role:
        """The part that the cohort's name gives it, where no rollout says otherwise."""
        return _ROLES.get(self.cohort or "", Role.OTHER)


_ROLES = {role.value: role for role in Role}


class Cohort(NamedTuple):
    """Requests that share service and role, and for the canary the version.

    Every canary version is on trial for itself, beside one baseline for all.
    """

    service: str
    role: Role
    version: str | None = None  # of a canary
    is_critical: bool = False  # only what is marked critical


def cohorts_of(cell: Cell) -> list[Cohort]:
    """List the cohorts that a cell's requests belong to; none for another role."""
    role = cell.role
    if role is Role.OTHER:
        return []
    version = cell.version if role is Role.CANARY else None
    cohorts = [Cohort(cell.service, role, version)]
    if cell.critical:
        cohorts.append(Cohort(cell.service, role, version, is_critical=True))
    return cohorts
