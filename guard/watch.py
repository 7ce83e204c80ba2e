"""Whether a canary with no baseline beside it still behaves as it did.

There is nothing to compare with, so river's detectors look for a change in its own
per-second error rate and mean latency. What they see is a signal to watch, never a
reason to roll back: load and time of day change both.
"""

from typing import Any

import numpy as np

from guard.decision import Reason
from guard.pane import ERRORS, REQUESTS
from guard.tally import Second
from guard.verdict import Action, Severity
from models.drift import Drift, load
from models.quantile import value_of

_STATISTICS = ("error_rate", "mean_latency")


def prepare() -> None:
    """Load the detectors now, and not when the first of them is needed."""
    load()


class Watch:
    """Drift detectors by rollout.

    Parameters
    ----------
    detectors
        Their names; `models.drift` knows which there are.
    """

    def __init__(self, detectors: tuple[str, ...]) -> None:
        self._detectors = detectors
        self._drifts: dict[int, list[Drift]] = {}

    def look(self, row: int, at: int, data: Second) -> list[Reason]:
        """Take in a second of a rollout; a reason for every change it shows.

        The reasons have no words yet.

        Parameters
        ----------
        at
            The canary's row in this second; it must hold a request.
        """
        counts = data.counts[data.rows.searchsorted(at)]
        low, high = data.sketch_rows.searchsorted((at, at + 1)).tolist()
        buckets = data.sketch_buckets[low:high]
        requests = data.sketch_requests[low:high]
        drifts = self._drifts.get(row)
        if drifts is None:
            drifts = [Drift(name) for name in self._detectors for _ in _STATISTICS]
            self._drifts[row] = drifts
        total = int(counts[REQUESTS])
        latency = float(np.dot(value_of(buckets), requests)) / total
        readings = (int(counts[ERRORS]) / total, latency)
        reasons: list[Reason] = []
        for place, drift in enumerate(drifts):
            name = self._detectors[place // len(_STATISTICS)]
            statistic = place % len(_STATISTICS)
            if drift.update(readings[statistic]):
                reasons.append(_reason(name, _STATISTICS[statistic]))
        return reasons

    def forget(self, row: int) -> None:
        """Drop a rollout."""
        self._drifts.pop(row, None)

    def state(self) -> dict[int, list[Any]]:
        """Return the detectors' memories."""
        return {
            row: [drift.state() for drift in drifts]
            for row, drifts in self._drifts.items()
        }

    def restore(self, state: dict[int, list[Any]]) -> None:
        """Go on where `state` was taken."""
        self._drifts = {
            row: [Drift.from_state(memory) for memory in drifts]
            for row, drifts in state.items()
        }


def _reason(detector: str, statistic: str) -> Reason:
    return Reason(
        rule=f"watch:{detector}:{statistic}",
        text="",
        severity=Severity.WARNING.word,
        action=Action.HOLD.word,
    )
