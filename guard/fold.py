"""Step one of the stream: the raw records of one source partition in, panes out.

The fold is pure: no clock, no I/O, no Kafka. Records come in offset order and are
counted under their block; what the watermark has passed goes out as messages for every
target partition, if only to say how far the watermark is. A block ends with a `last`
message for every target, even when it says nothing more, and so does every block number
without records in between, so that the judge can tell that nothing is missing.

What goes out has an order. A worker may tell Kafka to forget a block (`commits`) when
that message and every one before it has been acknowledged. A worker that takes over
reads the committed block again *silently*, for its watermark alone; its panes were
acknowledged. Any start elsewhere is a jump: the fold counts from its first record and
says so.
"""

import math
from collections.abc import Callable
from datetime import datetime
from itertools import chain
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from guard.block import Block, Told
from guard.clock import Clock
from guard.event import LARGEST_COUNT, Numbers, Rejection, Request, check
from guard.pane import FOREVER, NO_DELAY, START, Columns, Ints, Panes
from guard.words import Words
from models.quantile import bucket_of

MOST_EMPTY_BLOCKS = 1024  # more offsets than these hold without a record are a jump


class Batch(NamedTuple):
    """Records of one partition in the order of their offsets."""

    values: list[bytes | None]
    offsets: Ints
    stamps: npt.NDArray[np.float64]  # Kafka time, seconds since the epoch


class Decoded(NamedTuple):
    """What a decoder made of the values of a batch."""

    events: list[Request]
    owners: Ints  # of each event, the place of its value in the batch
    rejected: list[tuple[int, Rejection]]  # place of the value, why; an entry an event


Decoder = Callable[[list[bytes | None]], Decoded]


class Source(NamedTuple):
    """A partition of an input topic."""

    topic: str
    partition: int


class FoldSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Properties of an input; a change of block size is a jump."""

    targets: int
    sources: dict[str, int]  # how many partitions each input topic has
    lateness_seconds: float = 5.0
    patience_seconds: float = 60.0
    future_seconds: float = 60.0
    block_size: int = 16_384

    def __post_init__(self) -> None:
        """Refuse what no stream can be cut by; the clock checks its own."""
        for name in ("targets", "block_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be >= 1, not {getattr(self, name)}")
        if not self.future_seconds >= 0:
            raise ValueError(f"future_seconds must be >= 0, not {self.future_seconds}")


class Outgoing(NamedTuple):
    """Something to be sent, in this order."""

    target: int  # partition of the panes topic
    panes: Panes
    rejected: tuple[Told, ...] = ()  # to be told with it
    commits: int | None = None  # offset to commit once all up to here is acknowledged


class _Checked(NamedTuple):
    """The good events of a batch; of the others only where they were, and why."""

    times: npt.NDArray[np.float64]
    owners: Ints
    columns: Columns
    bad_owners: Ints
    rejections: Ints


class Fold:
    """One source partition, from an offset on.

    Parameters
    ----------
    start
        The first offset that will come (or the next one that exists).
    committed
        Whether `start` is a committed offset; where it is the start of a block, that
        block is read silently.
    """

    def __init__(
        self,
        source: Source,
        words: Words,
        decode: Decoder,
        settings: FoldSettings,
        *,
        start: int = 0,
        committed: bool = False,
    ) -> None:
        self.source = source
        self.next_offset = start
        self._settings = settings
        self._words = words
        self._decode = decode
        self._clock = Clock(settings.lateness_seconds, settings.patience_seconds)
        is_at_block = start % settings.block_size == 0
        self._reads_silently = committed and is_at_block and start > 0
        self._is_jump = start > 0 and not self._reads_silently
        self._outbox: list[Outgoing] = []
        self._rejected: dict[Rejection, int] = {}  # events, since they were last asked
        self._block = Block(start // settings.block_size, words)
        self._told = START  # up to which second this block has told its panes

    @property
    def watermark(self) -> float:
        """Seconds since the epoch; minus infinity before the first record."""
        return self._clock.watermark

    @property
    def has_news(self) -> bool:
        """Whether the watermark has passed a second since the last message."""
        return not self._reads_silently and self._passed() > self._told

    def is_silent(self, now: float) -> bool:
        """Whether it could say before `now` that nothing is left."""
        return not self._reads_silently and self._clock.is_silent(now)

    def add(self, batch: Batch) -> None:
        """Count these records; what their blocks' ends made final waits in `take`.

        ValueError when they begin before `next_offset`: they would count twice.
        """
        values, offsets, stamps = batch
        if len(offsets) and offsets[0] < self.next_offset:
            raise ValueError(f"offsets from {self.next_offset} on, not {offsets[0]}")
        size = self._settings.block_size
        while len(offsets):
            self._go_to_block(int(offsets[0]) // size)
            end = (self._block.number + 1) * size
            count = int(np.searchsorted(offsets, end))
            part = Batch(values[:count], offsets[:count], stamps[:count])
            self._count(part)
            self.next_offset = int(offsets[count - 1]) + 1
            if self.next_offset == end:
                self._end_block()
            values, offsets, stamps = values[count:], offsets[count:], stamps[count:]

    def flush(self) -> None:
        """Tell what the watermark has passed."""
        self._tell(self._passed())

    def beat(self, now: float) -> None:
        """Say that nothing is left before `now`, where the source is silent.

        `now` is the instant at which Kafka was asked for the end of the partition that
        has been read up to, less a margin for the difference of clocks.
        """
        if self.is_silent(now):
            self._tell(math.floor(now - self._settings.lateness_seconds))

    def finish(self) -> None:
        """Tell everything: the end of a replay."""
        self._reads_silently = False
        self._tell(FOREVER, is_last=True)

    def take(self) -> list[Outgoing]:
        """Return what is to be sent, once."""
        outbox, self._outbox = self._outbox, []
        return outbox

    def take_rejected(self) -> dict[Rejection, int]:
        """Return how many events were rejected since the last time, by reason."""
        rejected, self._rejected = self._rejected, {}
        return rejected

    def _passed(self) -> int:
        watermark = self._clock.watermark
        return math.floor(watermark) if watermark > START else START

    def _go_to_block(self, number: int) -> None:
        if number - self._block.number > MOST_EMPTY_BLOCKS:
            self._end_block()
            self._is_jump = True
            self._begin_block(number)
        while self._block.number < number:
            self._end_block()

    def _end_block(self) -> None:
        self._tell(self._passed(), is_last=True)
        self._reads_silently = False
        self._begin_block(self._block.number + 1)

    def _begin_block(self, number: int) -> None:
        self._clock.begin_block()
        self._block = Block(number, self._words)
        self._told = START

    # ---- counting

    def _count(self, batch: Batch) -> None:
        block = self._block
        block.has_records = True
        decoded = self._decode(batch.values)
        events = self._check(decoded, batch.stamps)
        met = self._clock.advance(batch.stamps, events.times, events.owners)
        if self._reads_silently:
            return
        self._reject(batch, decoded, events)
        met = np.maximum(met, self._told)
        is_late = events.times < met
        if is_late.any():
            stamps = batch.stamps[events.owners[is_late]]
            met = met[is_late]
            behind = self._clock.behind(met, stamps, events.times[is_late])
            seconds = np.floor(met).astype(np.int64)
            block.count_late(events.columns.where(is_late), seconds, behind)
            block.count(events.columns.where(~is_late))
        else:
            block.count(events.columns)

    def _check(self, decoded: Decoded, stamps: npt.NDArray[np.float64]) -> _Checked:
        """Tell the good events from the others, and make columns of them."""
        events, owners, _ = decoded
        size = len(events)
        kinds, instances = self._block.kinds, self._block.instances
        kind = np.fromiter(
            [
                kinds[
                    e.service,
                    e.version,
                    e.cohort,
                    e.critical,
                    e.status,
                    e.error,
                    e.type,
                ]
                for e in events
            ],
            np.int64,
            size,
        )
        instance = np.fromiter([instances[e.instance] for e in events], np.int64, size)
        table = kinds.table()
        numbers = Numbers(
            times_of(events),
            np.fromiter([e.latency_ms for e in events], np.float64, size),
            _counts_of(events),
            stamps[owners],
        )
        rejections = check(
            numbers, table.rejections[kind], self._settings.future_seconds
        )
        is_bad = rejections > 0
        bad_owners, rejections = owners[is_bad], rejections[is_bad]
        if rejections.size:
            good = np.flatnonzero(~is_bad)
            owners, kind, instance = owners[good], kind[good], instance[good]
            numbers = numbers.at(good)
        columns = Columns(
            np.floor(numbers.times).astype(np.int64),
            table.cells[kind],
            table.errors[kind],
            table.status_classes[kind],
            bucket_of(numbers.latencies),
            instance,
            numbers.counts,
            _delays_of(numbers),
        )
        return _Checked(numbers.times, owners, columns, bad_owners, rejections)

    def _reject(self, batch: Batch, decoded: Decoded, events: _Checked) -> None:
        if not decoded.rejected and not events.rejections.size:
            return
        size = len(decoded.rejected)
        undecoded = np.fromiter(
            chain.from_iterable(decoded.rejected), np.int64, 2 * size
        )
        places = np.concatenate((undecoded[0::2], events.bad_owners))
        reasons = np.concatenate((undecoded[1::2], events.rejections))
        for number in np.flatnonzero(np.bincount(reasons)).tolist():
            reason = Rejection(number)
            of_reason = np.sort(places[reasons == number])
            self._rejected[reason] = self._rejected.get(reason, 0) + of_reason.size
            self._block.reject(reason, of_reason, batch.offsets, batch.values)

    # ---- telling

    def _tell(self, to: int, *, is_last: bool = False) -> None:
        to = max(to, self._told)
        if self._reads_silently or (to == self._told and not is_last):
            return
        settings, block = self._settings, self._block
        before = FOREVER if is_last else to
        grouped, late = block.take(before), block.take_late(before)
        stretch = Panes(
            topic=self.source.topic,
            partition=self.source.partition,
            sources=settings.sources,
            block_size=settings.block_size,
            block=block.number,
            start=self._told,
            to=to,
            is_last=is_last,
            is_jump=self._is_jump,
            lateness_seconds=settings.lateness_seconds,
        )
        for target in range(settings.targets):
            fields: dict[str, Any] = {}
            if grouped is not None:
                fields = grouped.columns(
                    target, block.kinds.cells, block.instances.names
                )
            if target in late:
                fields["late"] = late[target]
            panes = msgspec.structs.replace(stretch, **fields) if fields else stretch
            self._outbox.append(Outgoing(target, panes))
        self._told, self._is_jump = to, False
        if is_last:
            self._close_outbox()

    def _close_outbox(self) -> None:
        """Let the block's last message carry what it rejected and what it commits."""
        block = self._block
        offset = block.number * self._settings.block_size
        self._outbox[-1] = self._outbox[-1]._replace(
            rejected=tuple(block.rejected()),
            commits=offset if block.has_records else None,
        )


def times_of(events: list[Request]) -> npt.NDArray[np.float64]:
    """Event times in seconds since the epoch."""
    times = [event.ts for event in events]
    try:
        return np.fromiter(times, np.float64, len(times))
    except TypeError:  # some are instants
        seconds = [t.timestamp() if isinstance(t, datetime) else t for t in times]
        return np.fromiter(seconds, np.float64, len(times))


def _delays_of(numbers: Numbers) -> Ints:
    """Whole milliseconds from each event to Kafka; below 0 for one from the future."""
    delays = np.floor((numbers.stamps - numbers.times) * 1e3)
    return np.clip(delays, -NO_DELAY, NO_DELAY).astype(np.int64)


def _counts_of(events: list[Request]) -> Ints:
    counts = [event.count for event in events]
    try:
        return np.fromiter(counts, np.int64, len(counts))
    except OverflowError:  # beyond 64 bits: `check` will reject them
        bounded = [min(max(count, -1), LARGEST_COUNT + 1) for count in counts]
        return np.fromiter(bounded, np.int64, len(counts))
