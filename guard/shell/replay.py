"""The same fold and the same judge without Kafka: recorded events in, decisions out.

One file is one source partition, in the order of its lines. A line has no Kafka time:
it takes the newest event time so far, so that only event time counts. The end of the
input closes everything that was said.
"""

import gzip
import sys
import zlib
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import msgspec
import numpy as np

from guard.block import Told
from guard.decision import Decision
from guard.engine import Engine
from guard.fold import Batch, Fold, FoldSettings, Outgoing, Source, times_of
from guard.policy import Policy
from guard.shell.inputs import native
from guard.shell.settings import Settings
from guard.words import Words

BATCH_LINES = 5_000


class Replay:
    """Sources, folded and judged in one process.

    Parameters
    ----------
    sources
        How many partitions each topic (or file) has.
    """

    def __init__(
        self,
        policy: Policy,
        sources: dict[str, int],
        settings: Settings | None = None,
    ) -> None:
        settings = settings or Settings()
        self.engine = Engine(policy)
        self.records = 0
        self.rejected: list[tuple[Source, int, Told]] = []  # with the block's number
        self._settings = FoldSettings(
            targets=1,
            sources=sources,
            lateness_seconds=settings.lateness_seconds,
            patience_seconds=settings.patience_seconds,
            future_seconds=settings.future_seconds,
            block_size=settings.block_size,
        )
        self._words = Words(lambda _: 0)
        self._folds: dict[Source, Fold] = {}
        self._offset = -1

    def begin(self, source: Source, offset: int = 0) -> None:
        """Say where a source begins, as a worker finds it when it starts."""
        self._folds[source] = Fold(
            source, self._words, native.decode, self._settings, start=offset
        )

    def add(self, source: Source, batch: Batch) -> list[Decision]:
        """Take the next records of a source; the decisions they lead to."""
        fold = self._folds[source]
        fold.add(batch)
        fold.flush()
        self.records += len(batch.offsets)
        return self._apply(fold)

    def finish(self) -> list[Decision]:
        """End every source; the last decisions."""
        decisions = []
        for fold in self._folds.values():
            fold.finish()
            decisions += self._apply(fold)
        return decisions

    def _apply(self, fold: Fold) -> list[Decision]:
        decisions: list[Decision] = []
        for outgoing in fold.take():
            self._offset += 1
            decisions += self.engine.apply(self._offset, outgoing.panes)
            self._tell(fold.source, outgoing)
        return decisions

    def _tell(self, source: Source, outgoing: Outgoing) -> None:
        for told in outgoing.rejected:
            self.rejected.append((source, outgoing.panes.block, told))


class CannotRead(RuntimeError):  # noqa: N818 - as `NotEnoughData`
    """The recording cannot be read; the message says why."""


def read_lines(path: str) -> Iterator[bytes]:
    """Yield the lines of a file, `.gz` or not, or of standard input for `-`.

    Raises
    ------
    CannotRead
        When there is no such file, or it is damaged.
    """
    try:
        if path == "-":
            yield from sys.stdin.buffer
        elif path.endswith(".gz"):
            with gzip.open(path) as lines:
                yield from lines
        else:
            with Path(path).open("rb") as lines:
                yield from lines
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise CannotRead(f"cannot read {path}: {reason}") from error


def batches(lines: Iterable[bytes]) -> Iterator[Batch]:
    """Lines as records: a batch of offsets, each line's time the newest so far."""
    newest, offset = 0.0, 0
    source = iter(lines)
    while chunk := list(islice(source, BATCH_LINES)):
        stamps = np.empty(len(chunk))
        for place, line in enumerate(chunk):
            newest = max(newest, _time_of(line))
            stamps[place] = newest
        offsets = np.arange(offset, offset + len(chunk))
        yield Batch(list(chunk), offsets, stamps)
        offset += len(chunk)


def _time_of(line: bytes) -> float:
    decoded = native.decode([line])
    times = times_of(decoded.events)
    usable = times[np.isfinite(times)]
    return float(usable.max(initial=0.0))


def encode_line(decision: Decision) -> bytes:
    """Encode a decision as one line of NDJSON."""
    return msgspec.json.encode(decision) + b"\n"
