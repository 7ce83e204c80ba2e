"""Clocks that run while something waits and does not move.

A hang says nothing: no error, no record, no decision. So whoever looks says what waits,
and how far it has come; what waits at the same mark from look to look stands still. The
clocks stop while Kafka does not answer: a broker that restarts is no hang of a worker.
"""

from collections.abc import Hashable, Iterable, Mapping
from enum import StrEnum
from typing import NamedTuple

MOST_SECONDS_A_LOOK = 5.0  # more has passed only when the process itself was stopped
SLOW_SHARE = 0.5  # of a limit: from here on a worker is not ready


class Stall(StrEnum):
    """What can stand still; of several the first is told."""

    START = "start"
    ASSIGNMENT = "assignment"
    RECOVERY = "recovery"
    ACKNOWLEDGEMENT = "acknowledgement"
    FOLD = "fold"
    JUDGE = "judge"
    SNAPSHOT = "snapshot"
    COMMIT = "commit"


SENTENCES: dict[Stall, str] = {
    Stall.START: "the start has not ended",
    Stall.ASSIGNMENT: "the group has settled on no partitions",
    Stall.RECOVERY: "{where} was assigned, but is not opened",
    Stall.ACKNOWLEDGEMENT: "Kafka has acknowledged nothing that was sent for {where}",
    Stall.FOLD: "records of {where} wait, and none was folded",
    Stall.JUDGE: "messages of {where} wait, and none was judged",
    Stall.SNAPSHOT: "{where} was judged, but no snapshot of it written",
    Stall.COMMIT: "offsets of {where} may be committed, but none was",
}


class Waiting(NamedTuple):
    """Something that should move on.

    Parameters
    ----------
    where
        Which partition, where it is one.
    mark
        How far it has come; another mark is progress.
    """

    what: Stall
    where: str = ""
    mark: Hashable = None


class Standing(NamedTuple):
    """Something that waits at the same mark, and for how many seconds."""

    what: Stall
    where: str
    seconds: float

    @property
    def sentence(self) -> str:
        """What it is, for people."""
        words = SENTENCES[self.what].format(where=self.where)
        return f"{words} for {self.seconds:.0f} s"


class _Clock(NamedTuple):
    mark: Hashable
    seconds: float


class Watchdog:
    """The clocks of a worker, from look to look.

    Parameters
    ----------
    limits
        After how many seconds each is a hang.
    """

    def __init__(self, limits: Mapping[Stall, float]) -> None:
        self._limits = dict(limits)
        self._clocks: dict[tuple[Stall, str], _Clock] = {}
        self._looked_at: float | None = None

    def look(self, now: float, waiting: Iterable[Waiting]) -> None:
        """Take note of everything that waits at this instant; the rest does not.

        Parameters
        ----------
        now
            Seconds of a clock that only goes forward.
        """
        passed = self._passed(now)
        clocks: dict[tuple[Stall, str], _Clock] = {}
        for one in waiting:
            before = self._clocks.get((one.what, one.where))
            stands = before is not None and before.mark == one.mark
            seconds = before.seconds + passed if before and stands else 0.0
            clocks[one.what, one.where] = _Clock(one.mark, seconds)
        self._clocks = clocks

    def pause(self, now: float) -> None:
        """Let the time since the last look count for nothing."""
        self._passed(now)

    def _passed(self, now: float) -> float:
        before, self._looked_at = self._looked_at, now
        return 0.0 if before is None else min(now - before, MOST_SECONDS_A_LOOK)

    def seconds(self, what: Stall, where: str | None = None) -> float:
        """Return how long it has stood still: there, or where it did longest."""
        return max(
            (
                clock.seconds
                for (its, place), clock in self._clocks.items()
                if its is what and where in {None, place}
            ),
            default=0.0,
        )

    @property
    def slow(self) -> Standing | None:
        """What has stood still for half of its limit, if anything."""
        return self._beyond(SLOW_SHARE)

    @property
    def hung(self) -> Standing | None:
        """What has stood still for longer than its limit, if anything."""
        return self._beyond(1.0)

    def _beyond(self, share: float) -> Standing | None:
        order = list(Stall)
        found = [
            Standing(what, where, clock.seconds)
            for (what, where), clock in self._clocks.items()
            if clock.seconds > share * self._limits[what]
        ]
        return min(found, key=lambda one: order.index(one.what), default=None)
