"""The whole way of the data on a real Kafka: `guard run` beside `guard replay`.

The promise: whatever ends a worker, the decisions on the topic, less repeats of an id,
are those of one uninterrupted replay over the same records.
"""

import json
import random
import threading
import time
from datetime import datetime

import pytest
from confluent_kafka import Producer
from kafka.structs import TopicPartition
from streaming.episodes import Episode, Fault, requests, telemetry
from streaming.guard_process import (
    GuardProcess,
    Record,
    Stage,
    encoded,
    requests_in,
    until,
)

from guard.decision import instant
from guard.shell import kafka_clients
from guard.shell.publish import DECISION_TYPE
from guard.shell.settings import Settings

pytestmark = pytest.mark.slow

AHEAD_SECONDS = 4.0  # the episodes begin so long after they are sent
CLEAN_STOP_SECONDS = 10.0
ROLLED_BACK = {"productcatalogservice", "error-step", "no-baseline", "shared-fault"}
LEFT_ALONE = {"recommendationservice", "healthy", "low-traffic", "error-burst"}
FAST_POLICY = """
version: 1
name: fast
window: 4 s
least_requests: 20
stage: canary
hold_after: 4 s
clear_after: 4 s
silent_after: 4 s
silent_least_expected: 10
gap: 4 s
late_share_limit: 1 %
forget_after: 1 h
metrics:
  error_ratio:
    limits:
      - {severity: critical, above: 5 %, action: evaluate}
      - {severity: immediate, above: 5 %, sustain: 3 s, action: rollback}
"""


def bare(decisions, end):
    """Decisions by id, without what the worker's clock says; repeats are equal."""
    found = {}
    for decision in decisions:
        known = {k: v for k, v in decision.items() if k != "emitted_at"}
        if decision["decided_at"] <= instant(int(end)):
            assert found.setdefault(decision["id"], known) == known
    return found


def services(decisions, word):
    """Services about which this was decided."""
    return {d["service"] for d in decisions.values() if d["decision"] == word}


@pytest.fixture(scope="module")
def feeders():
    """Threads that send; none outlives the module."""
    threads = []
    yield threads
    for thread in threads:
        thread.join()


def feed(stage, records, feeders, seconds):
    """Send records in their order, over so many seconds."""
    pieces = 20

    def send():
        for piece in range(pieces):
            size = -(-len(records) // pieces)
            stage.send(records[piece * size : (piece + 1) * size])
            done.wait(seconds / pieces)

    done = threading.Event()
    thread = threading.Thread(target=send)
    feeders.append(thread)
    thread.start()
    return thread


def test_a_worker_decides_what_a_replay_decides(kafka, topics, tmp_path):
    """Ten episodes: id for id and field for field, but for the time of sending."""
    stage = Stage(kafka, topics)
    records, end = telemetry(time.time() + AHEAD_SECONDS)
    stage.send(records)
    with GuardProcess(stage, tmp_path) as worker:
        worker.wait_ready().wait_judged(end)
        assert worker.stop() == 0
    found = stage.read("decisions_topic")
    decided = bare([json.loads(record.value) for record in found], end)
    assert bare(stage.replay(), end) == decided
    assert services(decided, "rollback") == ROLLED_BACK
    assert services(decided, "rollback").isdisjoint(LEFT_ALONE)
    assert services(decided, "evaluate") >= {"latency-step", "silence"}
    assert services(decided, "hold") >= {"low-traffic", "no-baseline"}
    check_cloud_events(found, stage)


def check_cloud_events(records, stage):
    """Every decision is a CloudEvent in binary mode, keyed by its service."""
    assert {record.partition for record in records} == {0, 1}
    for record in records:
        decision = json.loads(record.value)
        assert record.key.decode() == decision["service"]
        assert {name: value.decode() for name, value in record.headers} == {
            "ce_specversion": "1.0",
            "ce_id": decision["id"],
            "ce_source": f"/rollback-guard/{stage.settings['application']}",
            "ce_type": DECISION_TYPE,
            "ce_subject": decision["service"],
            "ce_time": decision["decided_at"],
            "content-type": "application/json",
        }
        assert decision["dry_run"] is False
        assert datetime.fromisoformat(decision["emitted_at"]).timestamp() > 0


def test_what_is_killed_decides_the_same(kafka, topics, tmp_path, feeders):
    """Two kill -9 in mid-stream: nothing is missing, nothing contradicts."""
    stage = Stage(kafka, topics, snapshot_seconds=2, block_size=1024, instance_id="one")
    records, end = telemetry(time.time() + AHEAD_SECONDS, with_recorded=False)
    feed(stage, records, feeders, 14.0)
    for _ in range(2):
        with GuardProcess(stage, tmp_path) as worker:

            def is_under_way(worker=worker):
                metrics = worker.metrics()
                return (
                    worker.is_alive()
                    and metrics["guard_snapshots_total"] >= 2
                    and metrics["guard_panes_taken_total{goes_on}"] > 0
                )

            until(is_under_way, "snapshot of what is judged")
            worker.kill()
    with GuardProcess(stage, tmp_path) as worker:
        worker.wait_judged(end)
        restored = [
            line["bytes"]
            for line in map(
                json.loads, worker.log[worker.log.index("{") :].splitlines()
            )
            if line["message"] == "snapshot read"
        ]
        assert len(restored) == 2
        assert all(restored)
        worker.stop()
    decided = bare(stage.decisions(), end)
    assert bare(stage.replay(), end) == decided
    assert services(decided, "rollback") == ROLLED_BACK - {"productcatalogservice"}


def test_a_clean_stop_loses_nothing_and_repeats_nothing(kafka, topics, tmp_path):
    """SIGTERM: exit 0 within 10 s, all committed, the group left; then it goes on."""
    stage = Stage(kafka, topics, block_size=1024)
    records, end = telemetry(time.time() + AHEAD_SECONDS, with_recorded=False)
    half = len(records) // 2
    stage.send(records[:half])
    with GuardProcess(stage, tmp_path) as worker:
        worker.wait_ready().wait_judged(records[half].stamp - 7)
        asked = time.monotonic()
        assert worker.stop() == 0
        assert time.monotonic() - asked < CLEAN_STOP_SECONDS
    assert members(stage) == 0
    ends = end_offsets(stage, "panes_topic")
    assert stage.committed("panes_topic") == ends
    before = stage.decisions()
    stage.send(records[half:])
    with GuardProcess(stage, tmp_path) as worker:
        worker.wait_ready().wait_judged(end)
        worker.stop()
    everything = stage.decisions()
    assert everything[: len(before)] != everything
    ids = [decision["id"] for decision in everything]
    assert len(ids) == len(set(ids))
    assert bare(everything, end) == bare(stage.replay(), end)


def members(stage):
    """How many members the group has."""
    settings = Settings(brokers=tuple(stage.bootstrap.split(",")))
    group = stage.settings["application"]
    with kafka_clients.admin(settings) as client:
        return len(client.describe_groups([group])[group]["members"])


def end_offsets(stage, field):
    """Offsets behind the last records of a topic, by partition."""
    settings = Settings(brokers=tuple(stage.bootstrap.split(",")))
    topic = stage.settings[field]
    with kafka_clients.consumer(settings) as reader:
        places = [TopicPartition(topic, n) for n in reader.partitions_for_topic(topic)]
        return {place.partition: n for place, n in reader.end_offsets(places).items()}


def test_live_telemetry_is_judged_as_time_goes_on(kafka, topics, tmp_path):
    """In real time: silent partitions hold nothing up, and a replay agrees."""
    policy = tmp_path / "fast.yaml"
    policy.write_text(FAST_POLICY)
    stage = Stage(
        kafka, topics, policy=str(policy), lateness_seconds=1, block_size=256, dry_run=1
    )
    lots = random.Random(5)
    with GuardProcess(stage, tmp_path) as worker:
        worker.wait_ready()
        begin = time.time() + 1
        episodes = Episode("cart", Fault(6, errors=0.3)), Episode("mail")
        events = sorted(
            (event["ts"], event)
            for episode in episodes
            for event in requests(episode, 12, lots)
        )
        play(stage, begin, events)
        last = begin + events[-1][0]
        worker.wait_judged(last)  # by its clock alone: nothing comes any more
        worker.stop()
    decided = bare(stage.decisions(), last)
    assert {"rollback"} == {
        d["decision"] for d in decided.values() if d["service"] == "cart"
    } - {"evaluate"}
    assert {d["dry_run"] for d in decided.values()} == {True}
    replayed = bare(stage.replay(), last)
    assert {k: {**v, "dry_run": True} for k, v in replayed.items()} == decided


def play(stage, begin, events):
    """Send every event when its time has come; to three partitions of four."""
    wait = threading.Event()
    for number in range(0, len(events), 16):
        piece = events[number : number + 16]
        at = begin + piece[-1][0]
        wait.wait(max(0.0, at - time.time()))
        stage.send(
            Record(
                place % (2 if at > begin + 8 else 3),
                at,
                encoded({**event, "ts": begin + second}),
            )
            for place, (second, event) in enumerate(piece)
        )


MILDER_POLICY = FAST_POLICY.replace("name: fast", "name: milder").replace("5 %", "90 %")


@pytest.mark.parametrize("is_clean", [True, False], ids=["clean stop", "kill -9"])
def test_another_policy_takes_over(kafka, topics, tmp_path, is_clean):
    """After a clean stop it goes on, after a kill it holds; no id is used twice."""
    policies = [tmp_path / "fast.yaml", tmp_path / "milder.yaml"]
    for path, text in zip(policies, (FAST_POLICY, MILDER_POLICY), strict=True):
        path.write_text(text)
    stage = Stage(kafka, topics, block_size=256)
    records, end = telemetry(
        time.time() + AHEAD_SECONDS, with_recorded=False, seconds=60
    )
    half = len(records) // 2
    stage.send(records[:half])
    with GuardProcess(stage, tmp_path, policy=policies[0]) as worker:
        worker.wait_ready().wait_judged(records[half].stamp - 7)
        if is_clean:
            worker.stop()
        else:
            worker.kill()
    stage.send(records[half:])
    with GuardProcess(stage, tmp_path, policy=policies[1]) as worker:
        worker.wait_judged(end)
        worker.stop()
    decisions = stage.decisions()
    assert {d["policy"]["name"] for d in decisions} == {"fast", "milder"}
    bare(decisions, end)  # repeats of an id are equal
    rules = {reason["rule"] for d in decisions for reason in d["reasons"]}
    assert ("policy_changed" in rules) is not is_clean


def test_blocks_of_another_size_go_on(kafka, topics, tmp_path):
    """Nothing stands still: what comes after is judged, what comes again is late."""
    stage = Stage(kafka, topics)
    records, end = telemetry(time.time() + AHEAD_SECONDS, with_recorded=False)
    half = len(records) // 2
    stage.send(records[:half])
    with GuardProcess(stage, tmp_path, block_size=256) as worker:
        worker.wait_ready().wait_judged(records[half].stamp - 7)
        worker.kill()
    stage.send(records[half:])
    with GuardProcess(stage, tmp_path, block_size=512) as worker:
        worker.wait_judged(end)
        assert "with blocks of 512" in worker.log
        assert worker.metrics()["guard_panes_taken_total{gap}"] == 0
        worker.stop()
    decided = bare(stage.decisions(), end)
    assert services(decided, "rollback") == ROLLED_BACK - {"productcatalogservice"}


def test_markers_of_transactions_hold_nothing_up(kafka, topics, tmp_path):
    """A silent partition that ends with one, and so with no record, is silent."""
    stage = Stage(kafka, topics, sources=2, lateness_seconds=1)
    producer = Producer(
        {"bootstrap.servers": kafka.bootstrap, "transactional.id": tmp_path.name}
    )
    producer.init_transactions()
    producer.begin_transaction()
    value = encoded(request(time.time(), 0))
    producer.produce(stage.settings["input_topic"], value, partition=0)
    producer.commit_transaction()
    with GuardProcess(stage, tmp_path) as worker:
        worker.wait_ready().wait_judged(time.time() + 1)
        worker.stop()
    assert requests_in(stage.panes()) == 1


def test_new_source_partitions_are_counted(kafka, topics, tmp_path):
    """Noticed while it runs; what they hold is counted, or told to be late."""
    stage = Stage(kafka, topics, sources=2, lateness_seconds=2, block_size=256)
    settings = Settings(brokers=(kafka.bootstrap,))
    sent = 0

    def send(partitions):
        nonlocal sent
        now = time.time()
        records = [
            Record(number % partitions, now, encoded(request(now, number)))
            for number in range(40)
        ]
        stage.send(records)
        sent += len(records)
        time.sleep(0.2)

    with GuardProcess(stage, tmp_path) as worker:
        worker.wait_ready()
        for _ in range(5):
            send(2)
        with kafka_clients.admin(settings) as client:
            client.create_partitions({stage.settings["input_topic"]: 5})
        for _ in range(5):
            send(5)
        until(lambda: worker.metrics()["guard_events_total"] >= sent, "new partitions")
        for _ in range(5):
            send(5)
        worker.wait_judged(time.time() + 1)  # the second that has begun as well
        worker.stop()
    messages = stage.panes()
    late = sum(
        told.requests
        for panes, first in messages
        for told in panes.late
        if told.second >= first
    )
    assert max(panes.sources[panes.topic] for panes, _ in messages) == 5
    assert requests_in(messages) + late == sent
    new = [(panes, first) for panes, first in messages if panes.partition >= 2]
    assert {panes.partition for panes, _ in new} == {2, 3, 4}
    assert requests_in(new) > 0


def request(now, number):
    """A request of one of two cohorts."""
    cohort = ("canary", "baseline")[number % 2]
    return {"service": "cart", "ts": now, "latency_ms": 9.0, "status": 200,
            "cohort": cohort, "version": cohort}  # fmt: skip
