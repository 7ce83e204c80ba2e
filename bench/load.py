"""Request events for the benchmarks, and how they get into Kafka."""

import random
from collections.abc import Iterator
from itertools import islice

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

START_SECONDS = 1_790_000_000
EVENTS_PER_SECOND = 100_000  # of event time, over all partitions
PARTITIONS = 8
EVENTS_PER_BATCH = 200  # of Kafka, where each record is one event
RECORDS_PER_BATCH = 20  # where each record is an array


def event(number: int, services: int, lots: random.Random) -> bytes:
    """One native event of 154 bytes; nearly in order, 0.1 % are up to 9 s late."""
    lot = lots.random()
    is_canary = lot < 0.1
    late = lots.random() * (9 if lot > 0.999 else 0.2)
    ts = time_of(number) - late
    service = lots.randrange(services)
    fault = lots.random()
    status = 500 if fault < 0.003 else 404 if fault < 0.013 else 200
    cohort, version, pod = (
        ("canary", "v2", "b") if is_canary else ("baseline", "v1", "a")
    )
    return (
        f'{{"service":"svc-{service:04d}","ts":{ts:.3f},'
        f'"latency_ms":{lots.lognormvariate(4, 0.6):.3f},"status":{status},'
        f'"cohort":"{cohort}","version":"{version}","endpoint":"/api/items",'
        f'"instance":"s{service:04d}-{pod}{lots.randrange(8)}"}}'
    ).encode()


def time_of(number: int) -> float:
    """When an event of this number happens."""
    return START_SECONDS + 10 + number / EVENTS_PER_SECOND


def events(count: int, services: int, seed: int = 7) -> Iterator[bytes]:
    """So many events in the order of time."""
    lots = random.Random(seed)
    return (event(number, services, lots) for number in range(count))


def values(count: int, services: int, per_record: int = 1) -> Iterator[bytes]:
    """The same events as values of records: each alone, or in JSON arrays."""
    source = events(count, services)
    if per_record == 1:
        yield from source
        return
    while several := list(islice(source, per_record)):
        yield b"[" + b",".join(several) + b"]"


def make_topics(bootstrap: str, topics: dict[str, tuple[int, dict[str, str]]]) -> None:
    """Make topics of so many partitions and with this configuration."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    new = [NewTopic(name, n, 1, config=config) for name, (n, config) in topics.items()]
    for future in admin.create_topics(new).values():
        future.result(30)


def delete_topics(bootstrap: str, *names: str) -> None:
    """Give their room on the disk back."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for future in admin.delete_topics(list(names)).values():
        future.result(30)


def preload(
    bootstrap: str,
    topic: str,
    count: int,
    services: int,
    *,
    per_record: int = 1,
    compression: str = "lz4",
) -> int:
    """Put events into a topic, stamped with the time they are from; the records."""
    per_batch = EVENTS_PER_BATCH if per_record == 1 else RECORDS_PER_BATCH
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "linger.ms": 20,
            "acks": "all",
            "enable.idempotence": True,
            "queue.buffering.max.messages": 1_000_000,
            "compression.type": compression,
            "batch.num.messages": per_batch,
        }
    )
    number = -1
    for number, value in enumerate(values(count, services, per_record)):
        stamp = time_of((number + 1) * per_record - 1)
        place = {
            "partition": number // per_batch % PARTITIONS,
            "timestamp": int(stamp * 1000),
        }
        while True:
            try:
                producer.produce(topic, value, **place)
                break
            except BufferError:
                producer.poll(0.05)
        if number % 5_000 == 0:
            producer.poll(0)
    producer.flush(120)
    return number + 1
