"""Request events at a steady rate, made so that decisions keep coming.

    python flood.py BROKERS TOPIC RATE SECONDS SERVICES OUT

Every service has a canary and a baseline. Each canary is well for some seconds and bad
for some, so that it is held and cleared again and again; the services are out of step,
so some decision is due almost every second. What Kafka acknowledged is written to OUT
as JSON when all is over: the number of events, and the newest event time.
"""

import json
import random
import sys
import time
from pathlib import Path

from confluent_kafka import KafkaException, Producer

WELL_SECONDS, BAD_SECONDS = 9, 4
SLICE_SECONDS = 0.02
GIVE_UP_SECONDS = 120.0
QUIET_SECONDS = 20.0
ANY = -1  # partition, as librdkafka chooses


class Flood:
    """A sender with a fixed rate.

    Parameters
    ----------
    busy
        Partitions that get the events; all where 0.
    quiet
        Partitions behind them that get one every `QUIET_SECONDS`.
    """

    def __init__(
        self, brokers: str, topic: str, services: int, busy: int = 0, quiet: int = 0
    ) -> None:
        self._busy, self._quiet = busy, quiet
        self.topic = topic
        self.services = services
        self.acknowledged = self.failed = 0
        self.newest = 0.0
        self._next_quiet = 0.0
        self._lots = random.Random(7)
        self._producer = Producer(
            {
                "bootstrap.servers": brokers,
                "linger.ms": 10,
                "acks": "all",
                "enable.idempotence": True,
                "compression.type": "lz4",
                "queue.buffering.max.messages": 5_000_000,
                "queue.buffering.max.kbytes": 2_000_000,
                "delivery.timeout.ms": int(GIVE_UP_SECONDS * 1000),
                "log_level": 2,
            }
        )

    def run(self, rate: int, seconds: float) -> None:
        """Send for so long, then wait until Kafka has everything."""
        begin = time.time()
        sent = 0
        while (now := time.time()) < begin + seconds:
            due = int((now - begin) * rate)
            while sent < due:
                self._send(self._event(now), sent % self._busy if self._busy else ANY)
                sent += 1
            if self._quiet and now >= self._next_quiet:
                self._next_quiet = now + QUIET_SECONDS
                for partition in range(self._busy, self._busy + self._quiet):
                    self._send(self._event(now), partition)
            self._producer.poll(0)
            time.sleep(SLICE_SECONDS)
        self._producer.flush(GIVE_UP_SECONDS)

    def _event(self, now: float) -> bytes:
        lots = self._lots
        service = lots.randrange(self.services)
        ts = now - lots.random() * 0.3
        is_canary = lots.random() < 0.3
        cycle = (ts + 3 * service) % (WELL_SECONDS + BAD_SECONDS)
        is_bad = is_canary and cycle >= WELL_SECONDS and lots.random() < 0.3
        self.newest = max(self.newest, ts)
        cohort, version = ("canary", "v2") if is_canary else ("baseline", "v1")
        return (
            f'{{"service":"svc-{service:03d}","ts":{ts:.3f},"latency_ms":'
            f'{10 + 20 * lots.random():.2f},"status":{500 if is_bad else 200},'
            f'"cohort":"{cohort}","version":"{version}"}}'
        ).encode()

    def _send(self, value: bytes, partition: int) -> None:
        while True:
            try:
                self._producer.produce(
                    self.topic, value, partition=partition, on_delivery=self._delivered
                )
            except BufferError:
                self._producer.poll(0.05)
            else:
                return

    def _delivered(self, error: object, _: object) -> None:
        if error is None:
            self.acknowledged += 1
        else:
            self.failed += 1


def main() -> None:
    brokers, topic, rate, seconds, services, busy, quiet, out = sys.argv[1:]
    flood = Flood(brokers, topic, int(services), int(busy), int(quiet))
    try:
        flood.run(int(rate), float(seconds))
    except KafkaException as error:
        sys.exit(f"flood: {error}")
    truth = {
        "events": flood.acknowledged,
        "failed": flood.failed,
        "newest": flood.newest,
    }
    Path(out).write_text(json.dumps(truth))


if __name__ == "__main__":
    main()
