"""Events per second of one process, from the first events on to the last.

It imports nothing but the standard library: the peers run in environments of their own.
"""

import json
import os
import time

WARM_EVENTS = 100_000


class Stopwatch:
    """Counts what was passed; prints its figures and ends the process at the last.

    Parameters
    ----------
    records
        After how many all is over.
    per_record
        Events in each.
    further
        What else to print.
    """

    def __init__(self, records: int, per_record: int = 1, **further: object) -> None:
        self.records = records
        self.seen = 0
        self._per_record = per_record
        self._begin = min(WARM_EVENTS // per_record, records // 10)
        self._further = further
        self._started: tuple[int, float, float] | None = None

    def add(self, records: int = 1) -> None:
        """Note that so many more were counted."""
        self.pass_(self.seen + records)

    def pass_(self, seen: int, *, is_over: bool = True, **further: object) -> None:
        """Note how many were counted, and whether nothing else is waited for."""
        self.seen = seen
        if self._started is None:
            if seen >= self._begin:
                self._started = seen, time.perf_counter(), time.process_time()
        elif seen >= self.records and is_over:
            count, wall, cpu = self._started
            figures = {
                "events": (seen - count) * self._per_record,
                "wall": time.perf_counter() - wall,
                "cpu": time.process_time() - cpu,
                **self._further,
                **further,
            }
            print(json.dumps(figures), flush=True)
            os._exit(0)
