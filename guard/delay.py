"""How soon requests reach Kafka at best: the least delay of every cohort of late.

A delay is the Kafka time of a record less the time of its event: the way it took (an
exporter that gathers, a network), and the difference of two clocks. The quickest of
many requests hardly had a way, so the least delay is that of the clocks.

It is kept by sixths of the policy's window, not by second: seven numbers a row, however
long the window is, which is covered and up to a sixth more.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from guard.pane import NO_DELAY, Ints

BUCKETS = 7  # one is being filled, six are full


class Delays:
    """The least delay of each row in a window, in milliseconds."""

    def __init__(self, window_seconds: int) -> None:
        self._seconds = -(-window_seconds // (BUCKETS - 1))  # of a bucket
        self._newest = 0  # number of the bucket that is being filled
        self._least = np.full((BUCKETS, 0), NO_DELAY, np.int32)

    def grow(self, rows: int) -> None:
        """Make room for so many rows; doubles when it must."""
        size = self._least.shape[1]
        if rows > size:
            more = np.full((BUCKETS, max(rows - size, size)), NO_DELAY, np.int32)
            self._least = np.hstack((self._least, more))

    def advance(self, second: int) -> None:
        """Let the time come to this second; drop what is too old now."""
        newest = second // self._seconds
        for number in range(max(self._newest, newest - BUCKETS) + 1, newest + 1):
            self._least[number % BUCKETS] = NO_DELAY
        self._newest = newest

    def note(self, second: int, rows: Ints, delays: Ints) -> None:
        """Take in one second; distinct rows, `NO_DELAY` where there is none."""
        self.advance(second)
        bucket = self._least[self._newest % BUCKETS]
        bucket[rows] = np.minimum(bucket[rows], delays)

    def least(self, rows: Ints) -> Ints:
        """Least delay of each of these rows; `NO_DELAY` for one without any."""
        return np.asarray(self._least[:, rows].min(axis=0), np.int64)

    def is_settled(self, rows: Ints) -> npt.NDArray[np.bool_]:
        """Whether each of these rows has been there for most of the window.

        The first requests that are judged may be the old end of a batch that an
        exporter gathered: all of them were slow, and say nothing of a clock.
        """
        oldest = [(self._newest + age) % BUCKETS for age in (1, 2)]
        return np.asarray((self._least[oldest][:, rows] < NO_DELAY).any(axis=0))

    def forget(self, rows: Ints) -> None:
        """Drop these rows, so that their numbers can be used again."""
        self._least[:, rows] = NO_DELAY

    def state(self) -> dict[str, Any]:
        """Return everything, for a snapshot."""
        return {"newest": self._newest, "least": self._least.tobytes()}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken, with the same window."""
        self._newest = state["newest"]
        least = np.frombuffer(state["least"], np.int32)
        self._least = least.reshape(BUCKETS, -1).copy()
