"""Accounts over change times: against plain sums over the starts, and fair."""

import itertools
import math

import numpy as np
import pytest

from models.change_time import mass_started
from models.contract import NotEnoughData
from models.eprocess import MOST_ACCOUNT, EProcess

ROW = np.array([0])


def grown(rows=1, alternatives=2, **words):
    account = EProcess(alternatives, **words)
    account.grow(rows)
    return account


def fed(steps, **words):
    """An account of (second, factors), one row."""
    account = grown(alternatives=len(steps[0][1]), **words)
    for second, factors in steps:
        account.step(ROW, np.array([second]), np.array(factors)[:, np.newaxis])
    return account


def slow(steps):
    """E by its definition: a sum over alternatives and over all starts."""
    ages = [second - steps[0][0] for second, _ in steps]
    mass = [float(mass_started(np.array([age]))[0]) for age in ages]
    total = 1 - mass[-1]
    for k in range(len(steps[0][1])):
        for start in range(len(steps)):
            placed = mass[start] - (mass[start - 1] if start else 0)
            factors = (factors[k] for _, factors in steps[start:])
            total += placed / len(steps[0][1]) * math.prod(factors)
    return total


def test_it_is_the_sum_over_all_starts():
    """One number an alternative, or each start for itself: the same."""
    rng = np.random.default_rng(3)
    seconds = np.cumsum(rng.integers(1, 400, 60)).tolist()
    steps = [(second, rng.uniform(0.7, 1.4, 3).tolist()) for second in seconds]
    for end in (1, 2, 17, 60):
        found = fed(steps[:end]).evidence(ROW)[0]
        assert found == pytest.approx(slow(steps[:end]), rel=1e-12)


def test_factors_of_one_change_nothing():
    """Mass moves from what waits to what is bet, and the sum stays."""
    account = fed([(second, [1.0, 1.0, 1.0]) for second in range(0, 300_000, 997)])
    assert account.evidence(ROW)[0] == pytest.approx(1.0, rel=1e-13)


def test_its_mean_is_one_under_fair_factors():
    """Over all ways that six fair steps can fall, by enumeration."""
    chances = {0.5: 0.8, 3.0: 0.2}
    mean = 0.0
    for falls in itertools.product(chances, repeat=6):
        steps = [(5 * i, [f, 0.9 + 0.1 * f]) for i, f in enumerate(falls)]
        chance = math.prod(chances[factor] for factor in falls)
        mean += chance * fed(steps).evidence(ROW)[0]
    assert mean == pytest.approx(1.0, rel=1e-13)


def test_a_past_incident_can_be_forgotten():
    """An alternative is cut at 1e4, whatever it won before."""
    account = fed([(second, [40.0]) for second in range(500)])
    assert account.accounts(0).tolist() == [MOST_ACCOUNT]
    assert MOST_ACCOUNT < account.evidence(ROW)[0] < MOST_ACCOUNT + 1


@pytest.mark.slow
def test_what_was_lost_comes_back_with_later_starts():
    """A day of losses underflows to nothing; a change after it is found yet."""
    steps = [(second, [0.1]) for second in range(0, 86_400, 15)]
    account = fed(steps)
    assert account.evidence(ROW)[0] == pytest.approx(0.1875, abs=1e-3)
    for second in range(86_400, 86_460, 5):
        account.step(ROW, np.array([second]), np.array([[10.0]]))
    assert account.evidence(ROW)[0] > 1000


def test_a_stage_begins_with_what_the_last_one_left():
    """An account that begins with half is half the account."""
    whole, half = grown(), grown()
    half.begin(ROW, np.array([0.5]))
    for account in (whole, half):
        account.step(ROW, np.array([3]), np.array([[4.0], [2.0]]))
    assert whole.evidence(ROW)[0] == 1.5
    assert half.evidence(ROW)[0] == 0.75


def test_a_cut_takes_what_was_won():
    """And gives nothing back to who has lost."""
    account = fed([(0, [8.0, 0.5]), (5, [1.0, 1.0])])
    account.cut(ROW)
    given = float(mass_started(np.array([5]))[0]) / 2
    lost = 0.125 * 0.5 + given - 0.125
    assert account.accounts(0).tolist() == pytest.approx([given, lost])
    assert account.evidence(ROW)[0] <= 1


def test_rows_do_not_show_in_each_others_bits():
    """Alone, in any order and among others: the same bits."""
    rng = np.random.default_rng(5)
    factors = rng.uniform(0.5, 1.7, (40, 12, 7))
    together, alone = grown(7, 12), grown(7, 12)
    for step, table in enumerate(factors):
        order = rng.permutation(7)
        together.step(order, np.full(7, 5 * step), table[:, order])
        for row in range(7):
            alone.step(np.array([row]), np.array([5 * step]), table[:, [row]])
    assert together.state() == alone.state()
    each = [alone.evidence(np.array([row]))[0] for row in range(7)]
    assert together.evidence(np.arange(7)).tolist() == each


def test_bad_arguments_are_refused():
    """Before anything is bet."""
    account = fed([(5, [1.0, 1.0]), (500, [1.0, 1.0])])
    before = account.state()
    one = np.ones((2, 1))
    for rows, second, factors in ((ROW, 5, one), (ROW, 9, -one), (ROW, 9, one[:1])):
        with pytest.raises(ValueError, match=r"must be .*got"):
            account.step(rows, np.array([second]), factors)
    for stake in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match=r"stakes must be 0 to 1"):
            account.begin(ROW, stake)
    assert account.state() == before
    for bad in (lambda: EProcess(0), lambda: EProcess(1, at_once=0.0)):
        with pytest.raises(ValueError, match=r"must be .*got"):
            bad()


def test_a_step_is_refused_as_a_whole():
    """A row that has not begun does not begin beside one that is too early."""
    account, both = grown(2), np.arange(2)
    for second in (5, 500):
        account.step(ROW, np.array([second]), np.ones((2, 1)))
    before = account.state()
    with pytest.raises(ValueError, match="seconds must be later"):
        account.step(both, both + 5, np.ones((2, 2)))
    assert account.state() == before


def test_a_row_without_room_is_not_read():
    """It never began, so 1 would say too much."""
    account = grown(2)
    account.grow(1)
    assert account.evidence(np.arange(2)).tolist() == [1.0, 1.0]
    for row in (2, 9):
        with pytest.raises(NotEnoughData):
            account.accounts(row)
