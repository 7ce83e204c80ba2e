"""`guard replay`: recordings in, decisions out, the same bytes every time."""

import gzip
import json
import subprocess

import pytest
from streaming.episodes import telemetry
from streaming.guard_process import (
    GUARD,
    PATIENCE_SECONDS,
    Record,
    Stage,
    environment,
    guard,
)

from guard.decision import Decision

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    """Episodes of telemetry as a file, with a line of rubbish."""
    path = tmp_path_factory.mktemp("recording") / "events.ndjson"
    records = telemetry(1_790_000_000, with_recorded=False, seconds=100).records
    path.write_bytes(b"\n".join([r.value for r in records] + [b"no JSON", b""]))
    return path


@pytest.fixture(scope="module")
def replayed(recording):
    """What a replay of the file says."""
    done = guard("replay", str(recording))
    assert done.returncode == 0, done.stderr.decode()
    return done


def test_decisions_are_lines_of_json(replayed):
    """Each line of standard output is a decision; progress is on standard error."""
    decisions = [json.loads(line) for line in replayed.stdout.splitlines()]
    assert {d["service"] for d in decisions if d["decision"] == "rollback"} == {
        *("error-step", "no-baseline", "shared-fault")
    }
    assert all(set(Decision.__struct_fields__) == set(d) for d in decisions)
    assert {d["emitted_at"] for d in decisions} == {None}
    *_, summary, reasons = replayed.stderr.decode().splitlines()
    assert f"{len(decisions)} decisions in" in summary
    assert reasons.startswith("  rejected, not_json: ")


def test_the_same_input_gives_the_same_bytes(recording, replayed, tmp_path):
    """Again, compressed, in two files, from standard input: byte for byte."""
    assert guard("replay", str(recording)).stdout == replayed.stdout
    data = recording.read_bytes()
    packed = tmp_path / "events.ndjson.gz"
    packed.write_bytes(gzip.compress(data))
    assert guard("replay", str(packed)).stdout == replayed.stdout
    cut = data.index(b"\n", len(data) // 2) + 1
    halves = [tmp_path / "a.ndjson", tmp_path / "b.ndjson"]
    halves[0].write_bytes(data[:cut])
    halves[1].write_bytes(data[cut:])
    assert guard("replay", *map(str, halves)).stdout == replayed.stdout
    assert guard("replay", "-", input=data).stdout == replayed.stdout


def test_hash_seeds_do_not_show(recording, replayed):
    """Nothing in a decision depends on the order of sets or on hashes of words."""
    for seed in ("1", "2"):
        done = subprocess.run(
            [GUARD, "replay", str(recording)],
            env=environment({}) | {"PYTHONHASHSEED": seed},
            capture_output=True,
            timeout=PATIENCE_SECONDS,
            check=True,
        )
        assert done.stdout == replayed.stdout


def test_what_cannot_be_read_is_said(recording, tmp_path):
    """Missing, damaged, cut off, a folder: the file and the reason; exit 2."""
    packed = gzip.compress(recording.read_bytes())
    contents = {
        "cut.gz": packed[:-20],
        "damaged.gz": packed[:2_000] + b"\0" * 100 + packed[2_100:],
        "plain.gz": b'{"service": "cart"}\n',
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    for name, words in {
        "missing.gz": "No such file",
        "missing.ndjson": "No such file",
        "cut.gz": "ended before",
        "damaged.gz": "",
        "plain.gz": "Not a gzipped file",
        ".": "Is a directory",
    }.items():
        done = guard("replay", str(tmp_path / name))
        said = done.stderr.decode()
        assert done.returncode == 2
        assert f"cannot read {tmp_path / name}: " in said
        assert words in said
        assert "Traceback" not in said


def test_it_needs_one_kind_of_input():
    """Files or a topic, not both and not neither; exit 2."""
    for words in ((), ("a.ndjson", "--topic", "requests")):
        done = guard("replay", *words)
        assert done.returncode == 2
        assert done.stderr == b"guard replay needs files or --topic, and not both\n"


def test_a_reader_that_leaves_is_no_error(recording):
    """`guard replay … | head -1` ends quietly."""
    with subprocess.Popen(
        [GUARD, "replay", str(recording)],
        env=environment({}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        process.stdout.close()
        said = process.stderr.read().decode()
        process.wait(PATIENCE_SECONDS)
    assert "Traceback" not in said
    assert "Broken" not in said
    assert "Exception" not in said


def test_a_topic_is_replayed_up_to_its_end(kafka, topics):
    """From its beginning, which need not be offset 0, to the end it has now."""
    stage = Stage(kafka, topics)
    telemetry_ = telemetry(1_790_000_000, with_recorded=False, seconds=60)
    stage.send(telemetry_.records)
    decisions = stage.replay()
    assert decisions
    assert stage.replay() == decisions


def test_an_empty_topic_is_no_decision(kafka, topics):
    """Nothing in, nothing out; exit 0."""
    stage = Stage(kafka, topics)
    assert stage.replay() == []
    stage.send([Record(0, 1_790_000_000.0, b"rubbish")])
    assert stage.replay() == []


def test_a_topic_that_is_not_there(kafka):
    """It is named, with what makes it; exit 2."""
    done = guard("replay", "--topic", "nowhere", settings={"brokers": kafka.bootstrap})
    assert done.returncode == 2
    assert done.stderr.decode() == (
        'there is no topic "nowhere"; "guard topics" makes it\n'
    )
