"""The latency sketch against its guarantee, the ddsketch package and scipy."""

import math

import numpy as np
import pytest
from ddsketch.ddsketch import LogCollapsingLowestDenseDDSketch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from models.quantile import (
    BUCKETS,
    Sketch,
    bucket_of,
    last_bucket_within,
    quantile_of,
    value_of,
)

QUANTILES = (0.0, 0.01, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 1.0)


def bimodal(rng, n):
    low, high = rng.normal(20, 2, n), rng.normal(900, 30, n)
    return np.where(rng.random(n) < 0.9, low, high).clip(0.02)


DISTRIBUTIONS = {
    "uniform": lambda rng, n: rng.uniform(0.02, 5000, n),
    "exponential": lambda rng, n: rng.exponential(80, n) + 0.02,
    "lognormal": lambda rng, n: rng.lognormal(math.log(100), 0.5, n),
    "pareto": lambda rng, n: (rng.pareto(1.5, n) + 1).clip(max=1e6),
    "bimodal": bimodal,
    "integers": lambda rng, n: rng.integers(1, 1000, n).astype(float),
    "constant": lambda _, n: np.full(n, 42.0),
    "wide": lambda rng, n: 10 ** rng.uniform(-1.9, 6.9, n),
}
named = pytest.mark.parametrize("name", DISTRIBUTIONS)
latencies = st.floats(0, 1e8) | st.floats(0.01, 1e7)


def drawn(name, n=2000):
    return DISTRIBUTIONS[name](np.random.default_rng(len(name)), n)


def of(values, weights=None):
    sketch = Sketch()
    sketch.update(values, weights)
    return sketch


@named
@pytest.mark.parametrize("n", [1, 2, 17, 2000])
def test_relative_error_is_within_one_percent(name, n):
    """Every quantile is within 1 % of the exact one of the same rank."""
    values = drawn(name, n)
    for q in QUANTILES:
        exact = np.quantile(values, q, method="lower")
        assert abs(of(values).quantile(q) - exact) <= 0.01 * exact * (1 + 1e-9)


@named
@pytest.mark.parametrize("n", [1, 2, 17, 2000])
def test_equal_to_ddsketch(name, n):
    """Every quantile is that of the ddsketch package on the same data."""
    values = drawn(name, n)
    reference = LogCollapsingLowestDenseDDSketch(0.01, bin_limit=4096)
    for x in values.tolist():
        reference.add(x)
    expected = [reference.get_quantile_value(q) for q in QUANTILES]
    got = [of(values).quantile(q) for q in QUANTILES]
    assert expected == pytest.approx(got, rel=1e-9)


@given(st.floats(0.01, 1e7))
@settings(max_examples=300, deadline=None)
def test_buckets_hold_what_is_within_one_percent(x):
    """The value of a bucket is within 1 % of what it holds."""
    value = value_of(int(bucket_of(np.array([x]))[0]))
    assert abs(value - x) <= 0.01 * x * (1 + 1e-9)


def test_edges_are_where_the_logarithm_puts_them():
    """The bucket is ceil(log_gamma(x)), counted from that of 0.01 ms."""
    x = 10 ** np.random.default_rng(1).uniform(-2, 7, 100_000)
    logs = np.log(x) / math.log(1.01 / 0.99)
    clear = abs(logs - logs.round()) > 1e-9
    expected = np.ceil(logs) - math.ceil(math.log(0.01) / math.log(1.01 / 0.99))
    np.testing.assert_array_equal(bucket_of(x)[clear], expected[clear])


def test_an_edge_belongs_to_the_bucket_below():
    """1.0 is the last of its bucket, and the next float the first of the next."""
    one, after = bucket_of(np.array([1.0, np.nextafter(1.0, 2.0)])).tolist()
    assert one + 1 == after


def test_every_bucket_takes_its_own_value():
    """Values of all buckets go back to their buckets, in any shape."""
    every = np.arange(BUCKETS)
    np.testing.assert_array_equal(bucket_of(value_of(every)), every)
    shaped = every[:-1].reshape(2, -1)
    np.testing.assert_array_equal(bucket_of(value_of(shaped)), shaped)


def test_what_is_outside_is_clipped():
    """0 and less than 0.01 ms go to the first bucket, the rest to the last."""
    outside = np.array([0.0, 5e-324, 0.01, 1e7, 1e300, np.inf])
    assert bucket_of(outside).tolist() == [0, 0, 0, *[BUCKETS - 1] * 3]
    assert bucket_of(np.array([])).size == 0


def test_nan_has_no_bucket():
    """NaN raises ValueError, wherever it stands."""
    with pytest.raises(ValueError, match="latency_ms must be a number, got nan"):
        bucket_of(np.array([1.0, np.nan, 2.0]))


@pytest.mark.parametrize("bucket", [-1, BUCKETS, np.array([0, BUCKETS])])
def test_buckets_are_checked(bucket):
    """A bucket out of its range raises ValueError instead of counting from the end."""
    with pytest.raises(ValueError, match=f"bucket must be 0 to {BUCKETS - 1}"):
        value_of(bucket)


@given(st.floats(0, 2e7))
@settings(max_examples=300, deadline=None)
def test_the_last_bucket_within_a_limit(limit):
    """All buckets up to it stand for at most the limit, all beyond for more."""
    last = last_bucket_within(limit)
    values = value_of(np.arange(BUCKETS))
    assert (values[: last + 1] <= limit).all()
    assert (values[last + 1 :] > limit).all()


@pytest.mark.parametrize(
    ("limit", "last"), [(0.0, -1), (0.001, -1), (1e9, BUCKETS - 1)]
)
def test_limits_beyond_the_buckets(limit, last):
    """No bucket is within a very small limit, and all are within a great one."""
    assert last == last_bucket_within(limit)


@pytest.mark.parametrize("limit", [-1.0, float("nan")])
def test_limits_are_checked(limit):
    """A limit that is negative or NaN raises ValueError."""
    with pytest.raises(ValueError, match="limit_ms must be >= 0"):
        last_bucket_within(limit)


@pytest.mark.slow
@given(
    st.lists(latencies, min_size=1, max_size=40), st.sampled_from(QUANTILES), latencies
)
@settings(max_examples=200, deadline=None)
def test_a_limit_is_decided_by_counting(values, q, limit):
    """A quantile is over a limit just when its rank is beyond the limit's bucket."""
    within = (bucket_of(np.array(values)) <= last_bucket_within(limit)).sum()
    beyond = within <= math.floor(q * (len(values) - 1))
    assert beyond == (of(values).quantile(q) > limit)


def test_many_rows_at_once():
    """Rows in any number of axes are as their own sketches; empty rows are NaN."""
    counts = np.zeros((3, 50, BUCKETS), np.int32)
    expected = np.full((3, 50), np.nan)
    rng = np.random.default_rng(2)
    for row in np.ndindex(3, 49):
        values = rng.lognormal(3, 1, rng.integers(1, 30))
        np.add.at(counts[row], bucket_of(values), 1)
        expected[row] = of(values).quantile(0.95)
    np.testing.assert_array_equal(quantile_of(counts, 0.95), expected)
    assert quantile_of(counts[0, 0], 0.95) == expected[0, 0]


def test_quantiles_are_checked():
    """Bad q and the last axis out of their ranges raise ValueError."""
    with pytest.raises(ValueError, match=r"q must be 0 to 1, got 1.1"):
        quantile_of(np.zeros((1, BUCKETS), np.int64), 1.1)
    with pytest.raises(ValueError, match=rf"counts must be \[..., {BUCKETS}\]"):
        quantile_of(np.zeros((1, 7), np.int64), 0.5)


@pytest.mark.slow
@given(st.lists(st.tuples(latencies, st.integers(0, 9)), min_size=1, max_size=30))
@settings(max_examples=100, deadline=None)
def test_weights_repeat(pairs):
    """A weight of n counts as n values; a batch as one by one."""
    values, weights = zip(*pairs, strict=True)
    weighted, single = of(values, weights), Sketch()
    for value, weight in pairs:
        for _ in range(weight):
            single.update(value)
    assert single.state() == weighted.state()
    assert sum(weights) == weighted.count


def test_one_weight_for_all():
    """A single weight holds for all values."""
    assert of([1.0, 2.0], 3).count == 6


@given(st.lists(latencies, min_size=1, max_size=30))
@settings(max_examples=100, deadline=None)
def test_entries_go_round(values):
    """Entries are ascending, not zero, and make the same sketch again."""
    sketch = of(values)
    entries = sketch.entries()
    assert sorted(entries) == entries
    assert all(count > 0 for _, count in entries)
    assert sketch.state() == Sketch.from_entries(entries).state()


@pytest.mark.parametrize("entry", [(-1, 1), (BUCKETS, 1), (0, -1)])
def test_entries_are_checked(entry):
    """A bucket or count out of its range raises ValueError."""
    with pytest.raises(ValueError, match=r"(bucket|count) must be"):
        Sketch.from_entries([entry])


@pytest.mark.parametrize(
    ("values", "weights"),
    [(-1.0, 1), (float("nan"), 1), (float("inf"), 1), (1.0, -1), (1.0, 0.5)],
)
def test_updates_are_checked(values, weights):
    """A bad value or weight raises ValueError, and nothing is counted."""
    sketch = Sketch()
    with pytest.raises(ValueError, match=r"(values|weights) must be"):
        sketch.update([1.0, values], [1, weights])
    assert sketch.count == 0


@pytest.mark.slow
@given(st.lists(latencies, min_size=1, max_size=60), st.sampled_from(QUANTILES[1:-1]))
@settings(max_examples=200, deadline=None)
def test_intervals_hold_the_quantile(values, q):
    """The interval holds the sketch's own quantile."""
    low, high = of(values).interval(q)
    assert low <= of(values).quantile(q) <= high


@pytest.mark.parametrize("n", [1, 2, 10, 100, 5000])
@pytest.mark.parametrize("q", [0.05, 0.5, 0.95, 0.999])
def test_interval_ranks_are_binomial(n, q):
    """Order statistics are the narrowest that scipy's binomial allows around q."""
    values = np.sort(drawn("wide", n))
    tail, ranks = 0.025, np.arange(n + 2)
    lower = ranks[binom.cdf(ranks - 1, n, q) <= tail][-1]
    upper = ranks[binom.sf(ranks - 1, n, q) <= tail][0]
    own = math.floor(q * (n - 1)) + 1
    lower, upper = min(lower, own), max(upper, own)
    low, high = of(values).interval(q)
    if lower:
        assert low < values[lower - 1] <= low * 1.0203
    else:
        assert low == 0.0
    if upper <= n:
        assert high / 1.0203 <= values[upper - 1] <= high
    else:
        assert high == math.inf


def test_intervals_cover():
    """Over 1,000 samples a 95 % interval misses the true p95 as seldom as it says."""
    rng = np.random.default_rng(3)
    truth = 100 * math.exp(0.5 * 1.6448536269514722)
    missed = 0
    for _ in range(1000):
        low, high = of(rng.lognormal(math.log(100), 0.5, 300)).interval(0.95)
        missed += not low <= truth <= high
    assert missed <= binom.ppf(0.999, 1000, 0.05)


def test_intervals_reach_the_ends():
    """Clipped values give an interval that does not pretend to know them."""
    assert of(np.zeros(100)).interval(0.5)[0] == 0.0
    assert of(np.full(100, 1e9)).interval(0.5)[1] == math.inf


@pytest.mark.parametrize(
    ("q", "confidence"), [(0.0, 0.9), (1.0, 0.9), (0.5, 0.0), (0.5, 1.0)]
)
def test_intervals_are_checked(q, confidence):
    """Bad q and confidence at their ends raise ValueError."""
    with pytest.raises(ValueError, match=r"must be above 0, below 1"):
        of([1.0]).interval(q, confidence)
