"""The lane against a limit: plain Python, shared faults, and fair in the whole."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from models.change_time import mass_started
from models.limit_bet import ERROR_ALTERNATIVES, ERROR_LIMIT, most_factor
from models.limit_lane import SHARED_EVIDENCE, LimitLane

ROW = np.array([0])


def made(rows=1, **words):
    lane = LimitLane(ERROR_LIMIT, ERROR_ALTERNATIVES, lane_weight=0.2, **words)
    lane.grow(rows)
    return lane


def feed(lane, seconds):
    """Seconds (n, m, x, y), and one that closes the last; E after each."""
    after = []
    for second, (n, m, x, y) in enumerate([*seconds, (0, 0, 0, 0)]):
        lane.update(second, ROW, np.array([[n], [m]]), np.array([[x], [y]]))
        after.append(float(lane.evidence(second, ROW)[0]))
    return after[1:]


def slow_side(accounts, age, started, *, n, x, cap):
    mass = float(mass_started(np.array([age]))[0])
    for k, p1 in enumerate(ERROR_ALTERNATIVES):
        stake = min(0.95, n * (p1 - ERROR_LIMIT))
        factor = min(1 - stake + stake * x / (n * ERROR_LIMIT), cap)
        accounts[k] = min((accounts[k] + (mass - started) / 6) * factor, 1e4)
    return mass


def slow(seconds):
    """E of canary and baseline after each second, in plain Python."""
    cap, after = most_factor(6, alpha=0.01, lane_weight=0.2), []
    sides = [[[0.0] * 6, 0.0, None], [[0.0] * 6, 0.0, None]]
    for second, (n, m, x, y) in enumerate(seconds):
        for side, size, bad in zip(sides, (n, m), (x, y), strict=True):
            if size:
                side[2] = second if side[2] is None else side[2]
                age = second - side[2]
                side[1] = slow_side(side[0], age, side[1], n=size, x=bad, cap=cap)
        values = [sum(accounts) + 1 - started for accounts, started, _ in sides]
        if values[1] >= SHARED_EVIDENCE:
            sides[0][0] = [min(a, sides[0][1] / 6) for a in sides[0][0]]
            values[0] = sum(sides[0][0]) + 1 - sides[0][1]
        after.append(values)
    return after


def test_it_equals_the_lane_in_plain_python():
    """Healthy, ill alone, ill together, and with silent seconds."""
    rng = np.random.default_rng(8)
    chances = [(0.004, 0.004), (0.03, 0.004), (0.3, 0.3), (0.004, 0.004)]
    seconds = []
    for chance in chances:
        sizes = rng.poisson((5, 40), (60, 2)) * rng.integers(0, 2, (60, 1))
        bad = rng.binomial(sizes, chance)
        seconds += np.concatenate([sizes, bad], axis=1).tolist()
    expected, lane, was_shared = slow(seconds), made(), set()
    for second, (n, m, x, y) in enumerate(seconds):
        lane.update(second, ROW, np.array([[n], [m]]), np.array([[x], [y]]))
        if second:
            account, shared = lane.account(ROW)[0], lane.is_shared(ROW)[0]
            assert account == pytest.approx(expected[second - 1][0], rel=1e-11)
            assert shared == (expected[second - 1][1] >= SHARED_EVIDENCE)
            was_shared.add(bool(shared))
    assert was_shared == {True, False}


def test_its_mean_is_at_most_one_over_everything_that_can_happen():
    """Three seconds of a few requests at the limit, without a baseline."""
    mean, raw = 0.0, 0.0
    for falls in itertools.product(range(5), repeat=3):
        chance = math.prod(stats.binom.pmf(x, 4, ERROR_LIMIT) for x in falls)
        lane = made()
        mean += chance * feed(lane, [(4, 0, x, 0) for x in falls])[-1]
        raw += chance * lane.account(ROW)[0]
    assert mean == pytest.approx(raw, rel=1e-12)
    assert raw <= 1 + 1e-12


@pytest.mark.slow
@pytest.mark.parametrize("burst", [1, 20])
def test_false_alarms_keep_to_alpha(burst):
    """At exactly 0.5 % for an hour, alone or in bursts; exact binomial bound."""
    rng, rollouts, lane = np.random.default_rng(20260103), 500, made(500, alpha=0.05)
    rows, most = np.arange(rollouts), np.zeros(rollouts)
    nothing = np.zeros(rollouts, np.int64)
    sizes = np.array([nothing + 100, nothing])
    for second in range(3600):
        bad = rng.binomial(100 // burst, ERROR_LIMIT, rollouts) * burst
        lane.update(second, rows, sizes, np.array([bad, nothing]))
        most = np.maximum(most, lane.account(rows))
    assert (most >= 20).sum() <= stats.binom.ppf(0.999, rollouts, 0.05)


def test_a_canary_over_the_limit_is_found():
    """5 % of 100 a second, a healthy baseline: in seconds, but not in four."""
    after = feed(made(), [(100, 900, 5, 2)] * 12)
    first = next(i for i, value in enumerate(after, 1) if 0.2 * value >= 100)
    assert 5 <= first <= 8
    total = feed(made(), [(100, 900, 100, 2)] * 12)
    first = next(i for i, value in enumerate(total, 1) if 0.2 * value >= 100)
    assert first >= 5


def test_a_shared_fault_is_not_the_canarys():
    """Nothing counts while it lasts, and nothing is left when it ends."""
    lane = made()
    after = feed(lane, [(100, 900, 40, 360)] * 60)
    assert max(after) == 0.0
    assert lane.is_shared(ROW).tolist() == [True]
    assert lane.account(ROW)[0] <= 1


def test_a_shared_fault_with_a_small_baseline_does_not_count():
    """The baseline's account is later; until then the canary looks no worse."""
    lane = made()
    after = feed(lane, [(1000, 20, 60, 0)] * 4)
    assert lane.account(ROW)[0] > 5
    assert not lane.is_shared(ROW)[0]
    assert max(after) == 0.0


def test_what_is_over_does_not_count():
    """Ten seconds after the last bad second the lane is silent."""
    lane = made()
    feed(lane, [(100, 900, 30, 2)] * 10)
    assert lane.evidence(19, ROW)[0] > 500
    assert lane.evidence(20, ROW)[0] == 0.0
    assert lane.account(ROW)[0] > 500


def test_how_a_second_was_added_up_does_not_show():
    """At once or in parts, all rows or one at a time: the same bits."""
    rng = np.random.default_rng(9)
    whole, parts, rows = made(3), made(3), np.arange(3)
    for second in range(60):
        requests = rng.integers(0, 9, (3, 2, 3))
        bad = rng.integers(0, requests + 1)
        whole.update(second, rows, requests.sum(axis=0), bad.sum(axis=0))
        for part in range(3):
            for row in rng.permutation(rows):
                one = requests[part][:, [row]], bad[part][:, [row]]
                parts.update(second, np.array([row]), *one)
    assert whole.state() == parts.state()


def test_a_row_begins_anew():
    """With a stake, and without what it had seen."""
    lane = made()
    feed(lane, [(100, 0, 30, 0)] * 10)
    lane.begin(ROW, 0.25)
    assert lane.account(ROW).tolist() == [0.25]
    lane.begin(ROW)
    assert lane.state() == made().state()


@pytest.mark.parametrize(
    ("requests", "bad"),
    [
        ([[1], [1]], [[2], [0]]),
        ([[1], [1]], [[0], [-1]]),
        ([[1]], [[0]]),
        ([[1], [1]], [[0]]),
    ],
)
def test_bad_counts_are_refused(requests, bad):
    """Before anything is counted."""
    lane = made()
    with pytest.raises(ValueError, match=r"must be .*got"):
        lane.update(0, ROW, np.array(requests), np.array(bad))
    assert lane.state() == made().state()
