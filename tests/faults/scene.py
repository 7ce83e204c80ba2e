"""A guard on a real Kafka under load, and the checks at the end.

The promise: whatever crashes, the decisions on the topic, less repeats of an id, are
those of one uninterrupted `guard replay --topic`; and every event that Kafka has
acknowledged is in the panes once.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from confluent_kafka import Consumer, TopicPartition

from guard.chain import Chain, Taken
from guard.pane import COUNTS, REQUESTS, unpack_ints
from guard.shell.publish import decode_panes

HERE = Path(__file__).resolve().parent
GUARD = str(Path(sys.executable).with_name("guard"))
TOPICS = ("input", "panes", "snapshots", "decisions", "rejected")
LATENESS_SECONDS = 1.0
FLOWING_SECONDS = 3.0  # a decision this long after its event time is on time


class Record(NamedTuple):
    """What stands on a topic."""

    partition: int
    offset: int
    stamped: float
    value: bytes


class Outcome(NamedTuple):
    """What came of a scene."""

    sent: int
    counted: int
    late: int  # of those counted
    decisions: int
    repeats: int
    missing: int
    extra: int
    contradictory: int

    @property
    def is_exact(self) -> bool:
        """Whether the promise was kept."""
        wrong = self.missing or self.extra or self.contradictory
        return self.sent == self.counted and not wrong and self.decisions > 0


class Scene:
    """Topics of its own, workers with a supervisor, and a flood of events."""

    def __init__(
        self,
        bootstrap: str,
        *,
        name: str,
        partitions: int = 6,
        targets: int = 4,
        services: int = 40,
        rate: int = 20_000,
        static: bool = True,
        settings: dict[str, str] | None = None,
    ) -> None:
        self.bootstrap = bootstrap
        self.rate, self.services = rate, services
        self.static = static
        self.folder = Path(tempfile.mkdtemp(prefix=f"faults-{name}-"))
        self.workers: dict[str, subprocess.Popen[bytes]] = {}
        self.marks: list[tuple[float, str]] = []
        self.began = time.time()
        self._partitions, self._targets = partitions, targets
        self._flood: subprocess.Popen[bytes] | None = None
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("GUARD_")},
            "GUARD_BROKERS": bootstrap,
            "GUARD_APPLICATION": name,
            "GUARD_POLICY": str(HERE / "policy.yaml"),
            "GUARD_HTTP_PORT": "0",
            "GUARD_LATENESS_SECONDS": str(LATENESS_SECONDS),
            "GUARD_LOG_FORMAT": "json",
            **{f"GUARD_{topic.upper()}_TOPIC": f"{name}.{topic}" for topic in TOPICS},
            **(settings or {}),
        }

    def topic(self, which: str) -> str:
        """Return a topic's name."""
        return self.environment[f"GUARD_{which.upper()}_TOPIC"]

    def mark(self, words: str) -> float:
        """Note what happens; the time."""
        now = time.time()
        self.marks.append((now, words))
        print(f"    {now - self.began:6.1f} s  {words}", file=sys.stderr, flush=True)
        return now

    # ---- actors

    def make_topics(self) -> None:
        """Make them as an operator would."""
        self._guard(
            "topics",
            f"--source-partitions={self._partitions}",
            f"--target-partitions={self._targets}",
        )

    def _guard(self, *words: str, output: Path | None = None) -> None:
        with contextlib.ExitStack() as stack:
            out = stack.enter_context(output.open("wb")) if output else None
            done = subprocess.run(
                [GUARD, *words],
                env=self.environment,
                stdout=out,
                stderr=subprocess.PIPE,
                check=False,
            )
        if done.returncode:
            raise RuntimeError(f"guard {words[0]}: {done.stderr.decode()[-2000:]}")

    def start(self, *names: str) -> None:
        """Start workers."""
        for name in names:
            environment = dict(self.environment)
            if self.static:
                environment["GUARD_INSTANCE_ID"] = name
            log = (self.folder / f"{name}.log").open("ab")
            self.workers[name] = subprocess.Popen(
                [GUARD, "run"], env=environment, stdout=log, stderr=log
            )
            log.close()

    def supervise(self, seconds: float, *, until: Any = None) -> None:
        """Let time pass; a worker that ends is started again, as Kubernetes would."""
        end = time.time() + seconds
        while time.time() < end and not (until and until()):
            for name, worker in list(self.workers.items()):
                if worker.poll() is not None:
                    self.mark(f"{name} ended with {worker.returncode}: started again")
                    self.start(name)
            time.sleep(0.1)

    def kill(self, name: str) -> float:
        """Kill a worker with -9."""
        self.workers[name].kill()
        self.workers[name].wait()
        return self.mark(f"{name} killed")

    def signal(self, name: str, number: signal.Signals) -> float:
        """Send a worker a signal."""
        self.workers[name].send_signal(number)
        return self.mark(f"{name} got {number.name}")

    def terminate(self, name: str) -> None:
        """Stop a worker cleanly."""
        worker = self.workers.pop(name)
        worker.send_signal(signal.SIGCONT)
        worker.terminate()
        try:
            worker.wait(30)
        except subprocess.TimeoutExpired:
            worker.kill()
            self.mark(f"{name} did not stop in 30 s")

    def flood(self, seconds: float, quiet: int = 0) -> None:
        """Begin to send; so many partitions get hardly anything."""
        words = [self.bootstrap, self.topic("input"), self.rate, seconds, self.services]
        words += [self._partitions - quiet if quiet else 0, quiet]
        self._flood = subprocess.Popen(
            [
                sys.executable,
                str(HERE / "flood.py"),
                *map(str, words),
                str(self.folder / "truth.json"),
            ]
        )

    # ---- the end

    def finish(self) -> Outcome:
        """Wait for the flood's end, stop the workers, compare."""
        assert self._flood is not None
        flood = self._flood
        self.supervise(600, until=lambda: flood.poll() is not None)
        truth = json.loads((self.folder / "truth.json").read_text())
        self.mark(f"sent {truth['events']:,}, failed {truth['failed']}")
        self.supervise(60, until=lambda: self._has_passed(truth["newest"]))
        self.supervise(3)
        for name in list(self.workers):
            self.terminate(name)
        replayed = self.folder / "replayed.ndjson"
        self._guard("replay", "--topic", self.topic("input"), output=replayed)
        return self._compare(truth, replayed)

    def _has_passed(self, newest: float) -> bool:
        """Whether every source has told every judge that all is over."""
        passed: dict[tuple[int, tuple[str, int]], int] = {}
        for record in self.read("panes", last=400):
            panes = decode_panes(record.value)
            key = record.partition, panes.source
            passed[key] = max(passed.get(key, 0), panes.to)
        wanted = self._partitions * self._targets
        return len(passed) == wanted and min(passed.values()) > newest + 1

    def _compare(self, truth: dict[str, Any], replayed: Path) -> Outcome:
        wanted = _by_id(replayed.read_bytes().splitlines())
        found: dict[str, dict[str, Any]] = {}
        repeats = contradictory = 0
        for record in self.read("decisions"):
            decision = _content(record.value)
            if _second(decision) > int(truth["newest"]) + 1:
                continue
            before = found.setdefault(decision["id"], decision)
            repeats += before is not decision
            contradictory += before != decision
        contradictory += sum(
            found[name] != wanted[name] for name in found if name in wanted
        )
        counted, late = self.counted()
        return Outcome(
            truth["events"],
            counted,
            late,
            len(found),
            repeats,
            len(wanted.keys() - found.keys()),
            len(found.keys() - wanted.keys()),
            contradictory,
        )

    def counted(self) -> tuple[int, int]:
        """Requests in the panes less repeats, late ones included; and those."""
        chains = {target: Chain() for target in range(self._targets)}
        total = total_late = 0
        for record in self.read("panes"):
            panes = decode_panes(record.value)
            taken, first, _ = chains[record.partition].take(panes)
            if taken is not Taken.GOES_ON:
                continue
            counts = unpack_ints(panes.counts).reshape(-1, COUNTS)[:, REQUESTS]
            total += int(counts[unpack_ints(panes.seconds) >= first].sum())
            late = sum(told.requests for told in panes.late if told.second >= first)
            total, total_late = total + late, total_late + late
        return total, total_late

    def recovery(self, fault_ended: float, until: float) -> float:
        """Seconds from a fault's end until decisions are on time again, and stay so.

        On time is a decision that stands on its topic within `FLOWING_SECONDS` of the
        instant at which its second could close; a repeat is none. `until` is when the
        next fault comes.
        """
        late_until = fault_ended
        seen: set[str] = set()
        for record in sorted(self.read("decisions"), key=lambda record: record.stamped):
            decision = _content(record.value)
            if decision["id"] in seen:
                continue
            seen.add(decision["id"])
            behind = record.stamped - _second(decision) - LATENESS_SECONDS
            is_near = fault_ended - 1 < record.stamped < until
            if is_near and behind > FLOWING_SECONDS:
                late_until = max(late_until, record.stamped)
        return late_until - fault_ended

    def read(self, which: str, last: int | None = None) -> Iterator[Record]:
        """Yield the records of a topic; of each partition the last so many."""
        topic = self.topic(which)
        consumer = Consumer(
            {"bootstrap.servers": self.bootstrap, "group.id": "reads", "log_level": 0}
        )
        try:
            count = len(
                consumer.list_topics(topic, timeout=20).topics[topic].partitions
            )
            for partition in range(count):
                place = TopicPartition(topic, partition)
                low, high = consumer.get_watermark_offsets(place, timeout=20)
                at = low if last is None else max(low, high - last)
                consumer.assign([TopicPartition(topic, partition, at)])
                while at < high:
                    for message in consumer.consume(2_000, 1.0):
                        if message.error() is None:
                            at = message.offset() + 1
                            yield Record(
                                partition,
                                message.offset(),
                                message.timestamp()[1] / 1000,
                                message.value(),
                            )
        finally:
            consumer.close()


def _content(value: bytes) -> dict[str, Any]:
    decision: dict[str, Any] = json.loads(value)
    decision.pop("emitted_at")
    return decision


def _by_id(lines: list[bytes]) -> dict[str, dict[str, Any]]:
    decisions = map(_content, lines)
    return {decision["id"]: decision for decision in decisions}


def _second(decision: dict[str, Any]) -> float:
    return datetime.fromisoformat(decision["decided_at"]).timestamp()
