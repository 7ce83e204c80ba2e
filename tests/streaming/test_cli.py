"""The command line, as a person or a script meets it."""

import json
import re
import signal
import subprocess
import threading
import time

import msgspec
import numpy as np
import pytest
from streaming.decided import decision
from streaming.guard_process import (
    GUARD,
    PATIENCE_SECONDS,
    Stage,
    encoded,
    environment,
    guard,
    until,
)
from typer.testing import CliRunner

from guard.decision import Decision
from guard.event import Numbers, Rejection, check, kind_of
from guard.fold import _counts_of, times_of
from guard.shell import cli, kafka_clients
from guard.shell.commands.watch import MOST_IDS, DecisionRecord, once
from guard.shell.inputs import native
from guard.shell.policy_file import DEFAULT, files
from guard.shell.settings import Settings

COMMANDS = sorted(
    (command.name or command.callback.__name__).replace("_", "-")
    for command in cli.app.registered_commands
)
FAULTY_POLICY = """\
version: 1
nam: shop
window: 60 parsecs
least_requests: -4
stage: canry
metrics:
  error_ratio:
    limits:
      - {severity: grave, above: 0.5 %, action: rollback}
      - {severity: critical, above: 5, sustain: 10 s, action: evaluate}
      - {severity: critical, above: 5 %, sustain: 10 s, action: explode}
"""


def run(*words):
    """Run a command in this process."""
    return CliRunner().invoke(cli.app, list(words))


def test_all_commands_are_there():
    """What the project promises, and nothing by accident."""
    assert (
        sorted(
            [
                *("run", "demo", "replay", "send", "watch", "explain"),
                *("check-policy", "schema", "topics"),
            ]
        )
        == COMMANDS
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example(command):
    """One that begins with the command, and a sentence on what it does."""
    done = run(command, "--help")
    assert done.exit_code == 0
    words = re.sub(r"\s+", " ", done.output)
    example = re.search(r"Example: (guard .+?)(?: ╭|$)", words)
    assert example is not None
    assert f"guard {command}" in example[1]


def test_an_unknown_word_is_refused():
    """Commands, options, choices: exit 2, and what is wrong."""
    for words in (["nope"], ["replay", "--nope"], ["schema", "nope"], ["send"]):
        done = run(*words)
        assert done.exit_code == 2
        assert "Usage: " in done.output
        assert "Traceback" not in done.output


def test_seven_faults_of_a_policy_are_seven_lines(tmp_path):
    """Each with its place and, where there is one, the nearest known word; exit 2."""
    path = tmp_path / "shop.yaml"
    path.write_text(FAULTY_POLICY)
    done = run("check-policy", str(path))
    assert done.exit_code == 2
    *faults, count = done.stderr.splitlines()
    assert count == "7 faults"
    places = [fault.removeprefix(f"{path}:").split(": ")[0] for fault in faults]
    assert places == ["2:1", "3:9", "4:17", "5:8", "9:20", "10:37", "11:65"]
    assert 'did you mean "name"?' in faults[0]
    assert done.stdout == ""


def test_a_policy_without_fault_is_summed_up(tmp_path):
    """Name, what is in it, and its fingerprint; the shipped one is without fault."""
    path = tmp_path / "shop.yaml"
    path.write_bytes(files("guard.shell").joinpath(DEFAULT).read_bytes())
    done = run("check-policy", str(path))
    assert done.exit_code == 0
    assert re.fullmatch(
        rf"{path}: policy deployment-guide, 3 metrics, \d+ limits, "
        r"sha256 [0-9a-f]{12}\n",
        done.stdout,
    )


# ---- schemas


@pytest.mark.parametrize("which", ["policy", "event", "decision", "rejection"])
def test_a_schema_is_json(which):
    """Of the dialect that it names, with every reference resolved."""
    done = run("schema", which)
    assert done.exit_code == 0
    schema = json.loads(done.stdout)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    for path in re.findall(r'"\$ref": "#/(\S+)"', done.stdout):
        found = schema
        for part in path.split("/"):
            found = found[part]
        assert found


def test_the_schema_of_decisions_names_every_field():
    """It is generated from the struct that is encoded."""
    schema = json.loads(run("schema", "decision").stdout)
    fields = schema["$defs"]["Decision"]["properties"]
    assert list(fields) == list(Decision.__struct_fields__)


GOOD = {
    "service": "cart",
    "ts": 1_790_000_000.5,
    "latency_ms": 12,
    "status": 200,
    "version": "v2",
}


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"ts": "2026-09-21T14:13:20Z"},
        {"status": "503"},
        {"status": "UNAVAILABLE"},
        {"status": None, "error": True},
        {"status": ..., "error": False},
        {"version": ..., "cohort": "canary"},
        {"cohort": None, "critical": True, "instance": "pod-1", "count": 3},
        {"type": "request", "endpoint": "/unknown/fields/are/ignored"},
        {"service": ...},
        {"service": ""},
        {"service": 7},
        {"service": "s" * 250},
        {"ts": ...},
        {"ts": 1_790_000_000_000},
        {"ts": True},
        {"latency_ms": ...},
        {"latency_ms": -1},
        {"latency_ms": "12"},
        {"status": ...},
        {"status": None},
        {"status": 99},
        {"status": 600},
        {"status": "2xx"},
        {"status": 2.5},
        {"error": "no"},
        {"version": ...},
        {"version": None},
        {"version": {}},
        {"critical": "yes"},
        {"count": 0},
        {"count": 1.5},
        {"count": 1_000_001},
        {"type": "trace"},
    ],
    ids=str,
)
def test_the_schema_of_events_says_what_the_guard_counts(change):
    """An event that fits the schema is counted, one that does not is rejected."""
    event = {k: v for k, v in (GOOD | change).items() if v is not ...}
    schema = json.loads(run("schema", "event").stdout)
    assert fits(event, schema) is is_counted(event)


def is_counted(event):
    """Whether the guard counts an event at its time."""
    events = native.decode([encoded(event)]).events
    if not events:
        return False
    (e,) = events
    kind = kind_of(
        e.service, e.version, e.cohort, e.status, error=e.error, type_=e.type
    )
    times = times_of(events)
    numbers = Numbers(
        times, np.array([e.latency_ms]), _counts_of(events), np.array([1_790_000_000.0])
    )
    found = check(numbers, np.array([int(kind.rejection)]), 60.0)
    return Rejection(int(found[0])) is Rejection.NONE


def fits(value, schema):
    """Whether a value is valid under the few words of JSON Schema that are used."""
    types = {
        "string": lambda v: isinstance(v, str),
        "number": lambda v: isinstance(v, int | float) and not isinstance(v, bool),
        "integer": lambda v: isinstance(v, int) and not isinstance(v, bool),
        "boolean": lambda v: isinstance(v, bool),
        "null": lambda v: v is None,
        "object": lambda v: isinstance(v, dict),
    }
    words = {
        "type": lambda w: any(types[t](value) for t in ([w] if type(w) is str else w)),
        "minimum": lambda w: not types["number"](value) or value >= w,
        "maximum": lambda w: not types["number"](value) or value <= w,
        "minLength": lambda w: not types["string"](value) or len(value) >= w,
        "maxLength": lambda w: not types["string"](value) or len(value) <= w,
        "pattern": lambda w: not types["string"](value) or re.search(w, value),
        "const": lambda w: value == w,
        "anyOf": lambda w: any(fits(value, one) for one in w),
        "allOf": lambda w: all(fits(value, one) for one in w),
        "not": lambda w: not fits(value, w),
        "required": lambda w: all(name in value for name in w),
        "properties": lambda w: all(
            fits(value[name], one) for name, one in w.items() if name in value
        ),
    }
    silent = {"$schema", "title", "description", "default", "format"}
    assert set(schema) <= set(words) | silent
    return all(words[w](x) for w, x in schema.items() if w in words)


# ---- with Kafka


def publish(stage, decisions):
    """Put decisions onto their topic."""
    settings = Settings(brokers=tuple(stage.bootstrap.split(",")))
    with kafka_clients.producer(settings) as out:
        for said in decisions:
            out.send(
                stage.settings["decisions_topic"],
                encoded(json.loads(encode_decision(said))),
                key=said.service.encode(),
                partition=0,
            ).get(20)


def encode_decision(said):
    return msgspec.json.encode(said)


FIRST = decision(id="1", service="cart", decided_at="2026-09-21T14:14:00Z")
SECOND = decision(
    id="2",
    service="mail",
    decision="hold",
    severity="warning",
    decided_at="2026-09-21T14:15:00Z",
    dry_run=True,
)


class Watcher:
    """`guard watch` and what it has printed so far."""

    def __init__(self, stage, *flags):
        self.process = subprocess.Popen(
            [GUARD, "watch", "--since", "beginning", *flags],
            env=environment(stage.settings),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.lines = []
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self):
        self.lines += iter(self.process.stdout.readline, b"") if False else ()
        for line in self.process.stdout:
            self.lines.append(line.decode().rstrip())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._thread.join()
        self.process.stdout.close()
        self.process.stderr.close()

    def interrupt(self):
        """Press Ctrl-C; the exit status and what was said."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(PATIENCE_SECONDS), self.process.stderr.read().decode()


@pytest.mark.slow
def test_watch_prints_a_line_and_its_reasons(kafka, topics):
    """Each decision once, as it comes; Ctrl-C ends it with 130, without a traceback."""
    stage = Stage(kafka, topics)
    publish(stage, [FIRST, FIRST])
    with Watcher(stage) as watcher:
        until(lambda: len(watcher.lines) >= 2, "first decision")
        publish(stage, [SECOND])
        until(lambda: len(watcher.lines) >= 4, "second decision")
        assert watcher.lines == [
            "2026-09-21T14:14:00Z  rollback  cart  v2  immediate",
            "    error rate 9 % of 1,000 requests > immediate limit 5 %",
            "2026-09-21T14:15:00Z  hold  mail  v2  warning  dry run",
            "    error rate 9 % of 1,000 requests > immediate limit 5 %",
        ]
        assert watcher.interrupt() == (130, "")


@pytest.mark.slow
def test_watch_prints_json_for_programs(kafka, topics):
    """The decision as it stands on the topic, one a line; those of one service."""
    stage = Stage(kafka, topics)
    publish(stage, [FIRST, SECOND, FIRST, SECOND])
    with Watcher(stage, "--json", "--service", "mail") as watcher:
        until(lambda: watcher.lines, "decision")
        assert json.loads(watcher.lines[0]) == json.loads(encode_decision(SECOND))
        watcher.process.send_signal(signal.SIGTERM)
        assert watcher.process.wait(PATIENCE_SECONDS) == 143
    assert len(watcher.lines) == 1


def record(number):
    """A record that holds a decision with this id."""
    value = None if number is None else {"id": number}
    return DecisionRecord(
        partition=0, offset=0, stamped_at=0.0, service="s", headers={}, value=value
    )


def test_repeats_are_remembered_within_bounds():
    """A watcher may run for years: the oldest ids are forgotten."""
    ids = ["a", "a", None, "b", "a", *range(MOST_IDS), "a"]
    shown = [one.value["id"] for one in once(map(record, ids))]
    assert shown[:3] == ["a", "b", 0]
    assert shown[-1] == "a"
    assert len(shown) == MOST_IDS + 3


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ("watch",),
        ("send", "nowhere.ndjson"),
        ("topics",),
        ("replay", "--topic", "t"),
        ("explain", "7c9e6679-7425-50de-944b-e07fc1f90ae7"),
    ],
    ids=lambda words: words[0],
)
def test_a_kafka_that_does_not_answer(words):
    """Every command that needs it says where and why, and exits with 3."""
    done = guard(*words, "--brokers", "localhost:1")
    assert done.returncode == 3
    said = done.stderr.decode()
    assert "cannot reach Kafka at localhost:1: Connection refused" in said
    assert "Traceback" not in said


@pytest.mark.slow
def test_a_worker_is_asked_for_its_topics(kafka, topics):
    """`guard topics --check` says what is wrong with 2, and what is well with 0."""
    stage = Stage(kafka, topics)
    done = guard("topics", "--check", settings=stage.settings)
    assert done.returncode == 0
    assert "the topics are as the guard needs them" in done.stderr.decode()
    wrong = stage.settings | {"panes_topic": "nowhere"}
    done = guard("topics", "--check", settings=wrong)
    assert done.returncode == 2
    assert '"nowhere"; "guard topics" makes it' in done.stderr.decode()


@pytest.mark.slow
def test_errors_come_soon():
    """What is wrong on the command line is said before anything large is imported."""
    started = time.process_time(), time.monotonic()
    done = guard("run", "--http-port", "70000")
    assert done.returncode == 2
    assert time.monotonic() - started[1] < 5
