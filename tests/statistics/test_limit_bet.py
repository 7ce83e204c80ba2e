"""Linear bets against a limit: the reference numbers, and fair by enumeration."""

import math

import numpy as np
import pytest
from scipy import stats

from models.change_time import mass_started
from models.eprocess import EProcess
from models.limit_bet import (
    ERROR_ALTERNATIVES,
    ERROR_LIMIT,
    LATENCY_ALTERNATIVES,
    LATENCY_LIMIT,
    limit_factors,
    most_factor,
)

ERRORS = {"limit_ratio": ERROR_LIMIT, "alternatives": ERROR_ALTERNATIVES}
LATENCY = {"limit_ratio": LATENCY_LIMIT, "alternatives": LATENCY_ALTERNATIVES}


def factors(n, x, **words):
    x = np.atleast_1d(x)
    return limit_factors(np.full(x.size, n), x, **words)


@pytest.mark.parametrize("words", [ERRORS, LATENCY], ids=["errors", "latency"])
@pytest.mark.parametrize("n", [1, 20, 500])
def test_their_mean_is_one_at_the_limit(n, words):
    """Under Binomial(n, p_0), exactly; below it, and with a cut, it is at most 1."""
    x = np.arange(n + 1)
    at_limit = stats.binom.pmf(x, n, words["limit_ratio"])
    below = stats.binom.pmf(x, n, words["limit_ratio"] / 2)
    found = factors(n, x, **words)
    np.testing.assert_allclose(found @ at_limit, 1.0, rtol=1e-10)
    assert (found @ below <= 1).all()
    assert (factors(n, x, most=2.0, **words) @ at_limit <= 1 + 1e-10).all()


def test_bursts_do_no_harm():
    """All requests of a second bad or none: the mean is 1 as well."""
    found = factors(1000, [0, 1000], **ERRORS) @ np.array([0.995, 0.005])
    np.testing.assert_allclose(found, 1.0, rtol=1e-12)


def test_it_equals_the_formula_in_plain_python():
    """Number by number, cut and uncut."""
    for n in (0, 1, 7, 300, 10_000):
        for x in {0, n // 200, n // 2, n}:
            for most in (3.0, math.inf):
                found = factors(n, x, most=most, **ERRORS)[:, 0].tolist()
                for value, p1 in zip(found, ERROR_ALTERNATIVES, strict=True):
                    stake = min(0.95, n * (p1 - 0.005))
                    expected = 1 - stake + stake * x / (n * 0.005) if n else 1.0
                    assert value == pytest.approx(min(expected, most), rel=1e-14)


def test_the_first_request_failed():
    """0.5 + 0.5 mean(p_1 / p_0 - (p_1 - p_0)), with half of the account at once."""
    account, row = EProcess(len(ERROR_ALTERNATIVES), at_once=0.5), np.array([0])
    account.grow(1)
    account.step(row, row, factors(1, 1, **ERRORS))
    mean = sum(ERROR_ALTERNATIVES) / len(ERROR_ALTERNATIVES)
    expected = 0.5 + 0.5 * (mean / ERROR_LIMIT - (mean - ERROR_LIMIT))
    assert account.evidence(row)[0] == pytest.approx(expected, rel=1e-14)
    assert expected == pytest.approx(15.22, abs=5e-3)


def test_five_seconds_decide_at_the_least():
    """Cut factors for every alternative of a fresh account: four do not."""
    started = float(mass_started(np.array([4]))[0])
    for count, weight, alpha in ((6, 0.2, 0.01), (5, 0.1, 0.01), (6, 0.2, 0.001)):
        most = most_factor(count, alpha=alpha, lane_weight=weight)
        assert most**5 == pytest.approx(2 * count / (alpha * weight), rel=1e-6)
        assert weight * (1 + started * most**4) < 1 / alpha


def test_bad_arguments_are_refused():
    """With the range and the value."""
    for bad in (
        lambda: factors(1, 2, **ERRORS),
        lambda: factors(1, -1, **ERRORS),
        lambda: factors(1, 1, most=0.9, **ERRORS),
        lambda: factors(1, 1, limit_ratio=0.0, alternatives=(0.1,)),
        lambda: factors(1, 1, limit_ratio=0.1, alternatives=()),
        lambda: factors(1, 1, limit_ratio=0.1, alternatives=(0.1,)),
        lambda: factors(1, 1, limit_ratio=0.1, alternatives=(1.1,)),
        lambda: most_factor(0, alpha=0.01, lane_weight=0.2),
        lambda: most_factor(1, alpha=0.0, lane_weight=0.2),
        lambda: most_factor(1, alpha=0.01, lane_weight=1.2),
    ):
        with pytest.raises(ValueError, match=r"must be .*got"):
            bad()
