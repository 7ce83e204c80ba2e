"""A worker that hangs ends itself and says why; one that only waits does not."""

import itertools
import json
import re
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
from confluent_kafka import Consumer
from kafka import KafkaAdminClient
from streaming.guard_process import (
    GuardProcess,
    Record,
    Stage,
    encoded,
    until,
)

pytestmark = pytest.mark.slow

FATAL = 70
HANGS = str(Path(__file__).parents[1] / "faults" / "hangs.py")
STALL_SECONDS = 5
_numbers = itertools.count()
SENTENCES = {
    "start": "the start has not ended for",
    "opening": "hangs-panes-.* was assigned, but is not opened for",
    "thread": "records of hangs-input-.* wait|offsets of .* may be committed, but none",
    "fold": "records of hangs-input-.* wait, and none was folded for",
    "sending": "Kafka has acknowledged nothing that was sent for hangs-input-",
    "snapshot": "hangs-panes-.* was judged, but no snapshot of it written for",
    "commit": "offsets of hangs-.* may be committed, but none was for",
}


def events(seconds, begin=None):
    """Some requests of a service, for so many seconds, on two partitions."""
    begin = time.time() + 1 if begin is None else begin
    for second, number in itertools.product(range(seconds), range(20)):
        at = begin + second + number / 20
        event = {"service": "cart", "ts": at, "latency_ms": 1, "status": 200}
        yield Record(number % 2, at, encoded({**event, "cohort": "canary"}))


def stages(kafka, count, **settings):
    """Stages whose topics are made all at once."""
    wanted = {}

    def note(stem, *, partitions=4, configs=None):
        name = f"hangs-{stem}-{next(_numbers)}"
        words = {key: str(value) for key, value in (configs or {}).items()}
        wanted[name] = {"num_partitions": partitions, "configs": words}
        return name

    made = [Stage(kafka, note, sources=2, targets=2, **settings) for _ in range(count)]
    client = KafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    client.create_topics(wanted, wait_for_metadata=True)
    client.close()
    return made


@pytest.fixture(scope="module")
def hung(kafka, tmp_path_factory):
    """What became of workers with a part that hangs, side by side, by that part."""
    settings = {
        "stall_seconds": STALL_SECONDS,
        "start_timeout_seconds": 2 * STALL_SECONDS,
        "snapshot_seconds": 1,
        "max_poll_records": 10,
    }
    folder = tmp_path_factory.mktemp("hangs")
    workers, seen = {}, {}
    for part, stage in zip(
        SENTENCES, stages(kafka, len(SENTENCES), **settings), strict=True
    ):
        stage.send(events(10, time.time() - 20))
        command = sys.executable, HANGS, part
        workers[part] = GuardProcess(stage, folder, command=command)
        seen[part] = SimpleNamespace(
            stage=stage, worker=workers[part], pages=set(), seconds=0.0
        )
    deadline = time.monotonic() + 90
    with ThreadPoolExecutor(len(seen)) as pool:
        list(pool.map(lambda one: look_until_it_ends(one, deadline), seen.values()))
    yield seen
    for worker in workers.values():
        worker.__exit__()


def look_until_it_ends(seen, deadline):
    """Note what its pages say while it hangs."""
    worker = seen.worker
    while worker.process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
        seen.pages.add(worker.get("/readyz"))
        if any(body.startswith("stalled") for _, body in seen.pages):
            clocks = worker.metrics()
            stalled = [v for k, v in clocks.items() if k.startswith("guard_stalled_")]
            seen.seconds = max([seen.seconds, *stalled])


@pytest.mark.parametrize("part", SENTENCES)
def test_what_hangs_ends_the_worker(hung, part):
    """Exit 70, and one critical line that names what stands still."""
    seen = hung[part]
    assert seen.worker.process.poll() == FATAL, seen.worker.log[-2000:]
    (line,) = [line for line in seen.worker.log.splitlines() if "it hangs" in line]
    said = json.loads(line)
    assert said["level"] == "critical"
    assert re.search(SENTENCES[part], said["message"])


@pytest.mark.parametrize("part", sorted(SENTENCES.keys() - {"start", "opening"}))
def test_whoever_hangs_is_not_ready(hung, part):
    """`/readyz` says which part stands still before the worker ends itself."""
    bodies = [body for status, body in hung[part].pages if status == 503]
    assert hung[part].seconds > STALL_SECONDS / 2
    assert any(body.startswith("stalled: ") for body in bodies), bodies
    assert all(body.count("\n") == 1 for body in bodies)


def test_a_start_is_told_from_an_opening(hung):
    """The pages answer before anything else does."""
    assert (503, "starting\n") in hung["start"].pages
    assert (503, "reading back the state of 2 partitions\n") in hung["opening"].pages


def test_a_group_that_does_not_let_it_in(kafka, tmp_path):
    """Its join is refused, which Faust says nowhere: the worker ends in the end."""
    (stage,) = stages(kafka, 1, stall_seconds=3, start_timeout_seconds=3)
    other = Consumer(
        {
            "bootstrap.servers": kafka.bootstrap,
            "group.id": stage.settings["application"],
        }
    )
    other.subscribe([stage.settings["input_topic"]])
    until(lambda: other.poll(0.1) or other.assignment(), "its own assignment")
    pages = set()
    try:
        with GuardProcess(stage, tmp_path) as worker:
            until(lambda: seen_last(worker, pages) == FATAL, "its end", 40)
            assert "it hangs: the start has not ended for" in worker.log
        assert (503, "starting\n") in pages
        assert (200, "ready\n") not in pages
    finally:
        other.close()


def seen_last(worker, pages):
    """Note what `/readyz` says; its exit status, if it has ended."""
    pages.add(worker.get("/readyz"))
    return worker.process.poll()


def test_a_broker_that_stands_still_is_ridden_out(kafka, tmp_path):
    """20 s without an answer, and a flood that waits: it stays, and nothing is lost."""
    (stage,) = stages(
        kafka, 1, stall_seconds=8, block_size=64, session_timeout_seconds=10
    )
    flood = list(events(3_000, time.time() + 5))
    stage.send(flood)
    with GuardProcess(stage, tmp_path, max_poll_records=500) as worker:
        until(lambda: folded(worker) > 0, "first of the flood")
        before = resident_bytes(worker)
        most, pages = stand_still(kafka, worker, 20)
        assert folded(worker) < len(flood)  # it waits
        assert (503, "Kafka does not answer\n") in pages
        assert most - before < 150 << 20
        until(lambda: worker.is_alive() and folded(worker) >= len(flood), "the rest")
        worker.wait_ready().wait_judged(flood[-1].stamp - 10)
        assert worker.stop() == 0
    decided = {d["id"]: d | {"emitted_at": 0} for d in stage.decisions()}
    replayed = {d["id"]: d | {"emitted_at": 0} for d in stage.replay()}
    assert decided
    assert decided == {name: replayed[name] for name in decided}


def folded(worker):
    """Records that were folded."""
    return worker.metrics()["guard_events_total"]


def stand_still(kafka, worker, seconds):
    """Stop the broker for a while; the worker's greatest size, and its pages."""
    most, pages = 0, set()
    kafka.pause(0)
    try:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            assert worker.is_alive()
            assert worker.get("/healthz") == (200, "alive\n")
            pages.add(worker.get("/readyz"))
            most = max(most, resident_bytes(worker))
            threading.Event().wait(0.5)
    finally:
        kafka.resume(0)
    return most, pages


def resident_bytes(worker):
    """Memory of the process."""
    return worker.metrics()["process_resident_memory_bytes"]
