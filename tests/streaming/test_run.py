"""`guard run` from its start to its end: what it checks, says, and exits with."""

import os
import re
import signal
import subprocess
import sys
import threading
import time

import pytest
from kafka_broker import free_ports
from streaming.guard_process import (
    GUARD,
    PATIENCE_SECONDS,
    GuardProcess,
    Record,
    Stage,
    encoded,
    environment,
    guard,
    until,
)

pytestmark = pytest.mark.slow

MISUSED, UNREACHABLE, FATAL = 2, 3, 70
PASSWORD = "correct-horse"


def text(done):
    """What a command said on standard error, without the list of settings."""
    lines = done.stderr.decode().splitlines()
    return [line for line in lines if not re.match(r"[a-z_]+ {2,}", line)]


def test_a_broker_that_does_not_answer(tmp_path):
    """It says so at once, tries again, and exits with 3 when its time is over."""
    address = f"localhost:{free_ports(1)[0]}"
    log = tmp_path / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [GUARD, "run", "--brokers", address, "--start-timeout", "2"],
            env=environment({}),
            stdout=out,
            stderr=out,
        )
    first = f"cannot reach Kafka at {address}: Connection refused; trying again for 2 s"
    until(lambda: first in log.read_text(), "first word")
    said = time.monotonic()
    assert process.wait(PATIENCE_SECONDS) == UNREACHABLE
    assert time.monotonic() - said > 1
    assert log.read_text().splitlines()[-1] == (
        f"cannot reach Kafka at {address}: Connection refused (tried for 2 s)"
    )


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)]
)
def test_whoever_waits_for_a_broker_ends_at_once(tmp_path, number, status):
    """SIGTERM and Ctrl-C are heard while it waits, without a traceback."""
    log = tmp_path / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [GUARD, "run", "--brokers", f"localhost:{free_ports(1)[0]}"],
            env=environment({}),
            stdout=out,
            stderr=out,
        )
    try:
        until(lambda: "trying again" in log.read_text(), "first word")
        asked = time.monotonic()
        process.send_signal(number)
        assert process.wait(PATIENCE_SECONDS) == status
    finally:
        process.kill()
        process.wait()
    assert time.monotonic() - asked < 3
    assert "Traceback" not in log.read_text()


def test_missing_topics_are_named(kafka):
    """One sentence each, which names the command that makes them; exit 2."""
    names = {
        f"{field}_topic": f"nowhere-{field}"
        for field in ("input", "panes", "snapshots", "decisions", "rejected")
    }
    done = guard("run", settings={"brokers": kafka.bootstrap, **names})
    assert done.returncode == MISUSED
    assert text(done) == [
        f'there is no topic "{name}"; "guard topics" makes it'
        for name in names.values()
    ]


def test_topics_that_do_not_fit_together(kafka, topics):
    """Panes, snapshots and decisions must have as many partitions; exit 2."""
    stage = Stage(kafka, topics, targets=2)
    settings = stage.settings | {"decisions_topic": topics("odd", partitions=3)}
    done = guard("run", "--http-port", "0", settings=settings)
    assert done.returncode == MISUSED
    (line,) = [line for line in text(done) if not line.startswith("{")]
    assert "has 3 partitions" in line
    assert "must have the same number" in line


def test_a_wrong_policy_lists_its_faults(tmp_path):
    """All of them, each with its place, before anything is asked of Kafka; exit 2."""
    path = tmp_path / "shop.yaml"
    path.write_text("version: 1\nname: shop\nwindw: 60 s\n")
    done = guard("run", "--policy", str(path))
    assert done.returncode == MISUSED
    assert text(done) == [
        f'{path}:1:1: lacks "metrics"',
        f'{path}:3:1: unknown word "windw" (did you mean "window"?)',
    ]


def test_wrong_settings_are_listed():
    """Variables and flags, all at once; exit 2."""
    settings = {"block_siz": 1, "patience_seconds": "long", "log_level": "loud"}
    done = guard("run", "--http-port", "70000", settings=settings)
    assert done.returncode == MISUSED
    said = "\n".join(text(done))
    for words in (
        'GUARD_BLOCK_SIZ is not a setting (did you mean "GUARD_BLOCK_SIZE"?)',
        "GUARD_PATIENCE_SECONDS",
        "GUARD_LOG_LEVEL",
        "--http-port is",
    ):
        assert words in said
    assert "Traceback" not in said


def test_settings_are_printed_but_no_secret():
    """Every setting stands there with its value; of the password only that it is."""
    settings = {
        "brokers": f"localhost:{free_ports(1)[0]}",
        "security_protocol": "SASL_PLAINTEXT",
        "sasl_mechanism": "PLAIN",
        "sasl_username": "guard",
        "sasl_password": PASSWORD,
        "start_timeout_seconds": 0,
    }
    done = guard("run", settings=settings)
    assert done.returncode == UNREACHABLE
    said = (done.stdout + done.stderr).decode()
    assert PASSWORD not in said
    assert re.search(r"^sasl_password +set$", said, re.MULTILINE)
    assert re.search(r"^block_size +16384$", said, re.MULTILINE)


def test_a_port_that_is_taken_is_a_sentence(kafka, topics, tmp_path):
    """It says which, why and what to do; exit 2, nothing has begun."""
    stage = Stage(kafka, topics)
    with GuardProcess(stage, tmp_path) as worker:
        until(lambda: worker.is_alive() and worker.get("/healthz")[0], "page")
        done = guard("run", "--http-port", str(worker.port), settings=stage.settings)
    assert done.returncode == MISUSED
    assert text(done)[-1] == (
        f"cannot listen on 127.0.0.1, port {worker.port}: the port is taken; choose"
        " another with GUARD_HTTP_PORT or --http-port, 0 is off"
    )
    assert "Traceback" not in done.stderr.decode()


def test_makes_topics_and_runs(kafka, tmp_path):
    """With --create-topics a worker begins on an empty Kafka, and gets ready."""
    stage = Stage(kafka, lambda stem, **_: f"made-{stem}-{time.time_ns()}")
    with GuardProcess(stage, tmp_path, "--create-topics") as worker:
        until(lambda: worker.is_alive() and worker.get("/healthz")[0] == 200, "life")
        worker.wait_ready()
        for field in ("input", "panes", "snapshots", "decisions", "rejected"):
            assert f"made topic {stage.settings[f'{field}_topic']}" in worker.log
        metrics = worker.metrics()
        assert metrics[f"guard_partitions{{{stage.settings['panes_topic']}}}"] == 4
        assert worker.stop() == 0


def test_a_broker_that_hangs_does_not_delay_the_end(kafka, topics, tmp_path):
    """SIGTERM while Kafka answers nothing: the process is gone within 10 s."""
    stage = Stage(kafka, topics)
    with GuardProcess(stage, tmp_path) as worker:
        worker.wait_ready()
        kafka.pause(0)
        try:
            asked = time.monotonic()
            assert worker.stop() == FATAL
            assert time.monotonic() - asked < 10
        finally:
            kafka.resume(0)


def test_a_crash_of_the_consumer_ends_the_worker(kafka, topics, tmp_path):
    """Records that cannot be unpacked: exit 70 with the reason, for the supervisor."""
    stage = Stage(kafka, topics)
    now = time.time()
    event = {"service": "cart", "ts": now, "latency_ms": 1, "status": 200}
    value = encoded({**event, "version": "v2"})
    stage.send([Record(0, now, value)] * 100, **{"compression.type": "lz4"})
    hide = "import sys; sys.modules['cramjam'] = None; from guard.shell import cli"
    command = sys.executable, "-c", f"{hide}; cli.main()"
    with GuardProcess(stage, tmp_path, command=command) as worker:
        assert worker.process.wait(PATIENCE_SECONDS) == FATAL
        last = worker.log.splitlines()[-1]
    assert "the worker ends: Faust stopped by itself: UnsupportedCodecError" in last


def test_a_worker_that_was_stopped_for_too_long_ends(kafka, topics, tmp_path):
    """SIGSTOP for longer than its session: it writes nothing more and exits 70."""
    stage = Stage(kafka, topics, session_timeout_seconds=2)
    with GuardProcess(stage, tmp_path) as worker:
        worker.wait_ready()
        worker.process.send_signal(signal.SIGSTOP)
        threading.Event().wait(2.5)  # the session itself is what passes
        worker.process.send_signal(signal.SIGCONT)
        assert worker.process.wait(PATIENCE_SECONDS) == FATAL
        assert "another worker may own it all" in worker.log


def test_a_lost_snapshot_is_said(kafka, topics, tmp_path):
    """Panes were committed but no snapshot is there: going on would be wrong."""
    stage = Stage(kafka, topics, snapshot_seconds=0.5)
    now = time.time() + 2
    event = {"service": "cart", "latency_ms": 1, "status": 200, "version": "v2"}
    stage.send(
        Record(n % 4, now + n, encoded({**event, "ts": now + n})) for n in range(40)
    )
    with GuardProcess(stage, tmp_path) as worker:
        worker.wait_ready()
        until(lambda: worker.metrics()["guard_snapshots_total"] >= 2, "snapshots")
        assert worker.stop() == 0
    lost = stage.settings["snapshots_topic"]
    other = topics("empty", partitions=2, configs={"cleanup.policy": "compact"})
    with GuardProcess(stage, tmp_path, snapshots_topic=other) as worker:
        assert worker.process.wait(PATIENCE_SECONDS) == FATAL
        assert f"but {other} holds no snapshot of it" in worker.log
    with GuardProcess(stage, tmp_path, snapshots_topic=lost) as worker:
        worker.wait_ready()


def test_logs_are_json_where_nobody_reads_along(kafka, topics, tmp_path):
    """After the settings every line is an object."""
    stage = Stage(kafka, topics)
    with GuardProcess(stage, tmp_path, log_format="auto") as worker:
        worker.wait_ready()
        assert worker.stop() == 0
        lines = worker.log.splitlines()
    logged = [line for line in lines if not re.match(r"[a-z_]+ {2,}", line)]
    assert logged
    assert all(line.startswith("{") for line in logged), logged
    assert os.linesep.join(logged).count('"message":"stopping"') == 1
