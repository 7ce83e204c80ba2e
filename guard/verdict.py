"""What the guard thinks of a canary, how grave a breach is, what it asks for.

Three closed sets, each declared once and in order, worst last, so that several
members join by ``max``:

>>> max(Verdict.WARNING, Verdict.INCONCLUSIVE, Verdict.PASS).name
'WARNING'
>>> max(Action.HOLD, Action.EVALUATE).word
'evaluate'

INCONCLUSIVE lies above PASS: "cannot tell" must never read as "is well".
"""

import enum


class Verdict(enum.IntEnum):
    """What the evidence of one instant says."""

    PASS = 0
    INCONCLUSIVE = 1
    WARNING = 2
    CRITICAL = 3


class Severity(enum.IntEnum):
    """How grave it is when a limit is broken; routes the message about it."""

    WARNING = 1
    CRITICAL = 2
    IMMEDIATE = 3

    @property
    def word(self) -> str:
        """The word on the wire and in a policy."""
        return self.name.lower()


class Action(enum.IntEnum):
    """What a broken limit asks for."""

    CLEAR = 0
    HOLD = 1
    EVALUATE = 2
    ROLLBACK = 3

    @property
    def word(self) -> str:
        """The word on the wire and in a policy."""
        return self.name.lower()
