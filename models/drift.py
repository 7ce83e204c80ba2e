"""Drift of one number per second: river's detectors, kept without pickle.

The only file that imports river. Its detectors hold their state in compiled or private
objects; pickling those would tie a changelog to a river version and execute code on
reading. We keep the inputs instead, at most `memory` floats, and feed them again: the
detectors are deterministic, so the same inputs make the same detector.
"""

import math
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, Final, Protocol, Self, cast

import numpy as np

from models.contract import (
    NotEnoughData,
    State,
    check_version,
    pack,
    unpack_floats,
)
from models.moments import Moments

_VERSION = 1
_REFERENCE: Final = 60  # seconds


class _Detector(Protocol):
    @property
    def drift_detected(self) -> bool: ...
    def update(self, x: float) -> None: ...


# In units of the reference's standard deviation. At river's own settings (ADWIN delta
# 0.002; Page-Hinkley delta 0.005, threshold 50) the first alarms 32 times a day on a
# series that resembles itself (AR(1) with 0.5), and the second 43 times on white noise.
_DETECTORS: Mapping[str, Callable[[], _Detector]] = {
    "adwin": lambda: cast("_Detector", load().ADWIN(delta=1e-6)),
    "page_hinkley": lambda: cast(
        "_Detector", load().PageHinkley(delta=0.5, threshold=40.0)
    ),
}


def load() -> ModuleType:
    """Import river's detectors; it takes two seconds, and not everybody needs them."""
    from river import drift  # noqa: PLC0415 - see above

    module: ModuleType = drift
    return module


class Drift:
    """Whether the mean of a series has moved from its own beginning.

    z_i = (x_i - mean_60) / standard_deviation_60;  z into ADWIN or Page-Hinkley

    Parameters
    ----------
    detector
        One of `Drift.names()`.
    memory
        Inputs kept, >= 120. When so many are there, the detector starts again on the
        last half, of which the first 60 are the new reference: a memory near its least
        makes a fresh change its own reference.

    Notes
    -----
    It also alarms for nothing, so it is a reason to look and not to roll back. Alarms a
    day on stationary series, one value per second, 10 days of each:

    ==================  =====  ============
    series              adwin  page_hinkley
    ==================  =====  ============
    normal              0.0    0.0
    lognormal, sd 0.3   0.0    0.0
    lognormal, sd 1     0.0    2.8
    Poisson, mean 0.5   0.0    0.0
    AR(1) with 0.5      0.8    0.3
    ==================  =====  ============

    Median delay in seconds when the mean of a normal series moves by 1, 2 and 4
    standard deviations after ten minutes: adwin 88, 40, 40; page_hinkley 84, 27, 12. A
    move by half of one is mostly missed.

    Scale and centre come from the first 60 alone: taken from all, they would follow
    what they are to find. A reference without spread is not scaled. After an alarm
    everything starts afresh. O(1) per update on average, O(memory) when it starts
    again. Bifet and Gavalda, SIAM SDM 2007, theorem 3.1; Page, Biometrika 41 (1954).

    Examples
    --------
    >>> d = Drift("page_hinkley")
    >>> steady = [float(i % 3) for i in range(300)]
    >>> any(d.update(x) for x in steady), any(d.update(x + 5.0) for x in steady)
    (False, True)
    """

    __slots__ = ("_detector", "_inputs", "_memory", "_name", "_reference")

    def __init__(self, detector: str, memory: int = 900) -> None:
        if detector not in _DETECTORS:
            raise ValueError(
                f"detector must be one of {self.names()}, got {detector!r}"
            )
        if memory < 2 * _REFERENCE:
            raise ValueError(f"memory must be >= {2 * _REFERENCE}, got {memory}")
        self._name = detector
        self._memory = memory
        self._restart([])

    @staticmethod
    def names() -> tuple[str, ...]:
        """Detectors that there are."""
        return tuple(_DETECTORS)

    def update(self, x: float) -> bool:
        """Take in one observation; whether a change was detected with it.

        False for the first 60 after each start. ValueError unless x is finite.
        """
        if not math.isfinite(x):
            raise ValueError(f"x must be finite, got {x}")
        found = self._feed(float(x))
        if found:
            self._restart([])
        elif len(self._inputs) == self._memory:
            self._restart(self._inputs[-(self._memory // 2) :])
        return found

    @property
    def reference(self) -> tuple[float, float]:
        """Mean and standard deviation of the first 60; NotEnoughData before."""
        seen = self._reference.count
        if seen < _REFERENCE:
            raise NotEnoughData(f"a reference takes {_REFERENCE} values, got {seen}")
        return self._reference.mean, self._reference.standard_deviation

    def state(self) -> State:
        """Give the inputs since the last start, 8 bytes each."""
        return {
            "version": _VERSION,
            "detector": self._name,
            "memory": self._memory,
            "inputs": pack(np.array(self._inputs, np.float64), "<f8"),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Make it again by feeding the inputs; ValueError on another version."""
        check_version(state, _VERSION)
        made = cls(state["detector"], state["memory"])
        made._restart(unpack_floats(state["inputs"]).tolist())
        return made

    def _restart(self, inputs: list[float]) -> None:
        # What a restarted detector finds in inputs already judged was not found then.
        self._detector = _DETECTORS[self._name]()
        self._reference = Moments()
        self._inputs: list[float] = []
        for x in inputs:
            self._feed(x)

    def _feed(self, x: float) -> bool:
        if self._reference.count < _REFERENCE:
            self._reference.update(x)
            self._inputs.append(x)
            if self._reference.count == _REFERENCE:
                for first in self._inputs:
                    self._detector.update(self._standardised(first))
            return False
        z = self._standardised(x)
        self._inputs.append(x)
        self._detector.update(z)
        return self._detector.drift_detected

    def _standardised(self, x: float) -> float:
        mean, deviation = self.reference
        return (x - mean) / (deviation or 1.0)
