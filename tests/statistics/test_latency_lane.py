"""The latency lane: against its parts in plain Python, fair, and quick enough."""

import numpy as np
import pytest
from scipy import stats

from models.change_time import mass_started
from models.latency_lane import LatencyLane
from models.past_latency import UNKNOWN, PastLatency
from models.quantile import BUCKETS, bucket_of
from models.share_bet import LATENCY_RATIOS

ROW = np.array([0])


def made(rows=1, weight=0.1, **words):
    lane = LatencyLane(weight, **words)
    lane.grow(rows)
    return lane


def cells(latencies):
    """Cells of latencies [rows, requests] in ms."""
    counts = np.array(
        [
            np.bincount(bucket_of(np.asarray(row)), minlength=BUCKETS)
            for row in latencies
        ]
    )
    row, bucket = np.nonzero(counts)
    return np.array([row, bucket, counts[row, bucket]])


def slow(blocks):
    """E of blocks of (canary, baseline) latencies, one bet after the other."""
    past, accounts, started, origin = PastLatency(), [0.0] * 12, 0.0, None
    past.grow(1)
    for number, sides in enumerate(blocks):
        a, b = (len(side) for side in sides)
        bars = past.bars(5 * number, ROW)[:, :, 0].tolist()
        canary, baseline = (bucket_of(side).tolist() for side in sides)
        counts = np.bincount(bucket_of(sides[1]), minlength=BUCKETS)[np.newaxis]
        past.update(ROW, np.array([5 * number]), counts)
        if bars[0][0] == UNKNOWN:
            continue
        origin = number if origin is None else origin
        mass = float(mass_started(np.array([5 * (number - origin)]))[0])
        for index in range(4):
            x = sum(bucket > bars[0][index] for bucket in canary)
            y = sum(bucket > bars[1][index] for bucket in baseline)
            for j, r in enumerate(LATENCY_RATIOS):
                q, k = a / (a + b), 3 * index + j
                fair = (x + y) * (1 + q * (r - 1))
                factor = (x * r + y) / fair if x + y else 1.0
                accounts[k] = min((accounts[k] + (mass - started) / 12) * factor, 1e4)
        started = mass
    return sum(accounts) + 1 - started


def test_it_equals_the_lane_in_plain_python():
    """Healthy, then slower in the canary."""
    rng = np.random.default_rng(12)
    blocks = [
        (rng.lognormal(4.6 + 0.3 * (n > 30), 0.5, 9), rng.lognormal(4.6, 0.5, 50))
        for n in range(60)
    ]
    lane = made()
    for end in range(61):
        sides = blocks[end] if end < 60 else (np.zeros(0), np.zeros(0))
        lane.update(5 * end, ROW, *(cells(side[np.newaxis]) for side in sides))
        if end in {3, 30, 45, 60}:
            expected = slow(blocks[:end])
            assert lane.evidence(ROW)[0] == pytest.approx(expected, rel=1e-11)
    assert slow(blocks) > 10


def test_nothing_is_bet_without_a_past():
    """However slow the canary is; then the middle and the tail tell it alike."""
    lane = made()
    for second in range(0, 15, 5):
        lane.update(second, ROW, cells([[900.0] * 9]), cells([[100.0] * 30]))
    assert lane.evidence(ROW).tolist() == [1.0]
    for second in range(15, 120, 5):
        lane.update(second, ROW, cells([[900.0] * 9]), cells([[100.0] * 30]))
    assert lane.evidence(ROW)[0] > 100
    assert lane.accounts(0).shape == (4, 3)


def reached(rate, *, rollouts, blocks, shift=1.0, tail=1.0):
    """Block in which each rollout was called, -1 if never; lognormal latencies."""
    rng = np.random.default_rng(20260104)
    lane, rows = made(rollouts), np.arange(rollouts)
    first = np.full(rollouts, -1)
    for block in range(blocks + 1):
        both = rng.lognormal(np.log(100), 0.5, (rollouts, 10 * rate))
        both *= np.where(rng.random(both.shape) < 0.01, 3.0, 1.0)
        canary, baseline = both[:, :rate] * shift, both[:, rate:]
        canary *= np.where(rng.random(canary.shape) < 0.01 * (tail - 1), 5.0, 1.0)
        lane.update(5 * block, rows, cells(canary), cells(baseline))
        is_new = (first < 0) & (lane.evidence(rows) >= 100)
        first[is_new] = block
    return first


@pytest.mark.slow
def test_false_alarms_keep_to_alpha():
    """Alike, for half an hour; exact binomial bound at 0.1 %."""
    first = reached(20, rollouts=60, blocks=360)
    assert (first >= 0).sum() <= stats.binom.ppf(0.999, 60, 0.01)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "seconds"), [({"shift": 1.5}, 120), ({"shift": 2.0}, 60)]
)
def test_a_slow_canary_is_found(words, seconds):
    """Ten requests a second in the canary: all, and most in this time."""
    first = reached(50, rollouts=20, blocks=60, **words)
    assert (first > 0).all()
    assert np.median(first) * 5 <= seconds


def test_how_a_block_was_added_up_does_not_show():
    """In one second or five, all rows or one at a time: the same bits."""
    rng = np.random.default_rng(13)
    whole, parts, rows = made(3), made(3), np.arange(3)
    for block in range(12):
        drawn = rng.lognormal(4.6, 0.5, (2, 5, 3, 20))
        both = drawn.transpose(0, 2, 1, 3).reshape(2, 3, 100)
        whole.update(5 * block, rows, cells(both[0]), cells(both[1]))
        for second in range(5):
            sides = [cells(side[second]) for side in drawn]
            for row in rng.permutation(rows):
                one = (side[:, side[0] == row] for side in sides)
                parts.update(5 * block + second, np.array([row]), *one)
    assert whole.state() == parts.state()
    assert whole.evidence(rows).tolist() == parts.evidence(rows).tolist()


def test_a_row_begins_anew():
    """With a stake, and without its past."""
    lane = made()
    for second in range(0, 60, 5):
        lane.update(second, ROW, cells([[900.0] * 9]), cells([[100.0] * 60]))
    lane.begin(ROW, 0.5)
    assert lane.evidence(ROW).tolist() == [0.5]
    lane.begin(ROW)
    lane.grow(1)
    # The instant of a past that is empty is no part of it.
    assert lane.state() == made().state()


@pytest.mark.parametrize(
    ("second", "bad"),
    [
        (4, [[0], [5], [1]]),
        (10, [0, 5, 1]),
        (10, [[0], [5]]),
        (10, [[1], [5], [1]]),
        (10, [[0], [-1], [1]]),
        (10, [[0], [BUCKETS], [1]]),
        (10, [[0], [5], [-1]]),
    ],
)
def test_bad_cells_are_refused(second, bad):
    """Before anything is counted."""
    lane, good = made(), np.array([[0], [5], [1]])
    lane.update(10, ROW, good, good)
    before = lane.state()
    with pytest.raises(ValueError, match=r"must be .*got"):
        lane.update(second, ROW, good, np.array(bad))
    assert lane.state() == before
