"""Drift detectors: what they find, what they leave alone, how they are kept."""

import numpy as np
import pytest

from models.contract import NotEnoughData
from models.drift import Drift

every = pytest.mark.parametrize("name", Drift.names())


def noise(seed, n, shift=0.0):
    return (np.random.default_rng(seed).normal(size=n) + shift).tolist()


def alarms(drift, values):
    return [at for at, x in enumerate(values) if drift.update(x)]


@every
@pytest.mark.parametrize("shift", [-4.0, 4.0])
def test_a_shift_is_found(name, shift):
    """A shift of four standard deviations is found within a minute, up or down."""
    drift = Drift(name)
    assert alarms(drift, noise(1, 400)) == []
    assert alarms(drift, noise(2, 60, shift))[:1]


@every
@pytest.mark.slow
def test_stationary_noise_is_left_alone(name):
    """Six hours of noise raise at most one alarm."""
    assert len(alarms(Drift(name), noise(3, 6 * 3600))) <= 1


@every
def test_shifting_and_scaling(name):
    """The unit of the series does not matter; powers of two are exact."""
    values = noise(4, 300) + noise(5, 300, 3.0)
    scaled = [1024.0 * x for x in values]
    assert alarms(Drift(name), values) == alarms(Drift(name), scaled)


@every
def test_the_first_sixty_are_the_reference(name):
    """Nothing is found in the first 60, and their moments are what is reported."""
    drift, values = Drift(name), noise(6, 60)
    assert alarms(drift, values[:-1]) == []
    with pytest.raises(NotEnoughData, match="takes 60 values, got 59"):
        _ = drift.reference
    drift.update(values[-1])
    expected = np.mean(values), np.std(values, ddof=1)
    assert expected == pytest.approx(drift.reference)
    alarms(drift, noise(7, 10))
    assert expected == pytest.approx(drift.reference)


@every
def test_a_reference_without_spread(name):
    """A constant reference is not scaled: the series is judged in its own unit."""
    drift = Drift(name)
    assert alarms(drift, [0.0] * 400) == []
    assert alarms(drift, [100.0] * 60)[:1]


@every
def test_after_an_alarm_everything_starts_afresh(name):
    """An alarm leaves a new detector, for which the new level is the normal one."""
    drift = Drift(name)
    alarms(drift, noise(8, 200))
    while not drift.update(50.0):
        pass
    assert Drift(name).state() == drift.state()
    assert alarms(drift, noise(9, 800, 50.0)) == []


@every
def test_a_full_memory_starts_again_on_its_last_half(name):
    """At `memory` inputs a detector is as a new one that saw only the last half."""
    drift, fresh, values = Drift(name, 200), Drift(name, 200), noise(10, 200)
    assert alarms(drift, values) == []
    alarms(fresh, values[100:])
    assert fresh.state() == drift.state()
    assert fresh.reference == drift.reference


@every
@pytest.mark.slow
def test_split_at_every_point(name):
    """Kept and restored after any input, it says the same about all that follow."""
    values = noise(11, 300) + noise(12, 150, 6.0) + noise(13, 100)
    whole = Drift(name, 240)
    expected = [whole.update(x) for x in values]
    assert any(expected)
    kept = Drift(name, 240)
    for at, x in enumerate(values):
        kept = Drift.from_state(kept.state())
        assert expected[at] == kept.update(x)
    assert whole.state() == kept.state()


@every
@pytest.mark.parametrize("x", [float("nan"), float("inf")])
def test_inputs_are_checked(name, x):
    """An input that is not finite raises ValueError, early or late, and is not kept."""
    drift = Drift(name)
    for values in ([1.0, 2.0], noise(14, 70)):
        alarms(drift, values)
        before = drift.state()
        with pytest.raises(ValueError, match="x must be finite"):
            drift.update(x)
        assert before == drift.state()


def test_unknown_detectors_are_refused():
    """An unknown name raises ValueError naming those that there are."""
    with pytest.raises(
        ValueError, match=r"one of \('adwin', 'page_hinkley'\), got 'x'"
    ):
        Drift("x")
