"""Where a block begins, and what is known of the one being read.

A *block* is a fixed number of consecutive offsets of one source partition,
`block = offset // size`, so every worker that ever reads it cuts it the same way. Its
state is simply its rows: they are grouped once, when their second is over. There is
nothing to keep up event by event, and how the records came in batches cannot show.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from guard.event import Rejection
from guard.pane import Columns, Grouped, Ints, Late
from guard.words import Words

SAMPLES = 20  # rejected values that are told in full, by block and reason
SAMPLE_BYTES = 1024


class Sample(NamedTuple):
    """A value that was rejected."""

    offset: int
    value: bytes | None


class Told(NamedTuple):
    """What one block rejected for one reason."""

    rejection: Rejection
    events: int
    first_offset: int
    last_offset: int
    samples: tuple[Sample, ...]


class _LateRows(NamedTuple):
    seconds: Ints
    cells: Ints
    weights: Ints
    behind: npt.NDArray[np.float64]

    def where(self, chosen: npt.NDArray[np.bool_]) -> "_LateRows":
        return _LateRows(
            self.seconds[chosen],
            self.cells[chosen],
            self.weights[chosen],
            self.behind[chosen],
        )


class Block:
    """What one block has said so far and not yet told."""

    def __init__(self, number: int, words: Words) -> None:
        self.number = number
        self.kinds, self.instances = words.current()
        self.has_records = False
        self._rows: list[Columns] = []
        self._late: list[_LateRows] = []
        self._rejected: dict[Rejection, Told] = {}

    def count(self, columns: Columns) -> None:
        """Add events on time."""
        if columns.seconds.size:
            self._rows.append(columns)

    def count_late(
        self,
        columns: Columns,
        open_seconds: Ints,
        behind_seconds: npt.NDArray[np.float64],
    ) -> None:
        """Add events behind the watermark, under the first second still open."""
        rows = _LateRows(open_seconds, columns.cells, columns.weights, behind_seconds)
        self._late.append(rows)

    def reject(
        self,
        reason: Rejection,
        places: Ints,
        offsets: Ints,
        values: list[bytes | None],
    ) -> None:
        """Add rejected events, at least one.

        `places` say, in ascending order, where among the batch's values each came from.
        """
        first, last = int(offsets[places[0]]), int(offsets[places[-1]])
        told = self._rejected.get(reason) or Told(reason, 0, first, last, ())
        samples = told.samples
        if room := SAMPLES - len(samples):
            shown: list[int] = np.unique(places)[:room].tolist()
            samples += tuple(
                Sample(int(offsets[place]), _cut(values[place])) for place in shown
            )
        self._rejected[reason] = told._replace(
            events=told.events + places.size, last_offset=last, samples=samples
        )

    def rejected(self) -> list[Told]:
        """What was rejected, by reason; for the block's end."""
        return [self._rejected[reason] for reason in sorted(self._rejected)]

    def take(self, before: int) -> Grouped | None:
        """Group and forget the rows of all seconds before this one; None for none."""
        if not self._rows:
            return None
        rows = Columns.joined(self._rows)
        is_over = rows.seconds < before
        self._rows = [] if is_over.all() else [rows.where(~is_over)]
        if not is_over.any():
            return None
        return Grouped(
            rows.where(is_over),
            self.kinds.target_column(),
            self.instances.hashes,
            self.instances.blank,
        )

    def take_late(self, before: int) -> dict[int, list[Late]]:
        """Sum up and forget the late events told under seconds before this one.

        By target; each in the order of second and cell.
        """
        if not self._late:
            return {}
        rows = _LateRows(*map(np.concatenate, zip(*self._late, strict=True)))
        is_over = rows.seconds < before
        self._late = [] if is_over.all() else [rows.where(~is_over)]
        return self._late_by_target(rows.where(is_over)) if is_over.any() else {}

    def _late_by_target(self, rows: _LateRows) -> dict[int, list[Late]]:
        base, width = int(rows.seconds.min()), len(self.kinds.cells)
        keys, at = np.unique(
            (rows.seconds - base) * width + rows.cells, return_inverse=True
        )
        requests = np.bincount(at, rows.weights).astype(np.int64)
        worst = np.zeros(len(keys))
        np.maximum.at(worst, at, rows.behind)
        told: dict[int, list[Late]] = {}
        for key, weight, behind in zip(
            keys.tolist(), requests.tolist(), worst.tolist(), strict=True
        ):
            second, number = divmod(int(key), width)
            late = Late(base + second, self.kinds.cells[number], weight, behind)
            told.setdefault(self.kinds.targets[number], []).append(late)
        for entries in told.values():
            entries.sort(key=_order)
        return told


def _cut(value: bytes | None) -> bytes | None:
    return None if value is None else value[:SAMPLE_BYTES]


def _order(late: Late) -> tuple[int, str, str, str, bool]:
    service, version, cohort, critical = late.cell
    return late.second, service, version or "", cohort or "", critical
