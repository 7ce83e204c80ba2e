"""The fold against its slow reference, on data as nasty as we know how to make it."""

import json
import math
import random
from datetime import UTC, datetime

import msgspec
import numpy as np
import pytest
from streaming.fold_reference import EDGES, Record, Reference, reference, unpacked

import guard.words
from guard.block import SAMPLE_BYTES, SAMPLES
from guard.chain import Chain, Taken
from guard.event import Rejection
from guard.fold import (
    MOST_EMPTY_BLOCKS,
    Batch,
    Fold,
    FoldSettings,
    Outgoing,
    Source,
)
from guard.pane import FOREVER, START, Panes
from guard.shell.inputs import native
from guard.words import Words

T0 = 1_790_000_000.0
SOURCE = Source("requests", 0)
TARGETS = 3


def target_of(service):
    return len(service) % TARGETS


def words():
    return Words(target_of)


def settings_of(**options):
    given = {"targets": TARGETS, "sources": {"requests": 1}} | options
    return FoldSettings(**given)


def fold_of(settings, start=0, *, committed=False, shared=None):
    return Fold(
        SOURCE,
        shared or Words(lambda service: len(service) % settings.targets),
        native.decode,
        settings,
        start=start,
        committed=committed,
    )


def batch_of(records):
    return Batch(
        [record.value for record in records],
        np.array([record.offset for record in records], np.int64),
        np.array([record.stamp for record in records]),
    )


def event(ts=T0, **fields):
    given = {
        "service": "cart",
        "ts": ts,
        "latency_ms": 12.5,
        "status": 200,
        "cohort": "canary",
        "version": "v2",
    }
    return {name: v for name, v in (given | fields).items() if v is not ...}


def line(ts=T0, **fields):
    return json.dumps(event(ts, **fields)).encode()


# ---- nasty data

BAD_FIELDS = [
    *({"status": s} for s in (99, 600, "7x", "", "²00", 10**30, True, 200.0, [])),
    *({"latency_ms": x} for x in (-1, -0.001, "1", None, True, 10**400, ...)),
    *({"service": s} for s in ("", 5, None, ["a"], "x" * 250, ...)),
    *({"ts": t} for t in (None, True, -1e308, 1e308, 0, 17.5, 10**400, ...)),
    *({"ts": t} for t in ("2026-09-21", "2026-09-21T00:00:00", "now", "")),
    *({"ts": t} for t in ("0001-01-01T00:00:00Z", "9999-12-31T00:00:00Z")),
    *({"ts": T0 + x} for x in (1e4, -1e5)),
    *({"count": n} for n in (0, -1, 1_000_001, 10**30, -(10**30), 1.0, True, "1")),
    *({"type": t} for t in ("signal", "", 5)),
    *({"critical": c} for c in (1, None, "yes")),
    *({"error": e} for e in (0, "no")),
    {"status": None},
    {"cohort": None, "version": None},
    {"cohort": "", "version": ""},
    {"cohort": 5},
    {"version": "v" * 250},
    {"instance": 5},
    {"instance": None},
]
ODD_FIELDS = [
    {"status": None, "error": False},
    {"status": 200, "error": True},
    {"cohort": None},
    {"cohort": ""},
    {"version": ""},
    {"version": None},
    {"critical": True},
    {"count": 7},
    {"count": 1_000_000},
    {"instance": ""},
    {"instance": "i" * 300},
    {"instance": "i" * 400},
    {"instance": "a\x00b"},
    {"service": "\x00"},
    {"service": "\U0001f600é"},
    {"latency_ms": 0},
    {"latency_ms": -0.0},
    {"latency_ms": 5e-324},
    {"latency_ms": 1.7e308},
    {"extra": [1, {"a": None}], "service2": 5},
]
RUBBISH = [
    None,
    b"",
    b" ",
    b"\n\n",
    b"junk",
    b"[",
    b"[1,",
    b"[junk]",
    b"[NaN]",
    b"[]",
    b"[[]]",
    b"[7, null]",
    b"{}",
    b"5",
    b"null",
    b'"text"',
    b"\xff\xfe\x00",
    b"\xef\xbb\xbf{}",
    b'{"service":"a"',
    b'{"service":5',
    b'{"service":"a",}',
    b'{"service":"a"} x',
    b'{"service":"\\ud800"}',
    b'{"other":"\\ud800"}',
    b'{"service":"\xff"}',
    b'{"service":"a\x00"}',
    b'{"latency_ms":NaN}',
    b'{"latency_ms":NaN,"service":5}',
    b'{"latency_ms":-Infinity}',
    b'{"latency_ms":1e999}',
    b'{"latency_ms":-1e999,"x":1}',
    b'{"ts":1e999}',
    b'{"ts":NaN}',
    b'{"count":1e999}',
    b'{"status":-1e999}',
    b'{"count":' + b"9" * 5000 + b"}",
    b'{"status":' + b"9" * 5000 + b"}",
    b'{"latency_ms":' + b"9" * 400 + b',"x":NaN}',
    b'{"x":Infinity}',
    b"[" * 100_000,
    b'{"x":' + b"[" * 100_000,
    b'{"service":5,"service":"a"}',
    b'{"service":"a",\n"ts":1',
]


class Nasty:
    """Records of one partition, drawn from a seed."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.time = T0
        self.rate = self.random.choice((20, 300, 3000))
        self.services = self.random.choice(("a", "ab", "abcdef"))

    def event(self):
        r = self.random
        behind = r.random() * (12 if r.random() < 0.05 else 2)
        ts = self.time - behind
        if r.random() < 0.002:
            ts = self.time + r.random() * 70
        if r.random() < 0.1:
            ts = float(round(ts))  # on the second exactly
        drawn = event(
            round(ts, 3),
            service=r.choice(self.services) * r.randint(1, 5),
            latency_ms=r.choice(
                (0, 1, 1e-9, 1e12, r.lognormvariate(4, 1), r.choice(EDGES))
            ),
            status=r.choice((200, 200, 200, "200", 503, 404, "OK", "UNAVAILABLE")),
            cohort=r.choice(("canary", "baseline")),
            version=r.choice(("v1", "v2")),
            instance=f"pod-{r.randrange(100)}",
        )
        if r.random() < 0.15:
            iso = datetime.fromtimestamp(drawn["ts"], UTC).isoformat()
            odd = r.choice(
                (r.choice(ODD_FIELDS), r.choice(BAD_FIELDS), {"ts": iso}),
            )
            drawn = {n: v for n, v in (drawn | odd).items() if v is not ...}
        return json.dumps(drawn, indent=2 if r.random() < 0.05 else None).encode()

    def value(self):
        r, u = self.random, self.random.random()
        if u < 0.9:
            return self.event()
        if u < 0.94:
            return r.choice(RUBBISH)
        many = [
            r.choice((b"7", b"junk")) if r.random() < 0.03 else self.event()
            for _ in range(r.randrange(1, 6))
        ]
        if u < 0.97:
            return b" [" + b", ".join(many) + b"]"
        return b"\n".join(json_line.replace(b"\n", b"") for json_line in many) + b"\n"

    def records(self, count, block_size):
        r, drawn, offset = self.random, [], 0
        while len(drawn) < count:
            self.time += r.expovariate(self.rate)
            if r.random() < 0.002:
                self.time += r.random() * 30
            if r.random() < 0.01:
                offset += r.choice((1, 7, r.randrange(3 * block_size)))
            drawn.append(
                Record(offset, self.value(), math.floor(self.time * 1e3) / 1e3)
            )
            if r.random() < 0.005:
                drawn.append(drawn[-1]._replace(offset=offset + 1))
                offset += 1
            offset += 1
        return drawn


class Listener:
    """What the panes topic says in the end; every repeat must equal the first."""

    def __init__(self):
        self.chains = [Chain() for _ in range(TARGETS)]
        self.said = Reference({}, {}, {})
        self.finals = {}
        self.told = {}
        self.commits = 0

    def hear(self, fold):
        for outgoing in fold.take():
            self.hear_one(outgoing)

    def hear_one(self, outgoing):
        packed = msgspec.msgpack.encode(outgoing.panes)
        panes = msgspec.msgpack.decode(packed, type=Panes)
        taken, first, _ = self.chains[outgoing.target].take(panes)
        assert taken is not Taken.GAP
        said = unpacked(panes)
        late = {
            (panes.block, entry.second, entry.cell): (
                entry.requests,
                entry.behind_seconds,
            )
            for entry in panes.late
        }
        for key, pane in {**said, **late}.items():
            final = self.finals.setdefault((outgoing.target, key), pane)
            assert final == pane
            assert list(final) == list(pane)  # the order of cells too
        if taken is Taken.GOES_ON:
            for key, pane in said.items():
                assert {target_of(cell.service) for cell in pane} == {outgoing.target}
                if key[1] >= first:
                    self.said.panes.setdefault(key, {}).update(pane)
            self.said.late.update({k: v for k, v in late.items() if k[1] >= first})
        for told in outgoing.rejected:
            key = panes.block, told.rejection
            assert self.told.setdefault(key, told) == told
        if outgoing.commits is not None:
            self.commits = max(self.commits, outgoing.commits)


def listen(records, settings, seed, restarts):
    r, listener, shared = random.Random(seed), Listener(), words()
    fold, at = fold_of(settings, shared=shared), 0
    offsets = [record.offset for record in records]
    while at < len(records):
        size = r.choice((1, 2, 10, 100, settings.block_size // 3 + 1))
        fold.add(batch_of(records[at : at + size]))
        at += size
        if r.random() < 0.5:
            fold.flush()
        if at < len(records):  # nothing comes before the next record
            stamps = records[at - 1].stamp, records[at].stamp
            fold.beat(r.uniform(*stamps))
        listener.hear(fold)
        if r.random() < restarts:
            start = listener.commits
            at = int(np.searchsorted(offsets, start))
            shared = shared if r.random() < 0.5 else words()
            fold = fold_of(settings, start, committed=True, shared=shared)
    fold.finish()
    listener.hear(fold)
    return listener


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_fold_says_what_the_reference_says(seed, monkeypatch):
    """However batches are cut and workers restarted, all that is said is the same."""
    monkeypatch.setattr(guard.words, "MOST_WORDS", 300)
    nasty = Nasty(seed)
    block_size = nasty.random.choice((16, 64, 1000))
    settings = settings_of(
        block_size=block_size, patience_seconds=nasty.random.choice((6.0, 60.0))
    )
    records = nasty.records(1500, block_size)
    expected = reference(records, settings)
    assert expected.panes
    assert expected.rejected
    for restarts in (0, 0.02, 0.1):
        actual = listen(records, settings, seed, restarts)
        assert actual.said.late == expected.late
        assert actual.said.panes == expected.panes
        rejected = {key: told.events for key, told in actual.told.items()}
        assert rejected == {key: len(o) for key, o in expected.rejected.items()}
        for key, told in actual.told.items():
            offsets = expected.rejected[key]
            assert (told.first_offset, told.last_offset) == (offsets[0], offsets[-1])
            shown = [sample.offset for sample in told.samples]
            assert shown == sorted(set(offsets))[:SAMPLES]


def test_data_of_the_reference_is_nasty():
    """Every reason for rejection, late requests and over 64 instances do occur."""
    said = reference(Nasty(1).records(3000, 64), settings_of(block_size=64))
    reasons = {reason for _, reason in said.rejected}
    assert reasons == set(Rejection) - {Rejection.NONE}
    assert said.late
    crowded = reference(
        [Record(i, line(instance=f"pod-{i}"), T0) for i in range(100)], settings_of()
    )
    (pane,) = next(iter(crowded.panes.values())).values()
    assert len(pane.instances) == 64


@pytest.mark.parametrize("value", RUBBISH)
def test_rubbish_is_rejected_for_its_reason(value):
    """Each odd value is rejected for the reason that the reference finds, too."""
    records = [Record(0, value, T0), Record(1, line(), T0)]
    settings = settings_of(block_size=8)
    listener = listen(records, settings, 0, 0)
    expected = reference(records, settings)
    told = {key: told.events for key, told in listener.told.items()}
    assert told == {key: len(offsets) for key, offsets in expected.rejected.items()}
    assert listener.said.panes == expected.panes


@pytest.mark.parametrize("fields", BAD_FIELDS + ODD_FIELDS, ids=str)
def test_each_field_is_judged_as_the_reference_does(fields):
    """Each odd field is counted or rejected as the reference says."""
    records = [Record(0, line(**fields), T0), Record(1, line(), T0)]
    settings = settings_of(block_size=8)
    listener = listen(records, settings, 0, 0)
    expected = reference(records, settings)
    assert set(listener.told) == set(expected.rejected)
    assert bool(expected.rejected) == any(fields is bad for bad in BAD_FIELDS)
    assert listener.said.panes == expected.panes


@pytest.mark.slow
def test_fuzzed_records_among_good_ones_cost_only_themselves():
    """Of 100,000 fuzzed among 100,000 good records the good are all counted."""
    r = random.Random(20)
    good, records, offset = 0, [], 0
    for _ in range(100_000):
        weight = r.randint(1, 9)
        ts = T0 + offset / 1000
        whole = line(ts, count=weight, service="good")
        good += weight
        records.append(Record(offset, whole, ts))
        records.append(Record(offset + 1, _fuzzed(r, ts), ts))
        offset += 2
    settings = settings_of()
    expected = reference(records, settings)
    fold, listener = fold_of(settings), Listener()
    for at in range(0, len(records), 5000):
        fold.add(batch_of(records[at : at + 5000]))
    fold.finish()
    rejected = fold.take_rejected()
    listener.hear(fold)
    wanted: dict[Rejection, int] = {}
    for (_, reason), offsets in expected.rejected.items():
        wanted[reason] = wanted.get(reason, 0) + len(offsets)
    assert rejected == wanted
    assert sum(told.events for told in listener.told.values()) == sum(wanted.values())
    assert listener.said.panes == expected.panes
    counted = sum(
        pane.counts[0]
        for cells in listener.said.panes.values()
        for cell, pane in cells.items()
        if cell.service == "good"
    )
    assert counted == good


def _fuzzed(r, ts):
    if r.random() < 0.1:
        return r.choice([value for value in RUBBISH if len(value or b"") < 1000])
    value = bytearray(line(ts, service="bad"))
    for _ in range(r.randint(1, 3)):
        at = r.randrange(len(value))
        what = r.randrange(3)
        if what == 0:
            value[at] = r.choice(b'{}[]",:0123456789eE-.\\xNaI \n\x00')
        elif what == 1:
            del value[at : at + r.randrange(4)]
        else:
            value[at:at] = r.choice((b"null", b"1e999", b"NaN", b'"', b"[", b"-"))
        if not value:
            break
    return bytes(value)


# ---- one by one


def test_event_times_and_batches_may_be_empty():
    """A batch without records changes nothing."""
    fold = fold_of(settings_of())
    fold.add(batch_of([]))
    assert (fold.next_offset, fold.take(), fold.watermark) == (0, [], -math.inf)


def test_offsets_before_the_next_one_are_refused():
    """A record that was counted already is an error of the caller."""
    fold = fold_of(settings_of())
    fold.add(batch_of([Record(4, line(), T0)]))
    with pytest.raises(ValueError, match="offsets from 5 on, not 4"):
        fold.add(batch_of([Record(4, line(), T0)]))


@pytest.mark.parametrize("name", ["targets", "block_size"])
def test_settings_refuse_what_cuts_nothing(name):
    """Targets and block size are at least one."""
    with pytest.raises(ValueError, match=f"{name} must be >= 1, not 0"):
        settings_of(**{name: 0})


def test_settings_refuse_a_negative_future():
    """Events may be ahead by nothing, but not by less."""
    with pytest.raises(ValueError, match="future_seconds must be >= 0, not -1"):
        settings_of(future_seconds=-1.0)


def test_every_empty_block_ends_with_a_last_message():
    """Numbers that an offset gap passes over end with nothing, for every target."""
    fold = fold_of(settings_of(block_size=4))
    fold.add(batch_of([Record(13, line(), T0)]))
    ends = [(o.target, o.panes.block, o.panes.is_last, o.commits) for o in fold.take()]
    assert ends == [(t, b, True, None) for b in range(3) for t in range(TARGETS)]


def test_only_blocks_with_records_are_committed():
    """The last message of a block's last target commits the block's first offset."""
    fold = fold_of(settings_of(block_size=4, targets=1))
    fold.add(batch_of([Record(o, line(), T0) for o in (4, 5, 12)]))
    commits = [(o.panes.block, o.commits) for o in fold.take()]
    assert commits == [(0, None), (1, 4), (2, None)]


@pytest.mark.parametrize("restarts", [False, True])
def test_a_wide_gap_is_a_jump_and_loses_nothing(restarts):
    """Too many empty blocks are passed at once; the block before is told first."""
    far = (MOST_EMPTY_BLOCKS + 3) * 4
    records = [Record(0, line(), T0), Record(far + 1, line(T0 + 1), T0 + 1)]
    fold, listener = fold_of(settings_of(block_size=4)), Listener()
    fold.add(batch_of(records))
    listener.hear(fold)
    if restarts:
        fold = fold_of(settings_of(block_size=4), 0, committed=True)
        fold.add(batch_of(records))
    fold.finish()
    messages = fold.take()
    assert [o.panes.is_jump for o in messages[-TARGETS:]] == [True] * TARGETS
    for outgoing in messages:
        listener.hear_one(outgoing)
    counted = {
        key: next(iter(p.values())).counts[0] for key, p in listener.said.panes.items()
    }
    assert counted == {(0, int(T0)): 1, (far // 4, int(T0) + 1): 1}


def test_a_wide_gap_behind_a_committed_block_is_not_read_silently():
    """Only the committed block itself is silent, not the one that is jumped to."""
    far = (MOST_EMPTY_BLOCKS + 9) * 4
    fold = fold_of(settings_of(block_size=4), 4, committed=True)
    fold.add(batch_of([Record(4, line(), T0), Record(far, line(T0 + 1), T0 + 1)]))
    fold.finish()
    said = [o.panes for o in fold.take() if o.panes.cells]
    assert [(panes.block, panes.is_jump) for panes in said] == [(far // 4, True)]


@pytest.mark.parametrize(
    ("start", "committed", "is_silent", "is_jump"),
    [
        (0, False, False, False),
        (0, True, False, False),
        (4, True, True, False),
        (4, False, False, True),
        (5, True, False, True),
    ],
)
def test_only_a_committed_start_of_a_block_is_silent(
    start, committed, is_silent, is_jump
):
    """Block 0 is counted, a committed block read silently, all else is a jump."""
    fold = fold_of(settings_of(block_size=4), start, committed=committed)
    fold.add(batch_of([Record(start, line(), T0)]))
    fold.beat(T0 + 100)
    assert (fold.take() == []) == is_silent
    assert fold.is_silent(T0 + 100) != is_silent
    fold.flush()
    fold.finish()
    assert all(not o.panes.is_jump for o in fold.take())
    fresh = fold_of(settings_of(block_size=4), start, committed=committed)
    fresh.finish()
    assert all(o.panes.is_jump == is_jump for o in fresh.take())


def test_the_watermark_has_news_once():
    """What was told is not told again; a beat tells no less than the watermark."""
    fold = fold_of(settings_of(targets=1))
    assert not fold.has_news
    fold.add(batch_of([Record(0, line(T0), T0)]))
    assert fold.has_news
    fold.flush()
    assert not fold.has_news
    fold.flush()
    (only,) = fold.take()
    assert (only.panes.start, only.panes.to) == (START, int(T0) - 5)
    fold.beat(T0 + 5)
    assert fold.take() == []
    fold.beat(T0 + 5.5)
    (beat,) = fold.take()
    assert (beat.panes.start, beat.panes.to) == (int(T0) - 5, int(T0))


def test_what_a_beat_denied_comes_late():
    """A record that contradicts what was said counts as late, under what was said."""
    fold = fold_of(settings_of(targets=1))
    fold.beat(T0 + 10)
    fold.add(batch_of([Record(0, line(T0), T0 + 1)]))
    fold.finish()
    late = [entry for o in fold.take() for entry in o.panes.late]
    assert [(e.second, e.requests, e.behind_seconds) for e in late] == [
        (int(T0) + 5, 1, 10.0)
    ]


def test_the_end_of_a_replay_passes_everything():
    """After the end nothing is waited for."""
    fold = fold_of(settings_of(targets=1))
    fold.finish()
    (only,) = fold.take()
    assert (only.panes.to, only.panes.is_last, only.commits) == (FOREVER, True, None)


def test_rejected_counts_are_taken_once():
    """Counts for the metric start anew each time they are asked for."""
    fold = fold_of(settings_of())
    fold.add(batch_of([Record(0, b"x", T0), Record(1, line(status=99), T0)]))
    assert fold.take_rejected() == {Rejection.NOT_JSON: 1, Rejection.BAD_STATUS: 1}
    assert fold.take_rejected() == {}


def test_samples_are_the_first_ones_cut():
    """The first 20 values of a reason are told, each cut; tombstones as none."""
    values = [None, b"", b"x" * 5000, *[b"y"] * 30]
    fold = fold_of(settings_of(targets=1))
    for offset, value in enumerate(values):
        fold.add(batch_of([Record(offset, value, T0)]))
    fold.finish()
    (told,) = fold.take()[-1].rejected
    assert (told.events, told.first_offset, told.last_offset) == (33, 0, 32)
    assert len(told.samples) == SAMPLES
    shown = [sample.value for sample in told.samples[:4]]
    assert shown == [None, b"", b"x" * SAMPLE_BYTES, b"y"]


def test_an_array_of_very_many_events_is_one_value():
    """100,000 bad events of one value are counted, told once and kept as one sample."""
    fold = fold_of(settings_of(targets=1))
    fold.add(batch_of([Record(0, b"[" + b",".join([b"{}"] * 100_000) + b"]", T0)]))
    fold.finish()
    (told,) = fold.take()[-1].rejected
    assert (told.rejection, told.events) == (Rejection.MISSING_FIELD, 100_000)
    assert [sample.offset for sample in told.samples] == [0]


def test_a_flood_of_late_events_is_summed_by_second_and_cell():
    """Late events cost one entry for each second and cell."""
    services = ["b" * 3, "a" * 3]
    records = [Record(0, line(T0 + 9), T0 + 9)]
    records += [
        Record(o, line(T0 - o / 1000, service=services[o % 2]), T0 + 9)
        for o in range(1, 2001)
    ]
    fold = fold_of(settings_of())
    fold.add(batch_of(records))
    fold.finish()
    late = [(o.target, e) for o in fold.take() for e in o.panes.late]
    found = [(target, e.cell.service, e.second, e.requests) for target, e in late]
    assert found == [(0, s, int(T0) + 4, 1000) for s in ("aaa", "bbb")]
    assert [e.behind_seconds for _, e in late] == pytest.approx([10.999, 11.0])


@pytest.mark.parametrize("seed", range(12))
def test_the_lateness_that_is_named_would_have_sufficed(seed):
    """Also where the patience, or the end of a silence, had moved the watermark."""
    rng, stamp, records = random.Random(seed), T0, []
    for offset in range(300):
        stamp += rng.choice([0.1, 0.3, 1.0, 9.0 if seed % 2 else 0.5])
        age = rng.choice([61.0, 70.0, 200.0] if seed % 3 else [0.0, 4.0, 30.0, 200.0])
        records.append(Record(offset, line(stamp - age), stamp))

    def late(lateness):
        patience = max(60.0, lateness)
        settings = settings_of(lateness_seconds=lateness, patience_seconds=patience)
        fold = fold_of(settings)
        fold.add(batch_of(records))
        fold.finish()
        told = [entry for o in fold.take() for entry in o.panes.late]
        return max((entry.behind_seconds for entry in told), default=None)

    named = late(5.0)
    assert named > 60
    assert late(named + 1e-6) is None
    assert late(named - 0.01) is not None


def test_a_message_carries_the_lateness():
    """Whoever finds its panes late can name the one that would have sufficed."""
    fold = fold_of(settings_of(targets=1, lateness_seconds=7.5))
    fold.beat(T0)
    (only,) = fold.take()
    assert (only.panes.to, only.panes.lateness_seconds) == (T0 - 8, 7.5)


def test_outgoing_says_nothing_unless_told():
    """A message carries neither rejections nor a commit by default."""
    fold = fold_of(settings_of(targets=1))
    fold.beat(T0)
    (only,) = fold.take()
    assert only == Outgoing(0, only.panes, (), None)
