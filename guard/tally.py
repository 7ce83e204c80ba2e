"""The seconds still open: panes as they came, counted by cohort once a second closes.

As in the fold there are rows and no counters: the columns of the messages wait, and
all seconds that close together are grouped with one sort. All sums and minima are of
integers, so the order in which the sources' messages came cannot show.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from guard.cohort import Cell, Cohort, Role, cohorts_of
from guard.pane import (
    COUNTS,
    NO_DELAY,
    REQUESTS,
    START,
    Ints,
    Panes,
    pack_ints,
    unpack_ints,
)

MOST_CELLS = 100_000  # whose rows are remembered; most of them nobody's
LATE = COUNTS  # the column behind a pane's counts: requests that came late
COLUMNS = COUNTS + 1


class CohortRows(dict[Cohort, int]):
    """Row numbers of the cohorts; a freed row is used again."""

    def __init__(self) -> None:
        super().__init__()
        self._free: list[int] = []
        self._of_cell: dict[Cell, tuple[int, ...]] = {}
        self.size = 1  # rows ever used; row 0 is nobody's and stays empty

    def __missing__(self, cohort: Cohort) -> int:
        if self._free:
            row = self._free.pop()
        else:
            row, self.size = self.size, self.size + 1
        self[cohort] = row
        return row

    def of_cell(self, cell: Cell) -> tuple[int, ...]:
        """Rows that a cell's requests are counted in."""
        rows = self._of_cell.get(cell)
        if rows is None:
            if len(self._of_cell) >= MOST_CELLS:
                self._of_cell.clear()
            rows = tuple(self[cohort] for cohort in cohorts_of(cell))
            self._of_cell[cell] = rows
        return rows

    def free(self, rows: set[int]) -> None:
        """Forget the cohorts of these rows."""
        for cohort in [cohort for cohort, row in self.items() if row in rows]:
            del self[cohort]
        self._free = sorted({*self._free, *rows}, reverse=True)
        self._of_cell.clear()

    def state(self) -> dict[str, Any]:
        """Return every cohort with its row."""
        return {
            "cohorts": [
                (c.service, c.role.value, c.version, c.is_critical, row)
                for c, row in self.items()
            ],
            "free": self._free,
            "size": self.size,
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> "CohortRows":
        """Go on where `state` was taken."""
        rows = cls()
        for service, role, version, is_critical, row in state["cohorts"]:
            rows[Cohort(service, Role(role), version, is_critical)] = row
        rows._free, rows.size = list(state["free"]), state["size"]
        return rows


class Second(NamedTuple):
    """One second that is over, by rows of cohorts in ascending order."""

    second: int
    rows: Ints
    counts: Ints  # (rows, COLUMNS)
    sketch_rows: Ints
    sketch_buckets: Ints
    sketch_requests: Ints
    blocks: tuple[Ints, Ints, Ints]  # row, source, block: what the counts came from
    behind: dict[int, float]  # by row: the worst of its late requests, in seconds
    delays: Ints  # (rows,) the least, in milliseconds; `NO_DELAY` for late ones alone


class _Entries(NamedTuple):
    seconds: Ints
    rows: Ints
    sources: Ints
    blocks: Ints
    counts: Ints  # (entries, COLUMNS)
    delays: Ints


class _Sketch(NamedTuple):
    seconds: Ints
    rows: Ints
    buckets: Ints
    requests: Ints


class _Late(NamedTuple):
    second: int
    row: int
    requests: int
    behind: float


class Tally:
    """Open seconds of one target partition."""

    def __init__(self) -> None:
        self.cohorts = CohortRows()
        self.sources: list[tuple[str, int]] = []
        self._entries: list[_Entries] = []
        self._sketches: list[_Sketch] = []
        self._behind: dict[tuple[int, int], float] = {}  # by second and row
        self.first = self.newest = START  # open seconds; both START without any

    def add(self, panes: Panes, first: int, passed: int) -> None:
        """Count the panes of the seconds from `first` on.

        Those before `passed`, which their own source's watermark has left behind, are
        late: they count under that second.
        """
        late = [
            _Late(max(told.second, passed), row, told.requests, told.behind_seconds)
            for told in panes.late
            if told.second >= first
            for row in self.cohorts.of_cell(told.cell)
        ]
        if panes.cells:
            late += self._add_panes(panes, first, passed)
        if late:
            self._add_late(panes, late)

    def _add_panes(self, panes: Panes, first: int, passed: int) -> list[_Late]:
        """Count what came on time; the rest is returned."""
        seconds = unpack_ints(panes.seconds)
        numbers = unpack_ints(panes.cell_numbers)
        counts = unpack_ints(panes.counts).reshape(-1, COUNTS)
        delays = unpack_ints(panes.delays)
        sizes, buckets, requests = map(unpack_ints, panes.sketch)
        late: list[_Late] = []
        for rows in self._rows_of(panes.cells):  # all, then the critical ones again
            row = rows[numbers]
            is_new = (seconds >= first) & (row >= 0)
            chosen = is_new & (seconds >= passed)
            told = seconds[chosen], row[chosen], counts[chosen], delays[chosen]
            self._add_entries(panes, *told)
            kept = np.repeat(chosen, sizes)
            if kept.any():
                at = np.repeat(np.arange(len(seconds)), sizes)[kept]
                sketch = _Sketch(seconds[at], row[at], buckets[kept], requests[kept])
                self._sketches.append(sketch)
            for place in np.flatnonzero(is_new & ~chosen).tolist():
                lost = int(counts[place, REQUESTS])
                behind = float(passed - seconds[place]) + panes.lateness_seconds
                late.append(_Late(passed, int(row[place]), lost, behind))
        return late

    def _add_late(self, panes: Panes, late: list[_Late]) -> None:
        counts = np.zeros((len(late), COLUMNS), np.int64)
        counts[:, LATE] = [entry.requests for entry in late]
        seconds = np.array([entry.second for entry in late])
        rows, delays = np.array([e.row for e in late]), np.full(len(late), NO_DELAY)
        self._add_entries(panes, seconds, rows, counts, delays)
        for second, row, _, behind in late:
            worst = self._behind.get((second, row), 0.0)
            self._behind[second, row] = max(worst, behind)

    def _rows_of(self, cells: list[Cell]) -> list[Ints]:
        """By cell the row of its cohort, and of its critical one; -1 for none."""
        rows = np.full((2, len(cells)), -1, np.int64)
        for number, cell in enumerate(cells):
            for kind, row in enumerate(self.cohorts.of_cell(cell)):
                rows[kind, number] = row
        return [row for row in rows if (row >= 0).any()]

    def _add_entries(
        self, panes: Panes, seconds: Ints, rows: Ints, counts: Ints, delays: Ints
    ) -> None:
        if not seconds.size:
            return
        if counts.shape[1] < COLUMNS:
            counts = np.hstack((counts, np.zeros((len(counts), 1), np.int64)))
        source = self._source(panes.source)
        size = len(seconds)
        self._entries.append(
            _Entries(
                seconds,
                rows,
                np.full(size, source),
                np.full(size, panes.block),
                counts,
                delays,
            )
        )
        low, high = int(seconds.min()), int(seconds.max())
        self.first = low if self.first == START else min(self.first, low)
        self.newest = max(self.newest, high)

    def _source(self, source: tuple[str, int]) -> int:
        if source not in self.sources:
            self.sources.append(source)
        return self.sources.index(source)

    def close(self, before: int) -> Iterator[Second]:
        """Every second before this one that holds anything, in order; forgotten."""
        if self.first == START or self.first >= before:
            return
        entries, sketch = self._split(before)
        bounds = np.flatnonzero(np.diff(entries.seconds, prepend=-1))
        for low, high in zip(bounds, [*bounds[1:], len(entries.seconds)], strict=True):
            second = int(entries.seconds[low])
            part = _Entries(*(column[low:high] for column in entries))
            a, z = np.searchsorted(sketch.seconds, (second, second + 1))
            yield self._second(second, part, _Sketch(*(c[a:z] for c in sketch)))

    def _second(self, second: int, part: _Entries, sketch: _Sketch) -> Second:
        starts = np.flatnonzero(np.diff(part.rows, prepend=-1))
        rows = part.rows[starts]
        keys, at = np.unique(sketch.rows * 2048 + sketch.buckets, return_inverse=True)
        requests = np.bincount(at, sketch.requests, len(keys)).astype(np.int64)
        blocks = np.unique(
            np.stack((part.rows, part.sources, part.blocks)), axis=1
        ).astype(np.int64)
        late = part.rows[part.counts[:, LATE] > 0]
        behind = {row: self._behind.pop((second, row)) for row in set(late.tolist())}
        return Second(
            second,
            rows,
            np.add.reduceat(part.counts, starts, axis=0),
            keys // 2048,
            keys % 2048,
            requests,
            (blocks[0], blocks[1], blocks[2]),
            behind,
            np.minimum.reduceat(part.delays, starts),
        )

    def _split(self, before: int) -> tuple[_Entries, _Sketch]:
        """Take everything before a second out, in the order of seconds and rows."""
        entries, sketch = self._joined()
        is_over = entries.seconds < before
        rest = _Entries(*(column[~is_over] for column in entries))
        self._entries = [rest] if rest.seconds.size else []
        self.first = int(rest.seconds.min()) if rest.seconds.size else START
        order = np.lexsort((entries.rows[is_over], entries.seconds[is_over]))
        entries = _Entries(*(column[is_over][order] for column in entries))
        is_over = sketch.seconds < before
        left = _Sketch(*(column[~is_over] for column in sketch))
        self._sketches = [left] if left.seconds.size else []
        order = np.argsort(sketch.seconds[is_over], kind="stable")
        return entries, _Sketch(*(column[is_over][order] for column in sketch))

    # ---- forgetting and snapshots

    def forget(self, rows: set[int]) -> None:
        """Free rows, but for those that open seconds still count in."""
        open_rows = {row for part in self._entries for row in part.rows.tolist()}
        self.cohorts.free(rows - open_rows)

    def state(self) -> dict[str, Any]:
        """Return the open seconds and the cohorts' rows."""
        entries, sketch = self._joined()
        return {
            "cohorts": self.cohorts.state(),
            "sources": self.sources,
            "entries": [pack_ints(column.ravel()) for column in entries],
            "sketch": [pack_ints(column) for column in sketch],
            "behind": [(*key, worst) for key, worst in self._behind.items()],
            "newest": self.newest,
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> "Tally":
        """Go on where `state` was taken."""
        tally = cls()
        tally.cohorts = CohortRows.from_state(state["cohorts"])
        tally.sources = [(topic, partition) for topic, partition in state["sources"]]
        entries = _Entries(*map(unpack_ints, state["entries"]))
        entries = entries._replace(counts=entries.counts.reshape(-1, COLUMNS))
        if entries.seconds.size:
            tally._entries = [entries]
            tally.first = int(entries.seconds.min())
        sketch = _Sketch(*map(unpack_ints, state["sketch"]))
        tally._sketches = [sketch] if sketch.seconds.size else []
        tally._behind = {(second, row): worst for second, row, worst in state["behind"]}
        tally.newest = state["newest"]
        return tally

    def _joined(self) -> tuple[_Entries, _Sketch]:
        entries = [*self._entries, _NO_ENTRIES]
        sketches = [*self._sketches, _NO_SKETCH]
        return (
            _Entries(*map(np.concatenate, zip(*entries, strict=True))),
            _Sketch(*map(np.concatenate, zip(*sketches, strict=True))),
        )


_NONE = np.empty(0, np.int64)
_NO_COUNTS = np.empty((0, COLUMNS), np.int64)
_NO_ENTRIES = _Entries(_NONE, _NONE, _NONE, _NONE, _NO_COUNTS, _NONE)
_NO_SKETCH = _Sketch(_NONE, _NONE, _NONE, _NONE)
