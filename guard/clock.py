"""Event time of one source partition: its watermark, by the order of its records alone.

The watermark is a pure function of the records of a block, of the last block before it
that holds any, and of the Kafka time of the one record before; so every worker that
ever reads a block finds the same events late. It is the greatest of

- min(event time, Kafka time) - lateness, of every good event: an event from the future
  cannot make the present late;
- Kafka time - patience, of every record: a source that says nothing usable must not
  stop everyone;
- Kafka time - lateness, of a record that comes more than the lateness after the one
  before it, or has none before it: a silence is over, and what a live worker said
  while it lasted (the clock less the lateness) was right.

The Kafka terms of a block's first record count in that block only: a worker that begins
with it may not know the record before, and would see a silence where there was none.
Every value counts as a record for its Kafka time, usable or not; only good events count
for event time. A record's Kafka terms count before it is judged late, its event time
after.
"""

import math

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


class Clock:
    """The watermark of one source partition.

    Parameters
    ----------
    lateness_seconds
        How long after its own time an event may come; >= 0.
    patience_seconds
        How long a source may say nothing usable; at least the lateness.
    """

    __slots__ = ("_carry", "_is_fresh", "_lateness", "_patience", "_stamp", "watermark")

    def __init__(self, lateness_seconds: float, patience_seconds: float) -> None:
        if not lateness_seconds >= 0:
            raise ValueError(f"lateness_seconds must be >= 0, not {lateness_seconds}")
        if not patience_seconds >= lateness_seconds:
            raise ValueError(
                f"patience_seconds must be at least the lateness, {lateness_seconds}, "
                f"not {patience_seconds}"
            )
        self._lateness = lateness_seconds
        self._patience = patience_seconds
        self._stamp = math.nan  # Kafka time of the last record; NaN before the first
        self._carry = -math.inf  # what this block hands on to the next
        self._is_fresh = True  # no record of this block yet
        self.watermark = -math.inf

    def begin_block(self) -> None:
        """Forget what only counted in its own block."""
        if not self._is_fresh:
            self.watermark = self._carry
            self._carry = -math.inf
            self._is_fresh = True

    def is_silent(self, now: float) -> bool:
        """Whether the last record's Kafka time is more than the lateness before `now`.

        A source without any record is silent.
        """
        return not now - self._stamp <= self._lateness

    def advance(
        self,
        stamps: Floats,
        times: Floats,
        owners: npt.NDArray[np.int64],
    ) -> Floats:
        """Pass over records of one block; the watermark that each good event met.

        Parameters
        ----------
        stamps
            Kafka times of the records, in seconds; at least one.
        times, owners
            Of each good event its time, and the index of the record it came in; may be
            empty.
        """
        gaps = np.diff(stamps, prepend=self._stamp)
        is_after_silence = ~(gaps <= self._lateness)
        terms = stamps - np.where(is_after_silence, self._lateness, self._patience)
        events = np.minimum(times, stamps[owners]) - self._lateness
        by_record = np.maximum.accumulate(terms)
        by_event = np.maximum.accumulate(np.concatenate(([self.watermark], events)))
        met = np.maximum(by_record[owners], by_event[:-1])
        self.watermark = max(float(by_record[-1]), float(by_event[-1]))
        self._hand_on(terms[1:] if self._is_fresh else terms)
        self._hand_on(events)
        self._is_fresh = False
        self._stamp = float(stamps[-1])
        return met

    def behind(self, met: Floats, stamps: Floats, times: Floats) -> Floats:
        """Return the lateness with which each late event would have come in time.

        One that was older than the patience when Kafka got it takes a lateness of all
        its age: whatever the others say, the patience itself is too short for it.

        Parameters
        ----------
        met, stamps, times
            Of each late event the watermark it met, its record's Kafka time, its time.
        """
        is_too_old = stamps - self._patience > times
        return np.where(is_too_old, stamps - times, met - times + self._lateness)

    def _hand_on(self, terms: Floats) -> None:
        self._carry = max(self._carry, float(terms.max(initial=-math.inf)))
