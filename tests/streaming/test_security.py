"""TLS, SASL and ACLs on a real Kafka: what is needed is enough, what lacks is said."""

import json
import re
import time
from itertools import count
from pathlib import Path

import pytest
from certificates import Authority
from kafka.admin import (
    ACL,
    ACLOperation,
    ACLPermissionType,
    ResourcePattern,
    ResourceType,
)
from kafka_broker import BrokerUnavailable, Cluster
from streaming.guard_process import GuardProcess, Record, Stage, encoded, guard, until

from guard.shell import access, kafka_clients
from guard.shell.environment import load, variable
from guard.shell.settings import Settings
from guard.shell.topics import TopicPlan, create

pytestmark = [
    pytest.mark.broker,
    pytest.mark.slow,
    pytest.mark.usefixtures("leaky_sockets"),
]

MISUSED, REFUSED, FATAL = 2, 3, 70
WRONG = "tr0ub4dor"
SOON_SECONDS = 10.0  # of a start timeout of 60
PAGE = Path(__file__).parents[2] / access.PAGE
RUN = access.NEEDS["guard run"]
SINGLE = [(field, word) for field, words in RUN.items() for word in words]
POLICY = """\
version: 1
name: quick
least_requests: 10
metrics:
  error_ratio:
    limits: [{severity: immediate, above: 5 %, sustain: 2 s, action: rollback}]
"""
_numbers = count()


@pytest.fixture(scope="module")
def secured():
    """A Kafka that asks for a password and for ACLs."""
    cluster = Cluster(secure=True, has_acls=True)
    try:
        cluster.start()
    except BrokerUnavailable as error:
        pytest.skip(f"no Kafka broker: {error}")
    yield cluster
    cluster.stop()


@pytest.fixture
def stage(secured):
    """Topics of a guard that comes as user `guard`, with no ACL at all."""

    def make(stem, *, partitions, configs=None):
        name = f"{stem}-{next(_numbers)}"
        words = {key: f"{value}" for key, value in (configs or {}).items()}
        topic = TopicPlan(
            name=name, partitions=partitions, replication=-1, configs=words
        )
        with super_user(secured) as client:
            create(client, [topic])
        return name

    return Stage(secured, make, sources=2, **login(secured))


def login(secured, **changes):
    """Settings of user `guard`."""
    return {
        "brokers": secured.secure.bootstrap,
        "security_protocol": "SASL_SSL",
        "ssl_cafile": secured.secure.ca_file,
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_username": secured.secure.username,
        "sasl_password": secured.secure.password,
    } | changes


def plain(settings):
    """The same without user and password."""
    return {k: v for k, v in settings.items() if not k.startswith("sasl")}


def super_user(secured):
    return kafka_clients.admin(Settings(brokers=(secured.bootstrap,)))


def acls(settings, needs, principal="User:guard"):
    """The ACLs as kafka-python wants them."""
    return [
        ACL(
            principal,
            "*",
            ACLOperation[re.sub("(?<=[a-z])(?=[A-Z])", "_", word).upper()],
            ACLPermissionType.ALLOW,
            ResourcePattern(
                ResourceType.GROUP if field == access.GROUP else ResourceType.TOPIC,
                settings[field],
            ),
        )
        for field, words in needs.items()
        for word in words
    ]


def allow(secured, settings, needs, principal="User:guard"):
    """Make the ACLs; Kafka's nodes learn of them a moment later."""
    with super_user(secured) as client:
        answer = client.create_acls(acls(settings, needs, principal))
        assert not answer["failed"]
    time.sleep(0.3)


def forbid(secured, settings, needs):
    """Take them away again."""
    with super_user(secured) as client:
        client.delete_acls(acls(settings, needs))
    time.sleep(0.3)


def without(needs, field, word):
    """All but one."""
    rest = dict(needs)
    rest[field] = tuple(other for other in needs[field] if other != word)
    return {name: words for name, words in rest.items() if words}


def said(done):
    """What a command said, without the list of settings and without logs."""
    lines = done.stderr.decode().splitlines()
    return [line for line in lines if not re.match(r"[a-z_]+ {2,}|\{", line)]


# ---- who may come in


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"])
def test_a_password_from_a_file_lets_in(secured, stage, tmp_path, mechanism):
    """Each mechanism, over TLS, with the password of a mounted secret."""
    allow(secured, stage.settings, access.NEEDS["guard topics --check"])
    secret = tmp_path / "password"
    secret.write_text(secured.secure.password + "\n")
    settings = stage.settings | {
        "sasl_mechanism": mechanism,
        "sasl_password_file": secret,
    }
    del settings["sasl_password"]
    done = guard("topics", "--check", settings=settings)
    assert done.returncode == 0, done.stderr.decode()


def test_a_certificate_lets_in(secured, stage):
    """Mutual TLS: Kafka knows the guard by its certificate."""
    allow(secured, stage.settings, RUN, "User:CN=guard")
    settings = plain(stage.settings) | {
        "brokers": secured.secure.mutual,
        "security_protocol": "SSL",
        "ssl_certfile": secured.secure.certfile,
    }
    done = guard("topics", "--check", settings=settings)
    assert done.returncode == 0, done.stderr.decode()


def refusals(secured, folder):
    """Settings that Kafka refuses, and what is said."""
    secure = secured.secure
    other = Authority(folder, "other").ca_file
    ssl = plain(login(secured)) | {"security_protocol": "SSL"}
    by_ip = secure.bootstrap.replace("localhost", "127.0.0.1")
    as_sasl = {"security_protocol": "SASL_PLAINTEXT"}
    bare = plain(login(secured, security_protocol="PLAINTEXT"))
    del bare["ssl_cafile"]
    sasl = login(secured, **as_sasl)
    del sasl["ssl_cafile"]
    return {
        "password": (
            login(secured, sasl_password=WRONG),
            (
                f'Kafka at {secure.bootstrap} refuses user "guard": the user name or'
                " the password is wrong (SASL mechanism SCRAM-SHA-512)"
            ),
        ),
        "untrusted": (
            login(secured, ssl_cafile=other),
            (
                f"the certificate of Kafka at {secure.bootstrap} is not signed by the"
                " CA in GUARD_SSL_CAFILE"
            ),
        ),
        "expired": (
            ssl | {"brokers": secure.expired},
            (
                f"the certificate of Kafka at {secure.expired} has expired: Kafka needs"
                " a new one"
            ),
        ),
        "host": (
            login(secured, brokers=by_ip),
            f'the certificate of Kafka at {by_ip} is not for "127.0.0.1"',
        ),
        "no certificate": (
            ssl | {"brokers": secure.mutual},
            f"Kafka at {secure.mutual} does not accept the client's certificate",
        ),
        "plaintext to TLS": (
            bare,
            (
                f"Kafka at {secure.bootstrap} uses TLS there, but"
                " GUARD_SECURITY_PROTOCOL is PLAINTEXT"
            ),
        ),
        "TLS to plaintext": (
            ssl | {"brokers": secured.bootstrap},
            (
                f"Kafka at {secured.bootstrap} does not use TLS there, but"
                " GUARD_SECURITY_PROTOCOL is SSL"
            ),
        ),
        "no SASL to SASL": (
            bare | {"brokers": secure.sasl_plaintext},
            (
                f"Kafka at {secure.sasl_plaintext} wants SASL, but"
                " GUARD_SECURITY_PROTOCOL is PLAINTEXT: set it to SASL_PLAINTEXT"
            ),
        ),
        "SASL to plaintext": (
            sasl | {"brokers": secured.bootstrap},
            (
                f"Kafka at {secured.bootstrap} does not use SASL there, but"
                " GUARD_SECURITY_PROTOCOL is SASL_PLAINTEXT: set it to PLAINTEXT"
            ),
        ),
    }


@pytest.mark.parametrize(
    "case",
    [
        *("password", "untrusted", "expired", "host", "no certificate"),
        *("plaintext to TLS", "TLS to plaintext"),
        *("no SASL to SASL", "SASL to plaintext"),
    ],
)
def test_a_refusal_is_one_sentence(secured, tmp_path, case):
    """It says what to mend, at once, with 3; the password stands nowhere."""
    settings, sentence = refusals(secured, tmp_path)[case]
    asked = time.monotonic()
    done = guard("run", settings=settings)
    assert time.monotonic() - asked < SOON_SECONDS
    assert done.returncode == REFUSED
    (line,) = said(done)
    assert line.startswith(sentence)
    everything = (done.stdout + done.stderr).decode()
    assert WRONG not in everything
    assert secured.secure.password not in everything


def test_commands_say_it_too(secured):
    """A wrong password is the same sentence and status for those that try only once."""
    done = guard("topics", settings=login(secured, sasl_password=WRONG))
    assert done.returncode == REFUSED
    (line,) = said(done)
    assert 'refuses user "guard"' in line


# ---- who may do what


def test_the_page_lists_what_is_tested():
    """docs/kafka-access.md has the same ACLs as the table that the tests prove."""
    text = PAGE.read_text().partition("## ACLs")[2]
    names = {getattr(Settings(), field): field for field in RUN}
    found = {}
    for section in text.split("\n### ")[1:]:
        command = section.partition("\n")[0]
        for line in section.replace("\\\n", " ").splitlines():
            if line.startswith("kafka-acls.sh"):
                words = tuple(re.findall(r"--operation (\w+)", line))
                (name,) = re.findall(r"--(?:topic|group) (\S+)", line)
                found.setdefault(command, {})[names[name]] = words
    assert found == access.NEEDS
    for command, needs in access.NEEDS.items():
        section = text.partition(f"\n### {command}\n")[2].partition("\n### ")[0]
        rows = re.findall(
            r"^\| (?:topic|group) `(\S+)` \| (.+) \|$", section, re.MULTILINE
        )
        assert {names[k]: tuple(v.split(", ")) for k, v in rows} == needs


def test_the_acls_of_the_page_are_enough(secured, stage, tmp_path):
    """With them and no others a worker folds, rejects, decides and commits."""
    allow(secured, stage.settings, RUN)
    policy = tmp_path / "policy.yaml"
    policy.write_text(POLICY)
    now = time.time() + 1
    event = {"service": "cart", "latency_ms": 1, "status": 500}
    records = [
        Record(n % 2, now + n / 10, encoded({**event, "ts": now + n / 10, **who}))
        for n in range(200)
        for who in ({"cohort": "canary"}, {"cohort": "baseline", "status": 200})
    ]
    stage.send([Record(0, now, b"nonsense"), *records])
    quick = {"block_size": 64, "snapshot_seconds": 0.5, "lateness_seconds": 1}
    flags = "--policy", str(policy)
    with GuardProcess(stage, tmp_path, *flags, future_seconds=300, **quick) as worker:
        worker.wait_ready()
        until(lambda: worker.is_alive() and stage.decisions(), "decision")
        until(lambda: worker.is_alive() and stage.read("rejected_topic"), "rejection")
        until(lambda: any(stage.committed("input_topic").values()), "commit of input")
        until(lambda: any(stage.committed("panes_topic").values()), "commit of panes")
        assert worker.stop() == 0
    assert secured.secure.password not in worker.log
    assert "not allow" not in worker.log


@pytest.mark.parametrize(("field", "word"), SINGLE, ids=lambda value: value)
def test_each_single_acl_is_needed(secured, stage, field, word):
    """Without it the worker does not begin and says which; exit 2."""
    allow(secured, stage.settings, without(RUN, field, word))
    done = guard("run", "--http-port", "0", settings=stage.settings)
    assert done.returncode == MISUSED
    (line,) = said(done)
    what = "consumer group" if field == access.GROUP else "topic"
    words = line.removeprefix('Kafka does not allow user "guard" ')
    operations, _, rest = words.partition(" on ")
    assert word in operations.split(" and ")
    assert rest == f'{what} "{stage.settings[field]}": see {access.PAGE}'


@pytest.mark.parametrize("command", sorted(set(access.NEEDS) - {"guard run"}))
def test_other_commands_need_no_more_than_the_page_says(secured, stage, command):
    """With its ACLs each command works; without any it names what it lacks, with 2."""
    line = {"service": "cart", "ts": 1795475940.2, "latency_ms": 1, "status": 200}
    words = {
        "guard topics": ("topics",),
        "guard topics --check": ("topics", "--check"),
        "guard watch": ("watch",),
        "guard explain": ("explain", "7c9e6679-7425-50de-944b-e07fc1f90ae7"),
        "guard replay --topic": ("replay", "--topic", stage.settings["input_topic"]),
        "guard send": ("send", "-"),
    }[command]
    value = json.dumps({**line, "version": "v2"}).encode()
    done = guard(*words, settings=stage.settings, input=value)
    assert done.returncode == MISUSED
    assert all("Kafka does not allow" in sentence for sentence in said(done))
    allow(secured, stage.settings, access.NEEDS[command])
    if command == "guard watch":  # without an end
        settings = Settings(**settings_of(stage))
        with kafka_clients.admin(settings) as client:
            assert not list(access.missing(client, settings, access.NEEDS[command]))
        return
    done = guard(*words, settings=stage.settings, input=value)
    if command == "guard explain":
        assert said(done) == [
            f"there is no decision {words[1]} on {stage.settings['decisions_topic']}"
        ]
    else:
        assert done.returncode == 0, done.stderr.decode()


def test_topics_are_made_with_create(secured, stage):
    """On an empty Kafka `guard topics` needs its ACLs; without Create it says so."""
    fresh = {field: f"{stage.settings[field]}-new" for field in RUN}
    settings = stage.settings | fresh
    needs = access.NEEDS["guard topics"]
    allow(secured, settings, without(needs, "panes_topic", "Create"))
    done = guard("topics", settings=settings)
    assert done.returncode == MISUSED
    assert said(done) == [
        (
            f'Kafka does not allow Create on topic "{fresh["panes_topic"]}":'
            f" see {access.PAGE}"
        )
    ]
    allow(secured, settings, {"panes_topic": ("Create",)})
    done = guard("topics", settings=settings)
    assert done.returncode == 0, done.stderr.decode()


def test_an_acl_that_is_taken_away_ends_the_worker(secured, stage, tmp_path):
    """A worker that may not write its panes any more exits with 70 and says why."""
    allow(secured, stage.settings, RUN)
    with GuardProcess(stage, tmp_path) as worker:
        worker.wait_ready()
        forbid(secured, stage.settings, {"panes_topic": ("Write",)})
        now = time.time()
        event = {"service": "cart", "latency_ms": 1, "status": 200, "version": "v2"}
        stage.send([Record(0, now, encoded({**event, "ts": now}))])
        assert worker.process.wait(SOON_SECONDS) == FATAL
        assert "TopicAuthorizationFailedError" in worker.log.splitlines()[-1]


def settings_of(stage):
    """Settings of a stage for the clients themselves."""
    environ = {variable(name): f"{value}" for name, value in stage.settings.items()}
    loaded = load(environ)
    return {name: getattr(loaded, name) for name in loaded.__struct_fields__}
