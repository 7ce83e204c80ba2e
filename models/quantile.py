"""Latency quantiles with a bound on their relative error, from counts in log buckets.

The mapping is DDSketch's: bucket k holds (gamma^(k-1), gamma^k] and answers with the
one value that is within 1 % of all of these. Counts add, so sketches merge by adding,
and what many rows have counted is a plain array [rows, BUCKETS].

Powers and logarithms differ in their last bit from machine to machine, and a value on
an edge then changes its bucket. So the edges are products, made from 1.0 up and by
division down, and a value is compared with its edge. No logarithm is taken at all: the
exponent and the first six bits of the mantissa name a cell at most 1/64 wide, narrower
than a bucket, so one comparison with the one edge that may lie in it decides.

Latencies are in milliseconds. What is outside 0.01 ms to 10^7 ms goes to the first or
last bucket, 0 to the first.
"""

import math
from collections.abc import Iterable, Mapping
from statistics import NormalDist
from typing import Any, Final, Self, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.contract import (
    Floats,
    Ints,
    NotEnoughData,
    State,
    check_version,
    pack,
    unpack,
)

_VERSION = 1
_GAMMA = 1.01 / 0.99  # relative accuracy 1 %, "alpha" in the paper
_LOWEST, _HIGHEST = -230, 806  # k of the first and last bucket: 0.01 and 10^7 ms
_CELL_SHIFT = 52 - 6
_ROWS_AT_ONCE = 64

BUCKETS: Final = _HIGHEST - _LOWEST + 1


def _edges() -> Floats:
    """gamma^k for every bucket: the greatest value that it holds."""
    down, up = [1.0], [1.0]
    for _ in range(-_LOWEST):
        down.append(down[-1] / _GAMMA)
    for _ in range(_HIGHEST):
        up.append(up[-1] * _GAMMA)
    return np.array(down[:0:-1] + up)


def _cell_of(x: Floats) -> Ints:
    return x.view(np.int64) >> _CELL_SHIFT


_EDGES = _edges()
_VALUES = _EDGES * (2 / (_GAMMA + 1))
_FIRST_CELL = int(_cell_of(_EDGES[:1])[0])
_BUCKET_OF_CELL = np.searchsorted(
    _EDGES,
    (
        np.arange(_FIRST_CELL, int(_cell_of(_EDGES[-1:])[0]) + 1, dtype=np.int64)
        << _CELL_SHIFT
    ).view(np.float64),
)


def bucket_of(latency_ms: Floats) -> Ints:
    """Bucket of each latency, 0 to BUCKETS - 1.

    ceil(log_gamma(x)) - ceil(log_gamma(0.01));  gamma = 1.01 / 0.99

    Parameters
    ----------
    latency_ms
        Array of any shape but no scalar; clipped to what the buckets cover.

    Raises
    ------
    ValueError
        When a latency is NaN; such an event should not have come this far.

    Notes
    -----
    About 8 ns a value. Masson, Rim and Lee, VLDB 12 (2019), section 2.1; equal to the
    `ddsketch` package, but for values that lie on an edge to within its rounding.

    Examples
    --------
    >>> (bucket_of(np.array([1.0, 1.02, 1.03])) - bucket_of(np.array([1.0]))).tolist()
    [0, 1, 2]
    """
    if np.isnan(latency_ms.max(initial=0.0)):
        raise ValueError("latency_ms must be a number, got nan")
    x = np.clip(latency_ms, _EDGES[0], _EDGES[-1], dtype=np.float64)
    bucket = _BUCKET_OF_CELL[_cell_of(x) - _FIRST_CELL]
    bucket += x > _EDGES[bucket]
    return bucket


@overload
def value_of(bucket: int) -> float: ...
@overload
def value_of(bucket: Ints) -> Floats: ...
def value_of(bucket: int | Ints) -> float | Floats:
    """Latency in ms that a bucket stands for: 2 gamma^k / (gamma + 1).

    It is within 1 % of all that the bucket holds, clipped ones apart. ValueError when a
    bucket is not 0 to BUCKETS - 1.

    Examples
    --------
    >>> round(value_of(int(bucket_of(np.array([250.0]))[0])))
    252
    """
    at = np.asarray(bucket)
    if at.size and not 0 <= at.min() <= at.max() < BUCKETS:
        raise ValueError(f"bucket must be 0 to {BUCKETS - 1}, got {bucket}")
    return float(_VALUES[bucket]) if isinstance(bucket, int) else _VALUES[at]


def last_bucket_within(limit_ms: float) -> int:
    """Greatest bucket whose value is at most the limit; -1 when there is none.

    "The quantile is over the limit" is then decided by counts: its rank lies beyond
    this bucket. ValueError when the limit is NaN or negative.

    Examples
    --------
    >>> last = last_bucket_within(500.0)
    >>> value_of(last) <= 500.0 < value_of(last + 1)
    True
    """
    if not limit_ms >= 0:
        raise ValueError(f"limit_ms must be >= 0, got {limit_ms}")
    return int(np.searchsorted(_VALUES, limit_ms, side="right")) - 1


def quantile_of(counts: NDArray[np.integer[Any]], q: float) -> Floats:
    """Quantile in ms of each row of counts; NaN where a row is empty.

    value of the first bucket up to which more than q (n - 1) are counted

    Parameters
    ----------
    counts
        Integers >= 0, [..., BUCKETS].
    q
        0 to 1.

    Raises
    ------
    ValueError
        When q or the last axis is out of its range.

    Notes
    -----
    The rank is that of `ddsketch`: of n sorted values the one at index floor(q (n -
    1)), counted from 0, with no interpolation. O(BUCKETS) a row: 5 ms for 2,000.

    Examples
    --------
    >>> counts = np.zeros((2, BUCKETS), np.int64)
    >>> counts[0, bucket_of(np.array([10.0, 20.0, 30.0]))] = 1
    >>> quantile_of(counts, 0.5).round(1).tolist()
    [19.9, nan]
    """
    _check_q(q)
    if counts.shape[-1] != BUCKETS:
        raise ValueError(f"counts must be [..., {BUCKETS}], got {counts.shape}")
    rows = counts.reshape(-1, BUCKETS)
    found = np.empty(len(rows))
    # Some rows at a time, so that their sums stay in the cache: all at once, 2,000 rows
    # took 58 ms instead of 4 whenever the memory for the sums was new.
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        part = slice(start, start + _ROWS_AT_ONCE)
        upto = rows[part].cumsum(axis=-1, dtype=np.int64)
        total = upto[:, -1]
        rank = np.floor(q * (total - 1)).astype(np.int64)
        values = _VALUES[(upto > rank[:, np.newaxis]).argmax(axis=-1)]
        found[part] = np.where(total > 0, values, np.nan)
    return found.reshape(counts.shape[:-1])


def _check_q(q: float) -> None:
    if not 0 <= q <= 1:
        raise ValueError(f"q must be 0 to 1, got {q}")


class Sketch:
    """Latency distribution of one stream (DDSketch; Masson et al., VLDB 12, 2019).

    Notes
    -----
    Quantiles are within 1 % of the exact ones between 0.01 ms and 10^7 ms. Unlike the
    `ddsketch` package it never collapses buckets, and reads 0 as the first bucket. 8
    kB; O(values) per update, O(BUCKETS) per merge and reading; the state holds only
    what is not 0.

    Examples
    --------
    >>> s = Sketch()
    >>> s.update(np.arange(1.0, 101.0))
    >>> round(s.quantile(0.95))
    95
    """

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts: Ints = np.zeros(BUCKETS, np.int64)

    def update(self, values: ArrayLike, weights: ArrayLike | None = None) -> None:
        """Count latencies, each as often as its weight says.

        Parameters
        ----------
        values
            Milliseconds, one or an array; finite, >= 0.
        weights
            Integers >= 0, one or as many; 1 without.

        Raises
        ------
        ValueError
            When a value or weight is out of its range; nothing is counted then.
        """
        x = np.atleast_1d(np.asarray(values, np.float64))
        w = np.atleast_1d(np.asarray(1 if weights is None else weights))
        bad = ~((x >= 0) & (x < math.inf))
        if bad.any():
            raise ValueError(f"values must be finite and >= 0, got {x[bad][0]}")
        if w.dtype.kind not in "iu" or (w < 0).any():
            raise ValueError(f"weights must be integers >= 0, got {w.tolist()}")
        np.add.at(self._counts, bucket_of(x), w.astype(np.int64))

    def merge(self, other: Self, /) -> None:
        """Count what the other counted too."""
        self._counts += other._counts

    @property
    def count(self) -> int:
        """Number of latencies, weights included; never raises."""
        return int(self._counts.sum())

    def quantile(self, q: float) -> float:
        """Latency in ms at index floor(q (n - 1)) of the sorted ones, within 1 %.

        NotEnoughData when empty; ValueError unless q is 0 to 1.
        """
        _check_q(q)
        self._need_some()
        return float(quantile_of(self._counts, q))

    def interval(self, q: float, confidence: float = 0.95) -> tuple[float, float]:
        """Interval in ms that holds the true quantile, whatever the distribution.

        [X_(l), X_(u)] with  P(B < l) <= tail,  P(B >= u) <= tail,  B ~ Binomial(n, q)

        Parameters
        ----------
        q
            Above 0, below 1.
        confidence
            Two-sided level, above 0 and below 1; tail = (1 - confidence) / 2.

        Returns
        -------
        tuple
            The lower edge of the bucket of X_(l) and the upper edge of that of X_(u):
            the sketch's own error is inside. Widened to hold `quantile(q)`, whose rank
            may lie below l among a handful of values. 0 and infinity where no order
            statistic reaches far enough, as for the 95th percentile of ten values.

        Raises
        ------
        NotEnoughData
            When empty.
        ValueError
            When q or confidence is out of its range.

        Notes
        -----
        For display: fixed n, one look. Ranks from the exact binomial, O(sqrt(n)). Hahn
        and Meeker, *Statistical Intervals* (1991), section 5.2.

        Examples
        --------
        >>> s = Sketch()
        >>> s.update(np.arange(1.0, 101.0))
        >>> [round(x) for x in s.interval(0.5)]
        [40, 62]
        """
        if not 0 < q < 1:
            raise ValueError(f"q must be above 0, below 1, got {q}")
        if not 0 < confidence < 1:
            raise ValueError(f"confidence must be above 0, below 1, got {confidence}")
        self._need_some()
        upto = self._counts.cumsum()
        n = int(upto[-1])
        lower, upper = _binomial_ranks(n, q, (1 - confidence) / 2)
        own = int(q * (n - 1)) + 1
        ranks = min(lower, own), max(upper, own)
        at_lower, at_upper = np.searchsorted(upto, ranks).tolist()
        return (
            float(_EDGES[at_lower - 1]) if at_lower else 0.0,
            float(_EDGES[at_upper]) if at_upper < BUCKETS - 1 else math.inf,
        )

    def entries(self) -> list[tuple[int, int]]:
        """Bucket and count of each bucket that is not empty, ascending."""
        used = np.flatnonzero(self._counts)
        return list(zip(used.tolist(), self._counts[used].tolist(), strict=True))

    @classmethod
    def from_entries(cls, entries: Iterable[tuple[int, int]]) -> Self:
        """Sketch of these buckets and counts.

        ValueError when a bucket is not 0 to BUCKETS - 1 or a count is negative.
        """
        made = cls()
        for bucket, count in entries:
            if not 0 <= bucket < BUCKETS:
                raise ValueError(f"bucket must be 0 to {BUCKETS - 1}, got {bucket}")
            if count < 0:
                raise ValueError(f"count must be >= 0, got {count}")
            made._counts[bucket] += count
        return made

    def state(self) -> State:
        """Buckets and counts, sparse."""
        used = np.flatnonzero(self._counts)
        return {
            "version": _VERSION,
            "buckets": pack(used, "<i2"),
            "counts": pack(self._counts[used]),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Make it again; ValueError on another version."""
        check_version(state, _VERSION)
        made = cls()
        made._counts[unpack(state["buckets"], "<i2")] = unpack(state["counts"])
        return made

    def _need_some(self) -> None:
        if not self._counts.any():
            raise NotEnoughData("a quantile takes 1 latency, got 0")


def _binomial_ranks(n: int, q: float, tail: float) -> tuple[int, int]:
    """Greatest l with P(B < l) <= tail and least u with P(B >= u) <= tail.

    The probabilities are made from each other, outwards from the mode, so none
    underflows where it matters; what is beyond `reach` weighs less than any tail in
    use.
    """
    mode = min(n, int((n + 1) * q))
    wide = -NormalDist().inv_cdf(max(tail, 1e-300)) + 8
    reach = int(wide * math.sqrt(n * q * (1 - q)) + wide**2)
    low, high = max(0, mode - reach), min(n, mode + reach)
    k = np.arange(low, high, dtype=np.float64)
    ratio = (n - k) / (k + 1) * (q / (1 - q))  # P(B = k + 1) / P(B = k)
    up = np.cumprod(ratio[mode - low :])
    down = np.cumprod(1 / ratio[: mode - low][::-1])[::-1]
    weight = np.concatenate([down, [1.0], up])
    share = weight / weight.sum()
    below = np.concatenate([[0.0], share.cumsum()])  # P(B < low + i)
    beyond = np.concatenate([share[::-1].cumsum()[::-1], [0.0]])  # P(B >= low + i)
    lower = low + int(np.searchsorted(below, tail, side="right")) - 1
    upper = low + int(np.argmax(beyond <= tail))
    return lower, upper
