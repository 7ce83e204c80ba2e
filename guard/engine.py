"""Step two of the stream: a pure state machine over one log of panes.

(state, offset, message) -> (state, decisions). What is not in the log does not exist:
the engine asks no clock and draws no lots, so whoever reads the same log under the same
policy makes the same decisions, and `guard replay` runs the very code that runs behind
Kafka.

A message either goes on where its source stands, or is dropped (`guard.chain`). When
every source has passed a second, it is closed: its counts enter the windows, the judge
looks at every rollout with traffic, and what is new becomes a decision. Seconds in
which nothing can change are skipped, so silence costs nothing.
"""

from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np

from guard import reasons
from guard.blindness import Lag, Silence
from guard.chain import Chain, Link, Taken
from guard.clerk import Clerk, Saying
from guard.cohort import Cohort, Role
from guard.decision import Decision, PolicyName, Reason
from guard.delay import Delays
from guard.evidence import Witness
from guard.judge import Judge, Sight
from guard.origin import Origin
from guard.pane import FOREVER, REQUESTS, START, Ints, Panes
from guard.policy import Policy, fingerprint
from guard.presence import Presence
from guard.register import NOBODY, Register
from guard.rollout import Standing, State, step
from guard.rules import Floats, decode
from guard.tally import COLUMNS, Second, Tally
from guard.verdict import Action, Severity
from guard.watch import Watch
from models.window import Window

STATE_VERSION = 5
RESULTS_VERSION = 3  # raised when the same log under the same policy decides otherwise


class Engine:
    """The judge's whole state for one target partition.

    Parameters
    ----------
    policy
        In force from the first message to the last; `from_state` refuses the state of
        another policy.
    """

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.offset = -1  # of the last message applied
        self.is_quiet = False  # judges, and says nothing
        self._owes_change = False  # has yet to say that its policy is another one
        self.taken = dict.fromkeys(Taken, 0)
        self.chain = Chain()
        self.tally = Tally()
        self.register = Register()
        self.judge = Judge(policy, policy.stage)
        self._policy_name = PolicyName(name=policy.name, sha256=fingerprint(policy))
        lengths = sorted({view.window_seconds for view in self.judge.views})
        self.windows = Window(
            tuple({*lengths, policy.silent_after_seconds}), COLUMNS, tuple(lengths)
        )
        self._presence = Presence()
        self._delays = Delays(policy.window_seconds)
        self._watch = Watch(policy.watch)
        self._origin = Origin(max(lengths))
        # Without traffic the windows run empty, then what they cannot tell is held.
        self._settles = (
            max(*lengths, policy.silent_after_seconds) + policy.hold_after_seconds + 1
        )
        self._busy = START - self._settles  # last second that held anything

    @property
    def witness(self) -> Witness:
        """Reads the windows of this state."""
        return Witness(self.windows, self.register, self.judge)

    @property
    def _clerk(self) -> Clerk:
        return Clerk(
            self.policy,
            self._policy_name,
            self.witness,
            self.register,
            self.judge,
            self._presence,
            self._delays,
            self._origin,
            self.tally.sources,
        )

    def apply(self, offset: int, panes: Panes) -> list[Decision]:
        """Take one message of the log; the decisions it leads to, in order.

        A message at or before the last offset is passed over.
        """
        if offset <= self.offset:
            return []
        self.offset = offset
        decisions = list(self._tell_change())
        taken, first, passed = self.chain.take(panes)
        self.taken[taken] += 1
        if taken is not Taken.GOES_ON:
            return decisions
        self._origin.note_size(panes.source, panes.block_size)
        self.tally.add(panes, first, passed)
        decisions += self._close(self.chain.passed())
        return decisions

    def _tell_change(self) -> Iterator[Decision]:
        """Hold what is on trial, since another policy has judged it until now."""
        if not self._owes_change or self.is_quiet:
            return
        self._owes_change = False
        second = self.chain.closed - 1
        rows = self._in_view(second)
        for place in self._in_order(rows, np.arange(len(rows))):
            if self._column("state")[rows[place]] < State.ROLLED_BACK:
                why = [reasons.of_change(self.policy)]
                yield self._distrust(int(rows[place]), second, why)

    # ---- closing seconds

    def _close(self, before: int) -> Iterator[Decision]:
        if before >= FOREVER:
            before = max(self.tally.newest + 1, self.chain.closed)
        second = self.chain.closed
        for data in self.tally.close(before):
            yield from self._pass_quietly(second, data.second)
            yield from self._step(data.second, data)
            second = data.second + 1
        yield from self._pass_quietly(second, before)
        self.chain.closed = max(self.chain.closed, before)

    def _pass_quietly(self, second: int, before: int) -> Iterator[Decision]:
        """Pass seconds that hold nothing; those that cannot change anything at once."""
        while second < before:
            if second > self._busy + self._settles:
                second = self._next_event(second, before)
                if second == before:
                    return
            yield from self._step(second, None)
            second += 1

    def _step(self, second: int, data: Second | None) -> Iterator[Decision]:
        now = self._take_in(second, data)
        rows = self._in_view(second)
        if rows.size:
            yield from self._judge(second, rows, now)
            if data is not None:
                yield from self._watch_alone(rows, data)
        self._forget(second)

    def _take_in(self, second: int, data: Second | None) -> Ints:
        """Move the windows on; the requests of this second by row of the windows."""
        self._grow()
        if data is None:
            self.windows.advance(second)
            self._delays.advance(second)
        else:
            self._busy = second
            self.windows.push(
                second,
                data.rows,
                data.counts,
                data.sketch_rows,
                data.sketch_buckets,
                data.sketch_requests,
            )
            self._delays.note(second, data.rows, data.delays)
            self._enter(second, data)
            self._origin.add(data)
        self._origin.advance(second)
        now = np.zeros(self.tally.cohorts.size, np.int64)
        if data is not None:
            now[data.rows] = data.counts[:, REQUESTS]
            self._notice(second, now)
        return now

    def _grow(self) -> None:
        self.windows.grow(self.tally.cohorts.size)
        self._presence.grow(self.tally.cohorts.size)
        self._delays.grow(self.tally.cohorts.size)

    def _enter(self, second: int, data: Second) -> None:
        """Note who was seen, and enter new cohorts."""
        rows = self._presence.note(second, data.rows, data.counts[:, REQUESTS])
        if not rows.size:
            return
        new = set(rows.tolist())
        names = [c for c, row in self.tally.cohorts.items() if row in new]
        for cohort in sorted(names, key=_order):
            self.register.enter(cohort, self.tally.cohorts, second)
        self._grow()  # a rollout keeps a row for its baseline before that is seen
        self.judge.grow(self.register.size)
        self._presence.reserve(second, self._kept())

    def _notice(self, second: int, now: Ints) -> None:
        for role in ("canary", "baseline"):
            is_there = now[self._column(role)] > 0
            self._column(f"last_{role}")[is_there] = second
        self._column("canary_seen")[:] += now[self._column("canary")]

    def _column(self, name: str) -> Ints:
        return self.register.column(name)

    def _kept(self) -> Ints:
        """Rows of baselines that a rollout goes by."""
        baselines = self._column("baseline")
        return np.asarray(baselines[baselines != NOBODY])

    def _in_view(self, second: int) -> Ints:
        """Rollouts that had traffic of late; nothing changes for the others."""
        latest = np.maximum(self._column("last_canary"), self._column("last_baseline"))
        return np.flatnonzero(
            (latest >= second - self._settles) & (self._column("canary") != NOBODY)
        )

    # ---- judging

    def _judge(self, second: int, rows: Ints, now: Ints) -> Iterator[Decision]:
        sight = self._sight(second, rows, now)
        wanted = self.judge.judge(rows, sight)
        if self.is_quiet:
            return
        states, severities = self._column("state")[rows], self._column("severity")[rows]
        said = np.where(states == State.WATCHED, 0, states * 4 + severities)
        is_open = (states != State.ROLLED_BACK) | (wanted > said)
        for place in self._in_order(rows, np.flatnonzero((wanted != said) & is_open)):
            row, silence = int(rows[place]), sight.silence
            before = self.register.standing(row)
            action, severity = decode(int(wanted[place]))
            standing, published = step(before, action, severity)
            if published is None:
                continue
            if published is Action.CLEAR:
                why, severity = [reasons.of_clear(self.policy)], before.severity
            else:
                why = self._clerk.why(row, second, silence.of(place))
            sequence = self.register.publish(row, standing)
            saying = Saying(published, severity, why, sequence)
            yield self._clerk.decision(row, second, saying)

    def _in_order(self, rows: Ints, places: Ints) -> list[int]:
        """Places in the order of the rollouts' names; row numbers must not show."""
        names = self.register.rollouts
        return sorted(places.tolist(), key=lambda place: names[int(rows[place])].order)

    def _sight(self, second: int, rows: Ints, now: Ints) -> Sight:
        witness = self.witness
        seconds = second - self._column("last_canary")[rows]
        both = np.minimum(seconds, second - self._column("last_baseline")[rows])
        canary, baseline = (self._column(name)[rows] for name in ("canary", "baseline"))
        is_settled = self._delays.is_settled
        return Sight(
            second,
            {view: witness.sides(view, rows) for view in self.judge.views},
            now[canary],
            now[baseline],
            Silence(
                seconds,
                self._column("canary_seen")[rows],
                self._expected(second, rows, seconds),
                both,
                self._promised(second, rows, both),
            ),
            Lag(
                self._delays.least(canary),
                self._delays.least(baseline),
                is_settled(canary) & is_settled(baseline),
            ),
        )

    def _expected(self, second: int, rows: Ints, silent_seconds: Ints) -> Floats:
        """Canary requests that a silent canary's past share promised; else 0."""
        silent_after = self.policy.silent_after_seconds
        expected = np.zeros(len(rows))
        silent = np.flatnonzero(silent_seconds >= silent_after)
        if silent.size:
            beside = self._column("baseline")[rows[silent]]
            of_late = self.windows.sums(silent_after)[beside, REQUESTS]
            silent, beside = silent[of_late > 0], beside[of_late > 0]
            canary = self._column("canary")[rows[silent]]
            share = self._presence.share(second, canary, beside)
            expected[silent] = share * of_late[of_late > 0]
        return expected

    def _promised(self, second: int, rows: Ints, silent_seconds: Ints) -> Floats:
        """Requests that the past of both promised where both are silent; else 0."""
        promised = np.zeros(len(rows))
        silent = np.flatnonzero(silent_seconds >= self.policy.silent_after_seconds)
        if silent.size:
            of_both = [
                self._presence.promised(second, self._column(name)[rows[silent]])
                for name in ("canary", "baseline")
            ]
            promised[silent] = (of_both[0] + of_both[1]) * silent_seconds[silent]
        return promised

    def _watch_alone(self, rows: Ints, data: Second) -> Iterator[Decision]:
        """Hold where drift shows in a canary that has no baseline beside it."""
        if not self.policy.watch:
            return
        canary = self._column("canary")[rows]
        sums = self.windows.sums(self.judge.main.window_seconds)
        beside = sums[self._column("baseline")[rows], REQUESTS]
        alone = np.flatnonzero(beside == 0)
        if not alone.size:
            return
        there = data.rows[data.counts[:, REQUESTS] > 0]
        alone = alone[np.isin(canary[alone], there)]
        for place in self._in_order(rows, alone):
            row, at = int(rows[place]), int(canary[place])
            signals = self._watch.look(row, at, data)
            standing = self.register.standing(row)
            if signals and standing.state <= State.HELD and not self.is_quiet:
                yield self._distrust(row, data.second, signals)

    def _distrust(self, row: int, second: int, why: list[Reason]) -> Decision:
        """Hold a rollout until it has been well for the clear time."""
        self.judge.blindness.distrust(row)
        held = Standing(State.HELD, self.register.standing(row).severity)
        sequence = self.register.publish(row, held)
        saying = Saying(Action.HOLD, Severity.WARNING, why, sequence)
        return self._clerk.decision(row, second, saying)

    # ---- forgetting

    def _next_event(self, second: int, before: int) -> int:
        """From this quiet second on, the next in which a cohort is forgotten."""
        oldest = self._presence.oldest(self._kept())
        return max(second, min(before, oldest + self.policy.forget_after_seconds))

    def _forget(self, second: int) -> None:
        """Forget what has been silent for the policy's time.

        A row with open requests stays its cohort's: they may have come before or after
        this second was closed, which must not show.
        """
        limit = second - self.policy.forget_after_seconds
        stale = set(self._presence.stale(limit).tolist())
        if not stale:
            return
        canaries = self._column("canary")
        for row in [row for row in self.register.rollouts if canaries[row] in stale]:
            self.register.forget(row)
            self.judge.forget(row)
            self._watch.forget(row)
        stale.difference_update(self._kept().tolist())
        rows = np.array(sorted(stale), np.int64)
        self.register.unlink(rows)
        self.windows.forget(rows)
        self._presence.forget(rows)
        self._delays.forget(rows)
        self.tally.forget(stale)

    # ---- snapshots

    def state(self) -> dict[str, Any]:
        """Return everything that a worker needs to go on behind `offset`."""
        return {
            "version": STATE_VERSION,
            "results": RESULTS_VERSION,
            "policy": self._policy_name.sha256,
            "offset": self.offset,
            "owes_change": self._owes_change,
            "taken": {taken.value: count for taken, count in self.taken.items()},
            "closed": self.chain.closed,
            "chain": self.chain.state(),
            "tally": self.tally.state(),
            "register": self.register.state(),
            "judge": self.judge.state(),
            "windows": self.windows.state(),
            "presence": self._presence.state(),
            "delays": self._delays.state(),
            "watch": self._watch.state(),
            "origin": self._origin.state(),
            "busy": self._busy,
        }

    @classmethod
    def from_state(cls, state: dict[str, Any], policy: Policy) -> "Engine":
        """Go on where `state` was taken.

        Raises
        ------
        ValueError
            When the state is of another version, another policy or other results.
        """
        if not decides_alike(state, policy):
            raise ValueError("the state was made by another policy, or other rules")
        engine = cls(policy)
        engine._take_log(state)
        engine.judge.restore(state["judge"])
        engine.windows = Window.from_state(state["windows"])
        engine._delays.restore(state["delays"])
        engine._watch.restore(state["watch"])
        engine._origin.restore(state["origin"])
        engine._owes_change = state["owes_change"]
        return engine

    @classmethod
    def adopt(
        cls, state: dict[str, Any], policy: Policy, *, owes_change: bool
    ) -> "Engine":
        """Go on where `state` was taken, under a policy that may decide otherwise.

        What the log said stays: positions, open seconds, who is on trial, what was
        published. The clocks of the limits begin anew, windows too where their lengths
        differ. Sequence numbers skip an era, so that no decision takes the id of one
        that the other policy made after this state.

        Parameters
        ----------
        owes_change
            Whether every open rollout is held with the next message, because the other
            policy may have decided something after this state.
        """
        engine = cls(policy)
        engine._take_log(state)
        engine._owes_change = owes_change
        engine.register.begin_era()
        engine.judge.grow(engine.register.size)
        engine._origin.restore(state["origin"])
        engine._grow()
        windows = Window.from_state(state["windows"])
        if windows.lengths == engine.windows.lengths:
            engine.windows = windows
        elif engine.chain.closed > START:
            engine.windows.advance(engine.chain.closed - 1)
        return engine

    def _take_log(self, state: dict[str, Any]) -> None:
        """Take over what does not depend on the policy."""
        if state["version"] != STATE_VERSION:
            raise ValueError(
                f"the snapshot is of state version {state['version']}, this image "
                f"reads {STATE_VERSION}: go on with the image that wrote it"
            )
        self.offset = state["offset"]
        self.taken = {Taken(word): n for word, n in state["taken"].items()}
        links = [(t, p, msgspec.convert(link, Link)) for t, p, link in state["chain"]]
        self.chain = Chain.from_state(links, state["closed"])
        self.tally = Tally.from_state(state["tally"])
        self.register = Register.from_state(state["register"])
        self._presence = Presence.from_state(state["presence"])
        self._busy = state["busy"]


def decides_alike(state: dict[str, Any], policy: Policy) -> bool:
    """Whether a state was made by the rules that are in force now."""
    return bool(
        state["policy"] == fingerprint(policy) and state["results"] == RESULTS_VERSION
    )


def _order(cohort: Cohort) -> tuple[str, bool, bool, str, bool]:
    """Baselines first, so that a rollout finds its own; then by version."""
    service, role, version, is_critical = cohort
    is_canary = role is Role.CANARY
    return service, is_canary, version is not None, version or "", is_critical
