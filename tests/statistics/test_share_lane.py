"""Share bets over time: against plain Python, fair in the whole, and quick enough."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from models.change_time import mass_started
from models.share_bet import ERROR_RATIOS, SAFE_MARGIN, SAFE_RATIOS
from models.share_lane import ShareLane

ROW = np.array([0])


def one(weight=0.1, **words):
    lane = ShareLane(weight, **words)
    lane.grow(1)
    return lane


def feed(lane, blocks):
    """Blocks (a, b, x, y), one after the other, and one that closes the last."""
    for number, (a, b, x, y) in enumerate([*blocks, (0, 0, 0, 0)]):
        second = number * lane.block_seconds
        lane.update(second, ROW, np.array([[a], [b]]), np.array([[[x]], [[y]]]))
    return lane


def slow(blocks, *, seconds, margin, ratios, cap=1e4):
    """E in plain Python, one block and one alternative after the other."""
    accounts, started, origin = [0.0] * len(ratios), 0.0, None
    for number, (a, b, x, y) in enumerate(blocks):
        if a + b == 0:
            continue
        origin = number if origin is None else origin
        mass = float(mass_started(np.array([(number - origin) * seconds]))[0])
        for k, r in enumerate(ratios):
            factor = 1.0
            if a and b and x + y:
                q = margin * a / (margin * a + b)
                factor = (x * r + y) / ((x + y) * (1 + q * (r - 1)))
            grown = (accounts[k] + (mass - started) / len(ratios)) * factor
            accounts[k] = min(grown, cap)
        started = mass
    return sum(accounts) + 1 - started


def test_it_equals_the_account_in_plain_python():
    """Healthy and ill, with empty blocks among them."""
    rng = np.random.default_rng(2)
    for ratio in (1, 3, 30):
        sizes = rng.poisson((12, 100), (80, 2)) * rng.integers(0, 2, (80, 1))
        bad = rng.binomial(sizes, (0.02 * ratio, 0.02))
        blocks = np.concatenate([sizes, bad], axis=1).tolist()
        words = {"margin": 1.1, "ratios": ERROR_RATIOS}
        found = feed(one(), blocks).evidence(ROW)[0]
        assert found == pytest.approx(slow(blocks, seconds=5, **words), rel=1e-12)


@pytest.mark.slow
def test_its_mean_is_one_over_everything_that_can_happen():
    """Three blocks of a few requests, each bad by the same chance; by enumeration."""
    sizes = [(1, 3), (2, 1), (1, 2)]
    mean, each = 0.0, []
    for a, b in sizes:
        falls = itertools.product(range(a + 1), range(b + 1))
        each.append([(a, b, x, y) for x, y in falls])
    for blocks in itertools.product(*each):
        chance = math.prod(
            stats.binom.pmf(x, a, 0.3) * stats.binom.pmf(y, b, 0.3)
            for a, b, x, y in blocks
        )
        mean += chance * feed(one(margin=1.0), blocks).evidence(ROW)[0]
    assert mean == pytest.approx(1.0, rel=1e-12)


def reached(lane, *, odds, blocks, rollouts, burst=1, alpha=0.01, base=0.02):
    """Block in which each rollout's account first reached 1 / alpha; -1 if never."""
    rng = np.random.default_rng(20260102)
    rows, first = np.arange(rollouts), np.full(rollouts, -1)
    lane.grow(rollouts)
    ill = odds * base / (1 - base)
    chances = np.array([[ill / (1 + ill)], [base]])
    sizes = np.array([[20], [180]]) + np.zeros((2, rollouts), np.int64)
    for block in range(blocks + 1):
        bad = rng.binomial(sizes // burst, chances) * burst
        lane.update(block * lane.block_seconds, rows, sizes, bad[:, np.newaxis])
        is_new = (first < 0) & (lane.evidence(rows) >= 1 / alpha)
        first[is_new] = block
    return first


@pytest.mark.slow
@pytest.mark.parametrize("burst", [1, 10])
def test_false_alarms_keep_to_alpha(burst):
    """Over four hours at the margin, also in bursts; exact binomial bound at 0.1 %."""
    first = reached(one(), odds=1.1, blocks=2880, rollouts=1000, burst=burst)
    assert (first >= 0).sum() <= stats.binom.ppf(0.999, 1000, 0.01)


@pytest.mark.slow
def test_safe_is_seldom_said_of_what_is_not():
    """The mirror account of a canary that is exactly as bad as the margin."""
    lane = one(margin=SAFE_MARGIN, ratios=SAFE_RATIOS)
    first = reached(lane, odds=SAFE_MARGIN, blocks=2880, rollouts=1000)
    assert (first >= 0).sum() <= stats.binom.ppf(0.999, 1000, 0.01)


@pytest.mark.slow
def test_safe_is_said_of_what_is():
    """The mirror account of a canary that is like its baseline: all within an hour."""
    lane = one(margin=SAFE_MARGIN, ratios=SAFE_RATIOS)
    first = reached(lane, odds=1.0, blocks=1440, rollouts=200)
    assert (first >= 0).mean() >= 0.99
    assert np.median(first) * 5 < 1800


def test_a_bad_canary_is_found():
    """Errors x 5 at 2 %, 200 requests a block: in all rollouts, most in two minutes."""
    first = reached(one(), odds=5.0, blocks=100, rollouts=100)
    assert (first > 0).all()
    assert np.median(first) * 5 <= 120


def test_how_a_block_was_added_up_does_not_show():
    """In one second or five, all rows or one at a time: the same bits."""
    rng = np.random.default_rng(7)
    whole, parts = ShareLane(0.1, comparisons=2), ShareLane(0.1, comparisons=2)
    rows = np.arange(3)
    for lane in (whole, parts):
        lane.grow(3)
    for block in range(40):
        requests = rng.integers(0, 9, (5, 2, 3))
        bad = rng.integers(0, requests[:, :, np.newaxis] + 1, (5, 2, 2, 3))
        whole.update(5 * block, rows, requests.sum(axis=0), bad.sum(axis=0))
        for second in range(5):
            for row in rng.permutation(rows):
                at = 5 * block + second
                one_row = requests[second][:, [row]], bad[second][:, :, [row]]
                parts.update(at, np.array([row]), *one_row)
    assert whole.state() == parts.state()
    assert whole.evidence(rows).tolist() == parts.evidence(rows).tolist()


def test_each_comparison_bets_for_itself():
    """Half of the account is one kind of bad requests, half the other."""
    lane = one(comparisons=2, margin=1.0, ratios=(2.0, 5.0))
    requests = np.array([[10], [90]])
    lane.update(0, ROW, requests, np.array([[[1], [0]], [[0], [0]]]))
    lane.update(5, ROW, requests, np.zeros((2, 2, 1), np.int64))
    expected = [[0.0625 * 2 / 1.1, 0.0625 * 5 / 1.4], [0.0625, 0.0625]]
    np.testing.assert_allclose(lane.accounts(0), expected, rtol=1e-14)


def test_a_row_begins_anew():
    """With a stake, and without the block that was open."""
    lane = feed(one(), [(10, 90, 5, 0)] * 4)
    assert lane.evidence(ROW)[0] > 1
    lane.update(100, ROW, np.array([[9], [9]]), np.array([[[9]], [[0]]]))
    lane.begin(ROW, 0.5)
    lane.update(200, ROW, np.array([[9], [9]]), np.array([[[0]], [[0]]]))
    assert lane.evidence(ROW).tolist() == [0.5]
    lane.begin(ROW)
    assert lane.state() == one().state()


def test_bad_parameters_are_refused():
    """A lane of nothing to compare."""
    with pytest.raises(ValueError, match="comparisons must be >= 1, got 0"):
        ShareLane(0.1, comparisons=0)


@pytest.mark.parametrize(
    ("requests", "bad"),
    [
        ([[1], [1]], [[[2]], [[0]]]),
        ([[1], [1]], [[[-1]], [[0]]]),
        ([[1]], [[[0]], [[0]]]),
        ([[1], [1]], [[0], [0]]),
    ],
)
def test_bad_counts_are_refused(requests, bad):
    """Before anything is counted."""
    lane = one()
    with pytest.raises(ValueError, match=r"must be .*got"):
        lane.update(0, ROW, np.array(requests), np.array(bad))
    assert lane.state() == one().state()
