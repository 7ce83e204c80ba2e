"""Open seconds against plain dictionaries, and across snapshots."""

import random
from collections import Counter

import msgspec
import numpy as np
import pytest

import guard.tally
from guard.cohort import Cell, Cohort, Role, cohorts_of
from guard.pane import COUNTS, NO_DELAY, START, Late, Panes, pack_ints
from guard.tally import COLUMNS, LATE, CohortRows, Tally

BASELINE = Cell("shop", "v1", "baseline", critical=False)
CANARY = Cell("shop", "v2", "canary", critical=False)
CRITICAL = Cell("shop", "v2", "canary", critical=True)
OTHER = Cell("shop", "v3", None, critical=False)
CELLS = [
    BASELINE,
    CANARY,
    CRITICAL,
    OTHER,
    Cell("pay", "v1", "baseline", critical=True),
]


def panes_of(entries, *, late=(), partition=0, block=0, lateness=0.0):
    """A message of (second, cell, counts, sketch, delay)."""
    cells = list(dict.fromkeys(cell for _, cell, *_ in entries))
    sketches = [sketch for _, _, _, sketch, _ in entries]
    return Panes(
        topic="t",
        partition=partition,
        sources={"t": 2},
        block_size=4,
        block=block,
        start=0,
        to=99,
        cells=cells,
        seconds=_packed(second for second, *_ in entries),
        cell_numbers=_packed(cells.index(cell) for _, cell, *_ in entries),
        counts=_packed(n for _, _, counts, _, _ in entries for n in counts),
        delays=_packed(delay for *_, delay in entries),
        lateness_seconds=lateness,
        sketch=(
            _packed(map(len, sketches)),
            _packed(bucket for sketch in sketches for bucket in sketch),
            _packed(n for sketch in sketches for n in sketch.values()),
        ),
        late=list(late),
    )


def _packed(numbers):
    return pack_ints(np.array(list(numbers), np.int64))


def entry(second, cell, requests=1):
    return second, cell, [requests, 0, 0, 0, requests, 0, 0, 0], {357: requests}, 0


def closed(tally, before):
    """Seconds with the names of their cohorts, without zeros."""
    names = {row: cohort for cohort, row in tally.cohorts.items()}
    found = {}
    for second in tally.close(before):
        counts = {
            (names[row], column): n
            for row, line in zip(
                second.rows.tolist(), second.counts.tolist(), strict=True
            )
            for column, n in enumerate(line)
            if n
        }
        sketch = {
            (names[row], bucket): n
            for row, bucket, n in zip(
                second.sketch_rows.tolist(),
                second.sketch_buckets.tolist(),
                second.sketch_requests.tolist(),
                strict=True,
            )
        }
        rows, sources, blocks = (column.tolist() for column in second.blocks)
        came = {
            (names[row], tally.sources[source], block)
            for row, source, block in zip(rows, sources, blocks, strict=True)
        }
        behind = {names[row]: worst for row, worst in second.behind.items()}
        delays = {
            names[row]: delay
            for row, delay in zip(
                second.rows.tolist(), second.delays.tolist(), strict=True
            )
            if delay < NO_DELAY
        }
        found[second.second] = counts, sketch, came, behind, delays
    return found


def test_cohorts_of_cells():
    """A canary is one by version, a baseline is one; critical requests count twice."""
    assert cohorts_of(BASELINE) == [Cohort("shop", Role.BASELINE)]
    assert cohorts_of(CRITICAL) == [
        Cohort("shop", Role.CANARY, "v2"),
        Cohort("shop", Role.CANARY, "v2", is_critical=True),
    ]
    assert cohorts_of(OTHER) == []


class Model:
    """The same in dictionaries."""

    def __init__(self):
        self.counts, self.sketches = Counter(), Counter()
        self.came, self.behind, self.delays = set(), {}, {}

    def add(self, entries, late, came, *, first, passed, lateness):
        for second, cell, counts, sketch, delay in entries:
            for cohort in cohorts_of(cell) if second >= first else ():
                if second < passed:
                    worst = passed - second + lateness
                    self.late(passed, cohort, counts[0], worst, came)
                    continue
                self.came.add((second, cohort, *came))
                least = self.delays.get((second, cohort), delay)
                self.delays[second, cohort] = min(least, delay)
                for column, n in enumerate(counts):
                    self.counts[second, cohort, column] += n
                for bucket, n in sketch.items():
                    self.sketches[second, cohort, bucket] += n
        for second, cell, requests, worst in late:
            for cohort in cohorts_of(cell) if second >= first else ():
                at = max(second, passed)
                self.late(at, cohort, requests, worst, came)

    def late(self, second, cohort, requests, worst, came):
        self.came.add((second, cohort, *came))
        self.counts[second, cohort, LATE] += requests
        before = self.behind.get((second, cohort), 0.0)
        self.behind[second, cohort] = max(before, worst)

    def closed(self, since, before):
        seconds = {second for second, *_ in self.came if since <= second < before}
        return {
            second: (
                {
                    key[1:]: n
                    for key, n in self.counts.items()
                    if key[0] == second and n
                },
                {key[1:]: n for key, n in self.sketches.items() if key[0] == second},
                {key[1:] for key in self.came if key[0] == second},
                {key[1]: w for key, w in self.behind.items() if key[0] == second},
                {key[1]: d for key, d in self.delays.items() if key[0] == second},
            )
            for second in sorted(seconds)
        }


@pytest.mark.parametrize("seed", range(60))
def test_seconds_close_with_what_dictionaries_counted(seed):
    """Entries, late ones and sketches, in any order and across snapshots."""
    r, tally, model, since = random.Random(seed), Tally(), Model(), 100
    for _ in range(20):
        passed = since + r.randrange(3)
        entries = [
            (
                since + r.randrange(-2, 6),
                cell,
                [r.randrange(1, 100) for _ in range(COUNTS)],
                {b: r.randrange(1, 9) for b in r.sample(range(1037), r.randrange(3))},
                r.randrange(-300, 70_000),
            )
            for cell in r.sample(CELLS, r.randrange(len(CELLS)))
        ]
        late = [
            Late(since + r.randrange(-2, 6), cell, r.randrange(1, 9), r.random() * 9)
            for cell in r.sample(CELLS, r.randrange(3))
        ]
        first, source, block = (
            since + r.randrange(-2, 3),
            r.randrange(2),
            r.randrange(3),
        )
        lateness, came = r.choice((0.0, 2.5)), (("t", source), block)
        panes = panes_of(
            entries, late=late, partition=source, block=block, lateness=lateness
        )
        tally.add(panes, first, passed)
        model.add(entries, late, came, first=first, passed=passed, lateness=lateness)
        if r.random() < 0.3:
            state = msgspec.msgpack.encode(tally.state())
            tally = Tally.from_state(msgspec.msgpack.decode(state))
        if r.random() < 0.4:
            before = since + r.randrange(4)
            found = closed(tally, before)
            assert found == model.closed(since, before)
            assert list(found) == sorted(found)
            since = max(since, before)
    assert closed(tally, since + 99) == model.closed(since, since + 99)
    assert tally.first == START


def test_the_lateness_of_a_late_pane_would_have_sufficed():
    """Of the watermark, and what the pane is behind it."""
    tally = Tally()
    tally.add(panes_of([entry(7, CANARY)], lateness=5.0), 0, 10)
    ((_, _, _, behind, delays),) = closed(tally, 99).values()
    assert list(behind.values()) == [8.0]
    assert delays == {}


def test_newest_and_first_are_of_open_seconds():
    """Both are known without closing anything."""
    tally = Tally()
    assert (tally.first, tally.newest) == (START, START)
    tally.add(panes_of([entry(7, CANARY), entry(9, BASELINE)]), 0, 0)
    assert (tally.first, tally.newest) == (7, 9)
    assert list(tally.close(7)) == []
    assert list(closed(tally, 8)) == [7]
    assert (tally.first, tally.newest) == (9, 9)


def test_requests_of_nobody_open_no_second():
    """Cells without a role in a rollout are not counted."""
    tally = Tally()
    tally.add(panes_of([entry(7, OTHER)]), 0, 0)
    assert tally.first == START
    assert tally.cohorts.size == 1


def test_rows_with_open_requests_are_not_forgotten():
    """A freed row is used again, but not while its requests are open."""
    tally = Tally()
    tally.add(panes_of([entry(7, CANARY), entry(7, BASELINE)]), 0, 0)
    rows = set(tally.cohorts.values())
    tally.forget(rows)
    assert set(tally.cohorts.values()) == rows
    closed(tally, 8)
    tally.forget(rows)
    assert dict(tally.cohorts) == {}
    tally.add(panes_of([entry(9, CRITICAL)]), 0, 0)
    assert set(tally.cohorts.values()) == rows
    assert tally.cohorts.size == 3


def test_rows_of_cohorts_go_on_across_a_snapshot():
    """The next row after a snapshot is the next row without one."""
    rows = CohortRows()
    for cell in CELLS:
        rows.of_cell(cell)
    rows.free({1, 2})
    other = CohortRows.from_state(
        msgspec.msgpack.decode(msgspec.msgpack.encode(rows.state()))
    )
    new = Cell("new", "v9", "canary", critical=True)
    assert other.of_cell(new) == rows.of_cell(new) == (1, 2)
    assert other == rows


def test_cells_of_nobody_are_not_remembered_for_ever(monkeypatch):
    """However many different cells come, few are kept."""
    monkeypatch.setattr(guard.tally, "MOST_CELLS", 10)
    rows = CohortRows()
    for n in range(100):
        assert rows.of_cell(OTHER._replace(version=f"v{n}")) == ()
    assert len(rows._of_cell) <= 10
    assert rows.of_cell(CANARY) == rows.of_cell(CANARY) == (1,)


def test_columns_of_counts_are_those_of_panes_and_late():
    """Late requests stand behind the counts of a pane."""
    assert (LATE, COLUMNS) == (COUNTS, COUNTS + 1)
