"""What every statistic promises, checked on all of them alike."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.contract import (
    Mergeable,
    NotEnoughData,
    Restorable,
    check_version,
    pack,
    unpack,
    unpack_floats,
)
from models.decay import FadingRate
from models.drift import Drift
from models.eprocess import EProcess
from models.latency_lane import LatencyLane
from models.limit_bet import ERROR_ALTERNATIVES
from models.limit_lane import LimitLane
from models.moments import Moments
from models.open_block import OpenBlock
from models.past_latency import PastLatency
from models.proportion import Proportion
from models.quantile import BUCKETS, Sketch
from models.recent_share import RecentShare
from models.sample_ratio import SampleRatio
from models.share_lane import ShareLane
from models.window import Window

ROWS = np.arange(3)


@dataclass(frozen=True)
class Case:
    """How to make, feed and read one statistic; `feed` takes (instant, value) pairs."""

    make: Callable[[], Any]
    feed: Callable[[Any, int, int], Any]
    readings: tuple[Callable[[Any], Any], ...]
    bad: tuple[Callable[[], Any], ...]
    tolerance: float = 0.0


def feed_rate(rate, second, x):
    rate.update(second, ROWS[: 1 + x % 3], np.full(1 + x % 3, x))


def feed_window(window, second, x):
    one = np.array([x % 3])
    window.push(second, one, np.array([[x, 1]]), one, one + x, one * 0 + x)


def feed_account(account, second, x):
    account.grow(3)
    account.step(ROWS, ROWS * 0 + second, np.array([ROWS + 0.1, ROWS * 0 + 200 / x]))


def feed_block(block, second, x):
    block.grow(3)
    block.update(second, ROWS, np.array([ROWS + x]))


def feed_lane(lane, second, x):
    lane.grow(3)
    requests = np.array([ROWS + x, ROWS + 2 * x])
    lane.update(second, ROWS, requests, requests[:, np.newaxis] // 2)


def feed_limit(lane, second, x):
    lane.grow(3)
    requests = np.array([ROWS + x, ROWS + 2 * x])
    lane.update(second, ROWS, requests, requests // 50)


def feed_recent(recent, second, x):
    recent.grow(3)
    recent.update(ROWS, ROWS * 0 + second, np.array([ROWS + x] * 3 + [ROWS]))


def feed_latency(lane, second, x):
    lane.grow(3)
    lane.update(
        second, ROWS, np.array([ROWS, ROWS + x, ROWS]), np.array([ROWS, ROWS, ROWS + x])
    )


def feed_past(past, second, x):
    past.grow(3)
    counts = np.zeros((3, BUCKETS), np.int64)
    counts[:, x] = x
    past.update(ROWS, ROWS * 0 + second, counts)


def made_limit(**words):
    return LimitLane(0.005, ERROR_ALTERNATIVES, **({"lane_weight": 0.2} | words))


def made_window():
    window = Window((2, 5), 2, (3,))
    window.grow(3)
    return window


def made_ratio():
    ratio = SampleRatio(0.1)
    ratio.grow(3)
    return ratio


CASES = {
    "moments": Case(
        make=Moments,
        feed=lambda s, _, x: s.update(float(x)),
        readings=(lambda s: s.mean, lambda s: s.variance),
        bad=(lambda: Moments().update(float("nan")),),
        tolerance=1e-9,
    ),
    "decay": Case(
        make=lambda: FadingRate(7.0),
        feed=feed_rate,
        readings=(lambda s: s.read(1000, ROWS),),
        bad=(lambda: FadingRate(0.0), lambda: FadingRate(float("inf"))),
        tolerance=1e-9,
    ),
    "proportion": Case(
        make=Proportion,
        feed=lambda s, _, x: s.update(good=x // 2, valid=x),
        readings=(lambda s: s.ratio, lambda s: s.wilson_interval()),
        bad=(lambda: Proportion().update(good=2, valid=1),),
    ),
    "quantile": Case(
        make=Sketch,
        feed=lambda s, _, x: s.update(x),
        readings=(lambda s: s.quantile(0.5), lambda s: s.interval(0.5)),
        bad=(lambda: Sketch().update(-1.0), lambda: Sketch().quantile(2.0)),
    ),
    "eprocess": Case(
        make=lambda: EProcess(2),
        feed=feed_account,
        readings=(lambda s: s.evidence(ROWS), lambda s: s.accounts(2)),
        bad=(lambda: EProcess(0), lambda: EProcess(1, at_once=2.0)),
    ),
    "limit_lane": Case(
        make=made_limit,
        feed=feed_limit,
        readings=(
            lambda s: s.evidence(1000, ROWS),
            lambda s: s.account(ROWS),
            lambda s: s.is_shared(ROWS),
        ),
        bad=(
            lambda: made_limit(lane_weight=0.0),
            lambda: made_limit(alpha=2.0),
            lambda: LimitLane(0.5, (0.5,), lane_weight=1.0),
        ),
    ),
    "latency_lane": Case(
        make=lambda: LatencyLane(0.1),
        feed=feed_latency,
        readings=(lambda s: s.evidence(ROWS), lambda s: s.accounts(2)),
        bad=(lambda: LatencyLane(0.0), lambda: LatencyLane(0.1, at_once=0.0)),
    ),
    "past_latency": Case(
        make=PastLatency,
        feed=feed_past,
        readings=(lambda s: s.bars(200, ROWS),),
        bad=(lambda: PastLatency(0.0), lambda: PastLatency(float("inf"))),
    ),
    "recent_share": Case(
        make=RecentShare,
        feed=feed_recent,
        readings=(lambda s: s.is_worse(130, ROWS), lambda s: s.is_worse(9, ROWS)),
        bad=(),
    ),
    "open_block": Case(
        make=lambda: OpenBlock(5, 1),
        feed=feed_block,
        readings=(),
        bad=(lambda: OpenBlock(0, 1), lambda: OpenBlock(1, 0)),
    ),
    "share_lane": Case(
        make=lambda: ShareLane(0.1),
        feed=feed_lane,
        readings=(lambda s: s.evidence(ROWS), lambda s: s.accounts(2)),
        bad=(lambda: ShareLane(1.0), lambda: ShareLane(0.1, ratios=(0.5, 2.0))),
    ),
    "sample_ratio": Case(
        make=made_ratio,
        feed=lambda s, second, x: s.update(second, ROWS, ROWS, ROWS + x),
        readings=(lambda s: s.log_evidence(ROWS), lambda s: s.counts(2)),
        bad=(
            lambda: SampleRatio(0.0),
            lambda: SampleRatio(1.0),
            lambda: SampleRatio(0.1, alpha=0.0),
            lambda: made_ratio().update(0, ROWS, ROWS - 1, ROWS),
        ),
    ),
    "window": Case(
        make=made_window,
        feed=feed_window,
        readings=(
            lambda s: s.sums(2),
            lambda s: s.sums(5),
            lambda s: s.sketches(3),
            lambda s: s.series(1, 5),
            lambda s: s.second,
        ),
        bad=(
            lambda: Window((), 1, ()),
            lambda: Window((0,), 1, ()),
            lambda: Window((1,), 0, ()),
            lambda: Window((1,), 1, (2, 2)),
        ),
    ),
    "drift": Case(
        make=lambda: Drift("page_hinkley", 120),
        feed=lambda s, _, x: s.update(float(x)),
        readings=(lambda s: s.reference,),
        bad=(lambda: Drift("cusum"), lambda: Drift("adwin", 119)),
    ),
}
every = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
mergeable = pytest.mark.parametrize(
    "case",
    [case for case in CASES.values() if isinstance(case.make(), Mergeable)],
    ids=[name for name, case in CASES.items() if isinstance(case.make(), Mergeable)],
)
streams = st.lists(st.integers(1, 200), min_size=130, max_size=150)


def fed(case, values, start=0):
    statistic = case.make()
    for second, x in enumerate(values, start):
        case.feed(statistic, second, x)
    return statistic


def read(case, statistic):
    return [reading(statistic) for reading in case.readings]


@every
def test_statistics_keep_to_the_protocol(case):
    """Every statistic can be kept, and says its version."""
    assert isinstance(case.make(), Restorable)
    assert "version" in case.make().state()


@every
def test_empty_statistics_refuse_to_be_read(case):
    """An empty statistic raises NotEnoughData on every reading."""
    for reading in case.readings:
        with pytest.raises(NotEnoughData):
            reading(case.make())


@every
def test_bad_arguments_are_refused(case):
    """A bad argument raises ValueError, and not for want of data."""
    for bad in case.bad:
        with pytest.raises(ValueError, match=r"must be .*got") as caught:
            bad()
        assert not isinstance(caught.value, NotEnoughData)


@every
@pytest.mark.slow
@given(values=streams)
@settings(max_examples=15, deadline=None)
def test_states_go_round(case, values):
    """A restored statistic has the same state and answers with the same bits."""
    statistic = fed(case, values)
    restored = type(statistic).from_state(statistic.state())
    assert statistic.state() == restored.state()
    np.testing.assert_equal(read(case, restored), read(case, statistic))


@every
def test_empty_states_go_round(case):
    """The state of an empty statistic makes an empty statistic."""
    restored = type(case.make()).from_state(case.make().state())
    assert case.make().state() == restored.state()


@every
@pytest.mark.slow
@given(values=streams, cut=st.integers(0, 130))
@settings(max_examples=15, deadline=None)
def test_going_on_from_a_state_changes_nothing(case, values, cut):
    """Stopped anywhere and gone on from its state, a statistic ends the same."""
    restored = type(case.make()).from_state(fed(case, values[:cut]).state())
    for second, x in enumerate(values[cut:], cut):
        case.feed(restored, second, x)
    assert fed(case, values).state() == restored.state()


@every
def test_states_of_another_version_are_refused(case):
    """A state with another version raises ValueError naming both."""
    state = case.make().state() | {"version": 99}
    with pytest.raises(ValueError, match=r"version of the state must be 1, got 99"):
        type(case.make()).from_state(state)


@every
def test_states_are_plain(case):
    """A state is made of plain values and bytes only."""
    state = fed(case, range(1, 140)).state()
    assert {type(value) for value in state.values()} <= {int, float, str, bytes}


@mergeable
@pytest.mark.slow
@given(values=streams, cut=st.integers(0, 130))
@settings(max_examples=15, deadline=None)
def test_merging_is_having_seen_both(case, values, cut):
    """Two merged statistics read as one that saw both streams."""
    merged = fed(case, values[:cut])
    merged.merge(fed(case, values[cut:], cut))
    for reading in case.readings:
        np.testing.assert_allclose(
            reading(merged),
            reading(fed(case, values)),
            rtol=case.tolerance,
            atol=case.tolerance,
        )


@mergeable
def test_merging_with_an_empty_one_changes_nothing(case):
    """An empty statistic is neutral on either side."""
    full, empty = fed(case, range(1, 9)), case.make()
    before = full.state()
    full.merge(case.make())
    empty.merge(full)
    assert before == full.state()
    assert before == empty.state()


@mergeable
@pytest.mark.slow
@given(values=streams)
@settings(max_examples=15, deadline=None)
def test_merging_is_associative(case, values):
    """(a + b) + c reads as a + (b + c)."""
    thirds = (values[:40], 0), (values[40:80], 40), (values[80:], 80)
    a, b, c = (fed(case, *third) for third in thirds)
    a.merge(b)
    a.merge(c)
    x, y, z = (fed(case, *third) for third in thirds)
    y.merge(z)
    x.merge(y)
    for reading in case.readings:
        np.testing.assert_allclose(
            reading(a), reading(x), rtol=case.tolerance, atol=case.tolerance
        )


def test_a_state_without_version_is_refused():
    """No version is another version."""
    with pytest.raises(ValueError, match=r"must be 1, got None"):
        check_version({}, 1)


def test_packed_arrays_are_little_endian():
    """Bytes are little-endian whatever the machine, and the copies can be written."""
    assert pack(np.array([1, 256], ">i8")) == b"\1" + b"\0" * 8 + b"\1" + b"\0" * 6
    unpacked, floats = unpack(pack(ROWS)), unpack_floats(pack(ROWS, "<f8"))
    unpacked += 1
    floats += 0.5
    assert unpacked.tolist() == [1, 2, 3]
    assert floats.tolist() == [0.5, 1.5, 2.5]
