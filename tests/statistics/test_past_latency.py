"""Bars from a fading past: against plain Python."""

import numpy as np
import pytest

from models.past_latency import QUANTILES, UNKNOWN, PastLatency
from models.quantile import BUCKETS, bucket_of, value_of

ROW = np.array([0])


def slow(blocks, second, half_life):
    """The bars in plain Python: each request weighed by its age."""
    weights = [0.0] * BUCKETS
    for at, counts in blocks:
        for bucket, count in counts.items():
            weights[bucket] += count * 0.5 ** ((second - at) / half_life)
    total = sum(weights)
    if total < 100:
        return [[UNKNOWN] * 4] * 2
    canary, baseline = [], []
    for quantile in QUANTILES:
        below, bucket = weights[0], 0
        while below < quantile * total:
            bucket += 1
            below += weights[bucket]
        value = value_of(bucket)
        baseline.append(bucket)
        canary.append(int(bucket_of(np.array([max(value * 1.1, value + 5)]))[0]))
    return [canary, baseline]


def test_it_equals_the_bars_in_plain_python():
    """Over an hour with gaps, fast and slow; before enough is known, none."""
    rng = np.random.default_rng(6)
    past, blocks, second, known = PastLatency(60.0), [], 0, set()
    past.grow(1)
    for _ in range(120):
        second += int(rng.choice([5, 5, 10, 95]))
        drawn = rng.lognormal(rng.choice([1.0, 4.6]), 0.5, rng.integers(1, 60))
        buckets = bucket_of(drawn)
        counts = np.bincount(buckets, minlength=BUCKETS)
        past.update(ROW, np.array([second]), counts[np.newaxis])
        cells = np.flatnonzero(counts)
        blocks.append((second, dict(zip(cells.tolist(), counts[cells], strict=True))))
        found = past.bars(second + 5, ROW)[:, :, 0].tolist()
        assert found == slow(blocks, second + 5, 60.0)
        known.add(found[0][0] != UNKNOWN)
    assert known == {True, False}


def test_the_canarys_bar_is_higher():
    """By 10 %, and by 5 ms at least."""
    past = PastLatency()
    past.grow(2)
    counts = np.zeros((2, BUCKETS), np.int64)
    counts[[0, 1], bucket_of(np.array([2.0, 300.0]))] = 500
    past.update(np.arange(2), np.zeros(2, np.int64), counts)
    canary, baseline = value_of(past.bars(0, np.arange(2))[:, 0])
    assert canary[0] - baseline[0] == pytest.approx(5.0, abs=0.15)
    assert canary[1] / baseline[1] == pytest.approx(1.1, abs=0.021)


def test_a_past_that_has_faded_is_none():
    """150 requests are 75 after a half-life; a row forgotten has none."""
    past = PastLatency(600.0)
    past.grow(1)
    counts = np.zeros((1, BUCKETS), np.int64)
    counts[0, 500] = 150
    past.update(ROW, np.array([1000]), counts)
    past.grow(2)
    past.grow(1)
    assert past.bars(1300, ROW)[1, 0].tolist() == [500]
    assert past.bars(1600, ROW)[0, 0].tolist() == [UNKNOWN]
    past.forget(ROW)
    assert past.bars(1000, ROW)[0, 0].tolist() == [UNKNOWN]
