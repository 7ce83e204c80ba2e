"""The rules of the chain, one by one, and the three small cases it was made for."""

import numpy as np
import pytest
from streaming.fold_reference import Record, unpacked
from streaming.test_fold import T0, batch_of, line

from guard.chain import Chain, Taken
from guard.fold import Fold, FoldSettings, Source
from guard.pane import START, Panes
from guard.shell.inputs import native
from guard.words import Words

GOES_ON, REPEAT, GAP = Taken.GOES_ON, Taken.REPEAT, Taken.GAP


def message(block, start, to, *, sources=1, partition=0, size=16, **flags):
    return Panes(
        topic="t",
        partition=partition,
        sources={"t": sources},
        block_size=size,
        block=block,
        start=start,
        to=to,
        **flags,
    )


def chain_of(*messages):
    chain = Chain()
    for panes in messages:
        assert chain.take(panes)[0] is GOES_ON
    return chain


AT_20 = message(0, START, 20)


@pytest.mark.parametrize(
    ("panes", "taken"),
    [
        (message(0, 20, 30), (GOES_ON, 20, 20)),
        (message(0, START, 30), (GOES_ON, 20, 20)),
        (message(0, 10, 20), (REPEAT, 20, 20)),
        (message(0, 21, 30), (GAP, 20, 20)),
        (message(0, 10, 20, is_last=True), (GOES_ON, 20, 20)),
        (message(0, START, 15, is_last=True), (GOES_ON, 20, 20)),
        (message(0, 21, 30, is_last=True), (GAP, 20, 20)),
        (message(1, START, 30), (GAP, 20, 20)),
        (message(0, 20, 30, size=4), (GAP, 20, 20)),
        (message(7, START, 30, is_jump=True), (GOES_ON, START, 20)),
        (message(0, START, 30, is_jump=True), (GOES_ON, 20, 20)),
        (message(0, START, 15, is_jump=True), (REPEAT, 20, 20)),
        (message(0, START, 30, size=4, is_jump=True), (GOES_ON, START, 20)),
        (message(0, START, 30, size=4), (GOES_ON, START, 20)),
    ],
)
def test_what_is_done_with_a_message(panes, taken):
    """At second 20 of block 0: what goes on, is a repeat, or has a gap before it."""
    assert chain_of(AT_20).take(panes) == taken


def test_a_block_begins_at_start_after_a_last():
    """The position starts anew with every block; the watermark stays."""
    chain = chain_of(AT_20, message(0, 20, 30, is_last=True))
    assert chain.take(message(0, 20, 40)) == (REPEAT, START, 30)
    assert chain.take(message(1, START, 25)) == (GOES_ON, START, 30)
    assert chain.passed() == 30
    assert chain.take(message(1, 25, 31)) == (GOES_ON, 25, 30)
    assert chain.passed() == 31


def test_a_jump_is_taken_forward_only():
    """An older jump is a repeat."""
    chain = chain_of(message(7, START, 30, is_jump=True))
    assert chain.take(message(3, START, 40, is_jump=True)) == (REPEAT, 30, 30)


def test_a_first_message_begins_at_block_0_or_jumps():
    """Without a jump nothing is taken before block 0."""
    assert Chain().take(message(3, START, 20))[0] is GAP
    assert Chain().take(message(0, 5, 20))[0] is GAP
    assert Chain().take(message(3, START, 20, is_jump=True))[0] is GOES_ON


def test_every_source_is_waited_for():
    """Nothing has passed while one source has said nothing."""
    chain = Chain()
    assert (chain.passed(), chain.slowest()) == (START, None)
    chain.take(message(0, START, 20, sources=3))
    chain.take(message(0, START, 30, sources=3, partition=2))
    assert (chain.passed(), chain.slowest()) == (START, ("t", 1))
    chain.take(message(0, START, 25, sources=3, partition=1))
    assert (chain.passed(), chain.slowest()) == (20, ("t", 0))
    assert dict(chain.watermarks()) == {("t", 0): 20, ("t", 1): 25, ("t", 2): 30}


def test_a_partition_beyond_the_number_told_is_a_source_with_all_before_it():
    """Whoever hears of partition 2 waits for 0 and 1 as well, whatever was told."""
    chain = Chain()
    chain.take(message(0, START, 20, sources=1, partition=2))
    assert sorted(key[1] for key, _ in chain.watermarks()) == [0, 1, 2]
    chain.take(message(0, START, 20, sources=5))
    assert sorted(key[1] for key, _ in chain.watermarks()) == [0, 1, 2, 3, 4]


def test_a_source_added_later_begins_where_all_is_closed():
    """Its panes of closed seconds are late by its own watermark."""
    chain = chain_of(AT_20)
    chain.closed = chain.passed()
    chain.take(message(0, 20, 30, sources=2))
    assert chain.passed() == 20
    first = chain.take(message(0, START, 30, sources=2, partition=1))
    assert first == (GOES_ON, START, 20)
    assert chain.passed() == 30


def test_a_state_goes_on_and_does_not_change_later():
    """A chain from a state takes what the first one takes; a state is a value."""
    chain = chain_of(AT_20)
    chain.closed = 20
    state = chain.state()
    other = Chain.from_state(chain.state(), chain.closed)
    assert other.take(message(0, 20, 30)) == chain.take(message(0, 20, 30))
    assert other.state() == chain.state() != state
    assert (other.closed, other.passed()) == (20, 30)


# ---- jumps, with real folds


def fold_at(start, *, committed):
    settings = FoldSettings(
        targets=1, sources={"t": 1}, lateness_seconds=4.0, block_size=16
    )
    words = Words(lambda _: 0)
    return Fold(
        Source("t", 0), words, native.decode, settings, start=start, committed=committed
    )


def test_a_first_start_in_the_middle_of_a_block_closes_seconds():
    """A partition whose beginning is gone counts from its first record."""
    fold, chain = fold_at(53, committed=False), Chain()
    fold.add(batch_of([Record(53, line(T0 + 9.5), T0 + 10)]))
    fold.flush()
    fold.beat(T0 + 100)
    messages = [outgoing.panes for outgoing in fold.take()]
    assert [panes.is_jump for panes in messages] == [True, False]
    assert [chain.take(panes)[0] for panes in messages] == [GOES_ON, GOES_ON]
    assert chain.passed() == T0 + 96


@pytest.mark.parametrize("seed", range(30))
def test_jumps_under_restarts_end_where_one_pass_does(seed):
    """A partition that begins at offset 53 is counted once, wherever workers die."""
    rng = np.random.default_rng(seed)
    stamps = T0 + np.cumsum(rng.exponential(0.7, 80))
    records = [
        Record(53 + n, line(stamp - rng.random() * 6), stamp)
        for n, stamp in enumerate(stamps.tolist())
    ]
    whole = fold_at(53, committed=False)
    whole.add(batch_of(records))
    whole.finish()
    expected = counted(outgoing.panes for outgoing in whole.take())
    log, committed, at = [], None, 0
    fold = fold_at(53, committed=False)
    while at < len(records):
        end = at + int(rng.integers(1, 9))
        fold.add(batch_of(records[at:end]))
        fold.flush()
        at = end
        for outgoing in fold.take():
            log.append(outgoing.panes)
            if outgoing.commits is not None:
                committed = outgoing.commits
        if rng.random() < 0.2:
            fold = fold_at(committed or 53, committed=committed is not None)
            at = max(0, (committed or 53) - 53)
    fold.finish()
    log += [outgoing.panes for outgoing in fold.take()]
    assert counted(log) == expected


def counted(messages):
    """Requests by block and second, late ones by theirs, as a judge takes them."""
    chain, found = Chain(), {}
    for panes in messages:
        taken, first, _ = chain.take(panes)
        assert taken is not GAP
        if taken is GOES_ON:
            for (block, second), cells in unpacked(panes).items():
                if second >= first:
                    found[block, second] = [pane.counts for pane in cells.values()]
            for late in panes.late:
                if late.second >= first:
                    found[panes.block, late.second, "late"] = late.requests
    return found
