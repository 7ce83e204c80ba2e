"""What waits in a worker, and whether it moves: the eyes of the watchdog.

Nothing here asks the consumer's thread, which may be what hangs: how far partitions
reach is asked over another connection, the rest is read off.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from faust.types import TP

from guard.shell.batches import Consumer
from guard.shell.ends import Ends
from guard.shell.folding import FoldRun
from guard.shell.judging import JudgeRun
from guard.shell.metrics import Metrics
from guard.shell.settings import Settings
from guard.shell.watchdog import Stall, Waiting, Watchdog

LOOK_SECONDS = 1.0
LOST_SECONDS = 5.0  # fetched but not delivered for so long: dropped on its way

Runs = Mapping[TP, FoldRun | JudgeRun]


class Seen(NamedTuple):
    """A worker at one instant.

    Parameters
    ----------
    is_settled
        Whether the group has given it partitions, and no rebalance is under way.
    runs
        The partitions that are open.
    safe_offset
        What may be committed of a partition.
    """

    consumer: Consumer
    is_settled: bool
    runs: Runs
    safe_offset: Callable[[TP], int | None]


class Watch:
    """Looks at a worker once a second."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._settings = settings
        self._metrics = metrics
        self._ends = Ends(settings)
        self.dog = Watchdog(limits(settings))
        self.is_reachable = True  # as of the last look

    def look_at_start(self, now: float) -> None:
        """See a worker that has not started yet."""
        self.dog.look(now, [Waiting(Stall.START)])
        self._measure()

    async def look(self, clock: Callable[[], float], seen: Callable[[], Seen]) -> None:
        """Ask how far the partitions reach, and see how far the worker has come.

        Parameters
        ----------
        clock
            Seconds that only go forward.
        """
        ends = await self._ends.ask(self._places(seen()))
        self.is_reachable = ends is not None
        if ends is None:
            self.dog.pause(clock())
        else:
            now, worker = clock(), seen()
            self.dog.look(now, list(self._waiting(worker, ends)))
            await self._fetch_lost(worker, ends)
        self._measure()

    def _places(self, seen: Seen) -> list[TP]:
        """Partitions to ask about: its own, or some that exist."""
        settings = self._settings
        own = seen.consumer.assignment() if seen.is_settled else ()
        first = (TP(settings.input_topic, 0), TP(settings.panes_topic, 0))
        return sorted(own) or list(first)

    def _waiting(self, seen: Seen, ends: Mapping[TP, int]) -> Iterator[Waiting]:
        if not seen.is_settled:
            yield Waiting(Stall.ASSIGNMENT)
            return
        for tp in seen.consumer.assignment():
            run = seen.runs.get(tp)
            if run is None:
                yield Waiting(Stall.RECOVERY, place(tp), len(seen.runs))
            elif tp in ends:
                yield from self._run_waiting(seen, tp, run, ends[tp])

    def _run_waiting(
        self, seen: Seen, tp: TP, run: FoldRun | JudgeRun, end: int
    ) -> Iterator[Waiting]:
        where, safe = place(tp), seen.safe_offset(tp)
        what = Stall.FOLD if isinstance(run, FoldRun) else Stall.JUDGE
        if seen.consumer.is_behind(tp, run.next_offset, end):
            yield Waiting(what, where, (run.next_offset, run.waits_for))
        if run.waits_for is not None:
            yield Waiting(Stall.ACKNOWLEDGEMENT, where, run.waits_for)
        if isinstance(run, JudgeRun) and run.is_unsaved:
            yield Waiting(Stall.SNAPSHOT, where, safe)
        committed = seen.consumer.committed_offset(tp)
        if safe is not None and safe > committed:
            yield Waiting(Stall.COMMIT, where, committed)

    async def _fetch_lost(self, seen: Seen, ends: Mapping[TP, int]) -> None:
        """Go back for what was fetched and dropped at the end of a partition."""
        for tp, run in seen.runs.items():
            what = Stall.FOLD if isinstance(run, FoldRun) else Stall.JUDGE
            if self.dog.seconds(what, place(tp)) >= LOST_SECONDS and tp in ends:
                await seen.consumer.go_back(tp, run.next_offset, ends[tp])

    def _measure(self) -> None:
        for what in Stall:
            self._metrics.stalled.labels(what.value).set(self.dog.seconds(what))

    @property
    def reason(self) -> str:
        """What hangs, in a sentence; empty where nothing does."""
        return self.dog.hung.sentence if self.dog.hung else ""

    @property
    def trouble(self) -> str:
        """Why the worker cannot be relied on just now; empty when it can."""
        if not self.is_reachable:
            return "Kafka does not answer"
        return f"stalled: {self.dog.slow.sentence}" if self.dog.slow else ""

    async def close(self) -> None:
        """Let the connection go."""
        await self._ends.close()


def limits(settings: Settings) -> dict[Stall, float]:
    """Return after how many seconds each is a hang.

    A rebalance may last as long as the members' rebalance timeout, two sessions; a
    snapshot is written once an interval.
    """
    found = dict.fromkeys(Stall, settings.stall_seconds)
    found[Stall.START] = max(settings.start_timeout_seconds, settings.stall_seconds)
    found[Stall.ASSIGNMENT] += 2 * settings.session_timeout_seconds
    found[Stall.SNAPSHOT] += settings.snapshot_seconds
    return found


def place(tp: TP) -> str:
    """Return a partition's name, such as `guard.panes/3`."""
    return f"{tp.topic}/{tp.partition}"
