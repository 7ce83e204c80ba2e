"""Drift in a canary that stands alone: a signal, and no more."""

import subprocess
import sys

import numpy as np
import pytest

from guard.pane import ERRORS, REQUESTS
from guard.tally import COLUMNS, Second
from guard.watch import Watch, prepare
from models.quantile import bucket_of

NONE = np.zeros(0, np.int64)


def second(number, *, errors=0, latency=100.0, row=3):
    """A second in which rows 1 and `row` had 100 requests."""
    rows = np.array([1, row])
    counts = np.zeros((2, COLUMNS), np.int64)
    counts[:, REQUESTS] = 100
    counts[1, ERRORS] = errors
    buckets = bucket_of(np.array([1e6, latency]))
    blocks = (NONE, NONE, NONE)
    requests = np.array([100, 100])
    return Second(number, rows, counts, rows, buckets, requests, blocks, {}, rows)


def look(watch, start, seconds, **words):
    """Rules of all the reasons that so many seconds bring."""
    rng = np.random.default_rng(start)
    found = []
    for number in range(start, start + seconds):
        told = {"errors": int(rng.integers(0, 4)), "latency": 100.0 + rng.normal()}
        reasons = watch.look(7, 3, second(number, **told | words))
        found += [reason.rule for reason in reasons]
        assert all(r.action == "hold" and r.severity == "warning" for r in reasons)
    return found


@pytest.mark.parametrize("detector", ["adwin", "page_hinkley"])
@pytest.mark.parametrize(
    ("change", "statistic"),
    [({"errors": 30}, "error_rate"), ({"latency": 300.0}, "mean_latency")],
)
def test_a_change_of_its_own_row_is_told(detector, change, statistic):
    """By each detector, of the statistic that changed; nothing while it is steady."""
    watch = Watch((detector,))
    assert look(watch, 0, 200) == []
    assert f"watch:{detector}:{statistic}" in look(watch, 200, 100, **change)


def test_a_snapshot_remembers_and_a_forgotten_row_begins_anew():
    """The detectors' memories go with the state."""
    watch, again = Watch(("page_hinkley",)), Watch(("page_hinkley",))
    look(watch, 0, 200)
    again.restore(watch.state())
    assert look(watch, 200, 60, errors=30) == look(again, 200, 60, errors=30) != []
    watch.forget(7)
    watch.forget(8)
    assert watch.state() == {}


@pytest.mark.slow
def test_the_detectors_are_loaded_when_they_are_needed():
    """A worker starts in half the time without them; `prepare` loads them."""
    program = (
        "import sys, guard.shell.stream, guard.watch\n"
        "print('river' in sys.modules)\n"
        "guard.watch.prepare()\n"
        "print('river.drift' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False", "True"]
    prepare()
