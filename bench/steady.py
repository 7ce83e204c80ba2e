"""Events at a steady rate, now, in which canaries begin to fail at known instants.

    python bench/steady.py JOB

JOB is JSON: bootstrap, topic, partitions, services, rate, seconds, per_record, out.
Each service's canary is well for seven seconds and fails for three, all out of step.
To `out` go the events that were sent, for how long, and the time of the first failure
of each episode. All events of a slice of 10 ms carry its time, so that a value is made
once and sent often: a sender that makes each anew is slower than what it measures.
"""

import json
import random
import sys
import time
from pathlib import Path

from confluent_kafka import Producer

SLICE_SECONDS = 0.01
CYCLE_SECONDS, BAD_SECONDS = 10.0, 3.0
TURNS = 10  # of a service: three for its canary, seven for its baseline
CANARY_TURNS = (0, 3, 6)


class Steady:
    """A sender with a fixed rate."""

    def __init__(self, job: dict) -> None:
        self._topic = job["topic"]
        self._partitions, self._services = job["partitions"], job["services"]
        self._per_record = job["per_record"]
        lots = random.Random(7)
        self._phases = [lots.random() * CYCLE_SECONDS for _ in range(self._services)]
        self.sent = 0
        self.onsets: dict[tuple[int, int], float] = {}
        self._producer = Producer(
            {
                "bootstrap.servers": job["bootstrap"],
                "linger.ms": 5,
                "acks": "all",
                "compression.type": "lz4",
                "queue.buffering.max.messages": 2_000_000,
                "queue.buffering.max.kbytes": 1_000_000,
                "batch.num.messages": 2_000,
                "log_level": 2,
            }
        )

    def run(self, rate: int, seconds: float) -> float:
        """Send for so long; how long it took until Kafka had everything."""
        begin = time.time()
        while (now := time.time()) < begin + seconds:
            self._send_until(int((now - begin) * rate), round(now, 3))
            self._producer.poll(0)
            time.sleep(max(0.0, now + SLICE_SECONDS - time.time()))
        self._producer.flush(60)
        return time.time() - begin

    def _send_until(self, due: int, now: float) -> None:
        values: dict[tuple[int, bool], bytes] = {}
        batches: list[list[bytes]] = [[] for _ in range(self._partitions)]
        for number in range(self.sent, due):
            turn, service = divmod(number, self._services)
            key = service, turn % TURNS in CANARY_TURNS
            if key not in values:
                values[key] = self._event(*key, now)
            # Every service comes to every partition.
            batches[(number + turn) % self._partitions].append(values[key])
        self.sent = max(self.sent, due)
        for partition, batch in enumerate(batches):
            self._produce(partition, batch)

    def _event(self, service: int, is_canary: bool, now: float) -> bytes:  # noqa: FBT001
        cycle, at = divmod(now + self._phases[service], CYCLE_SECONDS)
        is_bad = is_canary and at >= CYCLE_SECONDS - BAD_SECONDS
        if is_bad:
            self.onsets.setdefault((service, int(cycle)), now)
        cohort, version = ("canary", "v2") if is_canary else ("baseline", "v1")
        return (
            f'{{"service":"svc-{service:04d}","ts":{now:.3f},"latency_ms":41.7,'
            f'"status":{500 if is_bad else 200},"cohort":"{cohort}",'
            f'"version":"{version}","instance":"s{service:04d}-{version}"}}'
        ).encode()

    def _produce(self, partition: int, batch: list[bytes]) -> None:
        size = self._per_record
        for start in range(0, len(batch), size):
            part = batch[start : start + size]
            value = part[0] if size == 1 else b"[" + b",".join(part) + b"]"
            while True:
                try:
                    self._producer.produce(self._topic, value, partition=partition)
                    break
                except BufferError:
                    self._producer.poll(0.05)


def main() -> None:
    job = json.loads(sys.argv[1])
    steady = Steady(job)
    took = steady.run(job["rate"], job["seconds"])
    onsets = [(f"svc-{s:04d}", ts) for (s, _), ts in steady.onsets.items()]
    found = {"events": steady.sent, "seconds": took, "onsets": onsets}
    Path(job["out"]).write_text(json.dumps(found))


if __name__ == "__main__":
    main()
