"""The guard as people run it: its command line in processes of their own, on a Kafka.

A `Stage` has topics of its own and the environment that names them; a `GuardProcess`
is `guard run` on it. Waiting is always for something, with a deadline.
"""

import json
import math
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from confluent_kafka import Producer
from kafka.structs import TopicPartition
from kafka_broker import free_ports
from prometheus_client.parser import text_string_to_metric_families

from guard.chain import Chain, Taken
from guard.pane import COUNTS, Panes, unpack_ints
from guard.shell import kafka_clients
from guard.shell.environment import variable
from guard.shell.publish import decode_panes
from guard.shell.settings import Settings

GUARD = str(Path(sys.executable).with_name("guard"))
PATIENCE_SECONDS = 60.0  # for anything that must come; a busy machine is slow
LARGE = {"max.message.bytes": 8 << 20}
COMPACTED = {"cleanup.policy": "compact", **LARGE}


def until(
    is_so: Callable[[], Any], what: str, seconds: float = PATIENCE_SECONDS
) -> Any:
    """Return the first true answer; AssertionError when none comes in time."""
    deadline = time.monotonic() + seconds
    while not (answer := is_so()):
        assert time.monotonic() < deadline, f"no {what} in {seconds:g} s"
        time.sleep(0.05)
    return answer


def environment(settings: Mapping[str, Any]) -> dict[str, str]:
    """Our own environment with these settings of a guard, and no others."""
    own = {k: v for k, v in os.environ.items() if not k.startswith("GUARD_")}
    return own | {variable(name): str(value) for name, value in settings.items()}


def guard(
    *words: str, settings: Mapping[str, Any] | None = None, **further: Any
) -> "subprocess.CompletedProcess[bytes]":
    """Run a command to its end."""
    return subprocess.run(
        [GUARD, *words],
        env=environment(settings or {}),
        capture_output=True,
        timeout=PATIENCE_SECONDS,
        check=False,
        **further,
    )


class Record(NamedTuple):
    """What is to be sent to the input topic."""

    partition: int
    stamp: float  # Kafka time, seconds since the epoch
    value: bytes | None


def send_records(
    bootstrap: str, topic: str, records: Iterable[Record], **options: Any
) -> None:
    """Put records into a topic, in their order within a partition."""
    refused: list[Any] = []
    settings = {
        "bootstrap.servers": bootstrap,
        "acks": "all",
        "max.in.flight.requests.per.connection": 1,  # repeats keep their place
        "linger.ms": 5,
        "queue.buffering.max.messages": 1_000_000,
        "message.max.bytes": 8 << 20,
    }
    producer = Producer(settings | options)

    def note(error: Any, _: Any) -> None:
        if error:
            refused.append(error)

    for partition, stamp, value in records:
        producer.produce(
            topic,
            value,
            partition=partition,
            timestamp=round(stamp * 1000),
            on_delivery=note,
        )
        producer.poll(0)
    assert producer.flush(PATIENCE_SECONDS) == 0
    assert refused == []


class Stage:
    """A guard's topics on a broker, and the settings that name them."""

    def __init__(
        self,
        kafka: Any,
        topics: Any,
        *,
        sources: int = 4,
        targets: int = 2,
        **settings: Any,
    ) -> None:
        self.bootstrap = kafka.bootstrap
        self.sources = sources
        names = {
            "input_topic": topics("input", partitions=sources, configs=LARGE),
            "panes_topic": topics("panes", partitions=targets, configs=LARGE),
            "snapshots_topic": topics("snaps", partitions=targets, configs=COMPACTED),
            "decisions_topic": topics("decisions", partitions=targets),
            "rejected_topic": topics("rejected", partitions=1),
        }
        self.settings: dict[str, Any] = {
            "brokers": kafka.bootstrap,
            "application": names["input_topic"].replace("input", "guard"),
            **names,
            "log_format": "json",
            "session_timeout_seconds": 6,
            **settings,
        }

    def send(self, records: Iterable[Record], **options: Any) -> None:
        """Put records into the input topic."""
        send_records(self.bootstrap, self.settings["input_topic"], records, **options)

    def replay(self) -> list[dict[str, Any]]:
        """The decisions of `guard replay --topic`."""
        topic = self.settings["input_topic"]
        done = guard("replay", "--topic", topic, settings=self.settings)
        assert done.returncode == 0, done.stderr.decode()
        return [json.loads(line) for line in done.stdout.splitlines()]

    def read(self, field: str) -> list[Any]:
        """All records that a topic holds now."""
        brokers = tuple(self.bootstrap.split(","))
        topic = self.settings[field]
        found: list[Any] = []
        deadline = time.monotonic() + PATIENCE_SECONDS
        with kafka_clients.consumer(Settings(brokers=brokers)) as reader:
            count = len(reader.partitions_for_topic(topic))
            places = [TopicPartition(topic, number) for number in range(count)]
            reader.assign(places)
            reader.seek_to_beginning(*places)
            ends = reader.end_offsets(places)
            while any(reader.position(place) < ends[place] for place in places):
                assert time.monotonic() < deadline, f"cannot read {topic}"
                for records in reader.poll(timeout_ms=200).values():
                    found += records
        return found

    def decisions(self) -> list[dict[str, Any]]:
        """What stands on the decisions topic, repeats and all."""
        return [json.loads(record.value) for record in self.read("decisions_topic")]

    def panes(self) -> list[tuple[Panes, int]]:
        """Messages on the panes topic that go on, and the first second that is new."""
        chains: dict[int, Chain] = defaultdict(Chain)
        found = []
        for record in self.read("panes_topic"):
            panes = decode_panes(record.value)
            taken, first, _ = chains[record.partition].take(panes)
            if taken is Taken.GOES_ON:
                found.append((panes, first))
        return found

    def committed(self, field: str) -> dict[int, int]:
        """Offsets that the group has committed, by partition."""
        brokers = tuple(self.bootstrap.split(","))
        with kafka_clients.admin(Settings(brokers=brokers)) as client:
            group = self.settings["application"]
            offsets = client.list_group_offsets(group)
        found = offsets.get(group, offsets)
        return {
            place.partition: stored.offset
            for place, stored in found.items()
            if place.topic == self.settings[field]
        }


def requests_in(messages: Iterable[tuple[Panes, int]]) -> int:
    """Requests that panes count, but for what came late."""
    return sum(
        int(
            unpack_ints(panes.counts)
            .reshape(-1, COUNTS)[unpack_ints(panes.seconds) >= first, 0]
            .sum()
        )
        for panes, first in messages
    )


class GuardProcess:
    """`guard run` on a stage; a context manager that leaves no process behind."""

    def __init__(
        self,
        stage: Stage,
        folder: Path,
        *flags: str,
        command: tuple[str, ...] = (GUARD,),
        **settings: Any,
    ) -> None:
        self.port = free_ports(1)[0]
        self.log_path = folder / f"worker-{self.port}.log"
        words = [*command, "run", "--http-port", str(self.port), *flags]
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(
                words,
                env=environment(stage.settings | settings),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def __enter__(self) -> "GuardProcess":
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.kill()

    @property
    def log(self) -> str:
        """What it has said."""
        return self.log_path.read_text(errors="replace")

    def get(self, path: str) -> tuple[int, str]:
        """Status and text of a page; 0 when nobody answers."""
        url = f"http://127.0.0.1:{self.port}{path}"
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def metrics(self) -> dict[str, float]:
        """Samples by name and labels, such as `guard_rejected_total{future}`."""
        _, text = self.get("/metrics")
        found = Counter[str]()
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                labels = ",".join(sample.labels.values())
                found[f"{sample.name}{{{labels}}}" if labels else sample.name] = (
                    sample.value
                )
        return found

    def is_alive(self) -> bool:
        """Whether it runs; AssertionError with its log when it ended by itself."""
        assert self.process.poll() is None, self.log[-3000:]
        return True

    def wait_ready(self) -> "GuardProcess":
        """Wait for `/readyz` to say so."""
        until(lambda: self.is_alive() and self.get("/readyz")[0] == 200, "readiness")
        return self

    def wait_judged(self, second: float) -> None:
        """Wait until every whole second before this instant is judged."""

        def is_judged() -> bool:
            age = self.metrics()["guard_watermark_age_seconds"]  # less than 1 s old
            passed = math.floor(time.time() - age + 0.001)
            return self.is_alive() and age != 0 and passed >= math.floor(second)

        until(is_judged, f"judgement up to {second}")

    def stop(self) -> int:
        """Ask it to end; its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_SECONDS)

    def kill(self) -> None:
        """End it with SIGKILL."""
        self.process.kill()
        self.process.wait()


def encoded(event: Mapping[str, Any]) -> bytes:
    """Return an event as a value of the input topic."""
    return msgspec.json.encode(event)
