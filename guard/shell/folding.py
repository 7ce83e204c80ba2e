"""The fold behind Kafka: one source partition of this worker.

Everything a fold says is sent in its order, under a lock: a batch and the ticking clock
may both have something to say. What may be committed follows the acknowledgements.

So much may be under way and no more: where Kafka is slow to acknowledge, a fold waits
before it sends, so its agent takes no batch, so Faust fetches none.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import msgspec
import numpy as np

from guard.fold import Batch, Fold, Outgoing
from guard.shell.metrics import Metrics
from guard.shell.publish import encode_panes, rejection, rejection_key

FLUSH_SECONDS = 0.5  # at least so long between two messages of a source and target
MOST_MESSAGES = 256  # of a source, sent and not acknowledged
MOST_BYTES = 8 << 20  # likewise; one message more may be larger

Send = Callable[..., Awaitable[asyncio.Future[Any]]]


class Topics(NamedTuple):
    """Where a fold's words go."""

    panes: str
    rejected: str


class _Sent(NamedTuple):
    acknowledged: asyncio.Future[Any]
    commits: int | None
    size: int


class FoldRun:
    """A fold, its messages under way, and what is safe to forget.

    Parameters
    ----------
    send
        Sends (topic, key, value, partition); the future it gives is acknowledged.
    """

    def __init__(
        self, fold: Fold, topics: Topics, send: Send, metrics: Metrics
    ) -> None:
        self.fold = fold
        self._topics = topics
        self._send = send
        self._metrics = metrics
        self._lock = asyncio.Lock()
        self._outbox: deque[Outgoing] = deque()
        self._under_way: deque[_Sent] = deque()
        self._bytes = 0  # under way
        self._safe: int | None = None
        self._flushed_at = float("-inf")

    async def add(self, batch: Batch, now: float) -> None:
        """Fold a batch, and send what became final."""
        async with self._lock:
            cut = int(np.searchsorted(batch.offsets, self.fold.next_offset))
            if cut:
                batch = Batch(
                    batch.values[cut:], batch.offsets[cut:], batch.stamps[cut:]
                )
            with self._metrics.fold_seconds.time():
                self.fold.add(batch)
            self._metrics.events.inc(len(batch.offsets))
            await self._flush(now)

    async def tick(self, now: float, *, silent_before: float | None = None) -> None:
        """Send what waits; and that nothing is left before an instant, where so.

        Where something is being sent, or too much is under way, it is for next time.
        """
        if self._lock.locked() or self._is_full:
            return
        async with self._lock:
            if silent_before is not None:
                self.fold.beat(silent_before)
            await self._flush(now)

    async def _flush(self, now: float) -> None:
        if self.fold.has_news and now - self._flushed_at >= FLUSH_SECONDS:
            self._flushed_at = now
            self.fold.flush()
        for outgoing in self.fold.take():
            self._note(outgoing)
            self._outbox.append(outgoing)
        while self._outbox:  # whoever is cancelled here leaves the rest to the next
            await self._tell(self._outbox[0])
            self._outbox.popleft()

    async def _tell(self, outgoing: Outgoing) -> None:
        for told in outgoing.rejected:
            source, block = self.fold.source, outgoing.panes.block
            value = msgspec.json.encode(rejection(source, block, told))
            key = rejection_key(source, block, told)
            await self._put(self._topics.rejected, key, value, None)
            self._metrics.rejections_told.inc()
        value = encode_panes(outgoing.panes)
        await self._put(
            self._topics.panes, None, value, outgoing.target, outgoing.commits
        )
        self._metrics.panes_sent.inc()

    async def _put(
        self,
        topic: str,
        key: bytes | None,
        value: bytes,
        partition: int | None,
        commits: int | None = None,
    ) -> None:
        """Send one message, when there is room for it."""
        while self._is_full:
            await asyncio.wait({self._under_way[0].acknowledged})
            self.take_acknowledged()
        sent = await self._send(topic, key, value, partition)
        self._under_way.append(_Sent(sent, commits, len(value)))
        self._bytes += len(value)

    def _note(self, outgoing: Outgoing) -> None:
        late = sum(late.requests for late in outgoing.panes.late)
        if late:
            self._metrics.late.inc(late)
        for reason, events in self.fold.take_rejected().items():
            self._metrics.rejected.labels(reason.word).inc(events)

    def is_silent(self, now: float) -> bool:
        """Whether nothing has come for the lateness before this instant."""
        return self.fold.is_silent(now) and not self._lock.locked()

    @property
    def _is_full(self) -> bool:
        return len(self._under_way) >= MOST_MESSAGES or self._bytes >= MOST_BYTES

    @property
    def next_offset(self) -> int:
        """Offset behind what is folded."""
        return self.fold.next_offset

    @property
    def waits_for(self) -> "asyncio.Future[Any] | None":
        """The acknowledgement that must come next, if any is to come."""
        return self._under_way[0].acknowledged if self._under_way else None

    def safe_offset(self) -> int | None:
        """Return the offset that may be committed; raises as `take_acknowledged`."""
        self.take_acknowledged()
        return self._safe

    def take_acknowledged(self) -> None:
        """Forget what Kafka has taken, in the order in which it was sent.

        Raises
        ------
        Exception
            When a message was not acknowledged: the worker must end.
        """
        while self._under_way and self._under_way[0].acknowledged.done():
            sent = self._under_way.popleft()
            sent.acknowledged.result()
            self._bytes -= sent.size
            if sent.commits is not None:
                self._safe = sent.commits

    async def drain(self) -> None:
        """Wait until everything sent is acknowledged."""
        async with self._lock:
            await asyncio.gather(*(sent.acknowledged for sent in self._under_way))
