"""Settings: where they come from, what is refused, what is never shown."""

import io
import subprocess

import msgspec
import pytest
from certificates import Authority
from rich.console import Console

from guard.shell.environment import SettingsFault, load, variable
from guard.shell.settings import Secret, Settings

SASL = {
    "GUARD_SECURITY_PROTOCOL": "sasl_ssl",
    "GUARD_SASL_MECHANISM": "SCRAM-SHA-512",
    "GUARD_SASL_USERNAME": "guard",
}
PASSWORD = "swordfish"


def faults_of(environ, **flags):
    with pytest.raises(SettingsFault) as caught:
        load(environ, **flags)
    return caught.value.faults


def test_defaults_are_sound():
    """Without any variable there is a worker for a Kafka on this machine."""
    assert load({}) == Settings()
    assert load({}).brokers == ("localhost:9092",)


def test_every_field_is_a_variable():
    """A variable sets its field, converted to the field's type."""
    settings = load(
        {
            "GUARD_BROKERS": "one:9092, [::1]:9093",
            "GUARD_BLOCK_SIZE": "512",
            "GUARD_LATENESS_SECONDS": "0",
            "GUARD_DRY_RUN": "true",
            "GUARD_LOG_LEVEL": "WARNING",
        }
    )
    assert settings.brokers == ("one:9092", "[::1]:9093")
    assert settings.block_size == 512
    assert settings.lateness_seconds == 0.0
    assert settings.dry_run is True
    assert settings.log_level == "warning"


def test_flags_go_before_variables():
    """A flag that was given wins; one that was not leaves the variable alone."""
    environ = {"GUARD_HTTP_PORT": "9000", "GUARD_BLOCK_SIZE": "512"}
    settings = load(environ, http_port=0, block_size=None)
    assert settings.http_port == 0
    assert settings.block_size == 512


def test_empty_means_none_only_where_there_may_be_none():
    """An empty instance id is none; an empty broker list is a fault."""
    assert load({"GUARD_INSTANCE_ID": "", "GUARD_POLICY": ""}).instance_id is None
    assert faults_of({"GUARD_BROKERS": ""}) == [
        'GUARD_BROKERS is "", expected host:port, several with commas between them'
    ]


def test_lists_all_faults_at_once():
    """Whoever edits settings learns of everything in one run."""
    environ = {"GUARD_BLOCK_SIZE": "63", "GUARD_LOG_FORMAT": "xml"}
    assert faults_of(environ, http_port=70_000) == [
        'GUARD_BLOCK_SIZE is "63", expected a whole number from 64 to 1000000',
        'GUARD_LOG_FORMAT is "xml", expected one of auto, json, text',
        "--http-port is 70000, expected a port from 1 to 65535, or 0 for none",
    ]


def test_unknown_variables_are_faults():
    """A misspelt variable is named with the one that was probably meant."""
    assert faults_of({"GUARD_LATENES_SECONDS": "1", "GUARD_QZX": ""}) == [
        (
            "GUARD_LATENES_SECONDS is not a setting"
            ' (did you mean "GUARD_LATENESS_SECONDS"?)'
        ),
        "GUARD_QZX is not a setting",
    ]


def test_service_links_are_no_settings():
    """What Kubernetes says about a Service called "guard" is passed over."""
    links = {
        "GUARD_SERVICE_HOST": "10.0.0.1",
        "GUARD_SERVICE_PORT": "8080",
        "GUARD_SERVICE_PORT_HTTP": "8080",
        "GUARD_PORT": "tcp://10.0.0.1:8080",
        "GUARD_PORT_8080_TCP": "tcp://10.0.0.1:8080",
        "GUARD_PORT_8080_TCP_ADDR": "10.0.0.1",
    }
    assert load(links) == Settings()
    assert faults_of({"GUARD_PORT": "8080"}) == [
        'GUARD_PORT is not a setting (did you mean "GUARD_HTTP_PORT"?)'
    ]


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("lateness_seconds", "-1"),
        ("lateness_seconds", "nan"),
        ("snapshot_seconds", "inf"),
        ("block_size", "1000001"),
        ("block_size", "64.5"),
        ("http_port", "-1"),
        ("session_timeout_seconds", "0.5"),
        ("fetch_wait_ms", "0"),
        ("input_topic", "a b"),
        ("brokers", "localhost"),
        ("brokers", "localhost:0"),
        ("dry_run", "perhaps"),
        ("instance_id", "a b"),
        ("sasl_mechanism", "GSSAPI"),
    ],
)
def test_refuses_what_is_out_of_range(name, word):
    """One value out of range is one fault, and it names the variable."""
    (fault,) = faults_of({variable(name): word})
    assert variable(name) in fault


@pytest.mark.parametrize(
    ("environ", "fault"),
    [
        (
            {"GUARD_PANES_TOPIC": "guard.decisions"},
            'GUARD_PANES_TOPIC and GUARD_DECISIONS_TOPIC are both "guard.decisions"',
        ),
        (
            {"GUARD_PATIENCE_SECONDS": "4"},
            (
                "GUARD_PATIENCE_SECONDS is less than GUARD_LATENESS_SECONDS:"
                " everything would be late"
            ),
        ),
        (
            SASL,
            "GUARD_SASL_PASSWORD is needed where GUARD_SECURITY_PROTOCOL is SASL_SSL",
        ),
        (
            {"GUARD_SASL_USERNAME": "guard"},
            (
                "GUARD_SASL_USERNAME is set, but not used where"
                " GUARD_SECURITY_PROTOCOL is PLAINTEXT"
            ),
        ),
        (
            {"GUARD_SECURITY_PROTOCOL": "SSL", "GUARD_SSL_CAFILE": "/nowhere"},
            "GUARD_SSL_CAFILE names no file",
        ),
        (
            {"GUARD_SSL_CERTFILE": "/nowhere"},
            (
                "GUARD_SSL_CERTFILE is set, but not used where"
                " GUARD_SECURITY_PROTOCOL is PLAINTEXT"
            ),
        ),
        (
            {"GUARD_SECURITY_PROTOCOL": "SSL", "GUARD_SSL_KEYFILE": __file__},
            (
                "GUARD_SSL_KEYFILE is set, but GUARD_SSL_CERTFILE, which it belongs"
                " to, is not"
            ),
        ),
    ],
    ids=["topics", "patience", "password", "unused", "cafile", "plain", "alone"],
)
def test_refuses_what_contradicts_itself(environ, fault):
    """Settings that are right one by one can be wrong together."""
    assert faults_of(environ) == [fault]


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_a_password_may_come_from_a_file(tmp_path, end):
    """The file's last newline is none of the password, a blank is."""
    file = tmp_path / "password"
    file.write_bytes(f" {PASSWORD} {end}".encode())
    settings = load(SASL | {"GUARD_SASL_PASSWORD_FILE": str(file)})
    assert settings.sasl_password.reveal() == f" {PASSWORD} "


def test_a_password_is_taken_as_it_is():
    """Blanks around it belong to it, in the variable as in the file."""
    settings = load(SASL | {"GUARD_SASL_PASSWORD": f" {PASSWORD} \n"})
    assert settings.sasl_password.reveal() == f" {PASSWORD} "


def test_a_password_has_one_source(tmp_path):
    """Two are a fault; the variable that the user set is the one that is named."""
    file = tmp_path / "password"
    file.write_text(PASSWORD)
    path = {"GUARD_SASL_PASSWORD_FILE": str(file)}
    assert faults_of(SASL | path | {"GUARD_SASL_PASSWORD": "a"}) == [
        (
            "GUARD_SASL_PASSWORD and GUARD_SASL_PASSWORD_FILE are both set,"
            " expected one of them"
        )
    ]
    assert faults_of(path) == [
        (
            "GUARD_SASL_PASSWORD_FILE is set, but not used where"
            " GUARD_SECURITY_PROTOCOL is PLAINTEXT"
        )
    ]


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (None, "names no file that can be read: No such file or directory"),
        (b"", "names an empty file, expected the password"),
        (b"\n", "names an empty file, expected the password"),
        (b"\xff", "names no file that can be read: it is not text in UTF-8"),
    ],
    ids=["missing", "empty", "newline", "binary"],
)
def test_a_file_without_a_password(tmp_path, content, fault):
    """One fault, which does not repeat the path: it may be the password itself."""
    file = tmp_path / PASSWORD
    if content is not None:
        file.write_bytes(content)
    faults = faults_of(SASL | {"GUARD_SASL_PASSWORD_FILE": str(file)})
    assert faults == [f"GUARD_SASL_PASSWORD_FILE {fault}"]


@pytest.mark.slow
def test_certificates_are_read_at_the_start(tmp_path):
    """A file that holds something else, or another's key, is a fault of its setting."""
    authority = Authority(tmp_path)
    pem, other = authority.issue("guard"), authority.issue("other")
    tls = {"GUARD_SECURITY_PROTOCOL": "SSL"}
    assert faults_of(tls | {"GUARD_SSL_CAFILE": __file__}) == [
        "GUARD_SSL_CAFILE holds no certificate in PEM"
    ]
    crt, key = str(pem.with_suffix(".crt")), str(other.with_suffix(".key"))
    assert faults_of(tls | {"GUARD_SSL_CERTFILE": crt}) == [
        (
            "GUARD_SSL_CERTFILE holds no certificate in PEM with its key, and"
            " GUARD_SSL_KEYFILE is not set"
        )
    ]
    pair = {"GUARD_SSL_CERTFILE": crt, "GUARD_SSL_KEYFILE": key}
    assert faults_of(tls | pair) == [
        (
            "GUARD_SSL_CERTFILE and GUARD_SSL_KEYFILE do not belong together:"
            " the key is another's"
        )
    ]
    assert load(tls | {"GUARD_SSL_CERTFILE": str(pem)}).ssl_certfile == str(pem)
    pair["GUARD_SSL_KEYFILE"] = str(pem.with_suffix(".key"))
    assert load(tls | pair).ssl_certfile == crt


@pytest.mark.slow
def test_a_key_with_a_password_is_refused(tmp_path):
    """Nobody is there to type it: the fault says so instead of asking."""
    pem = Authority(tmp_path).issue("guard")
    locked = tmp_path / "locked.key"
    lock = ["openssl", "pkey", "-aes256", "-passout", "pass:x", "-out", locked]
    subprocess.run([*lock, "-in", pem.with_suffix(".key")], check=True)
    pair = {
        "GUARD_SECURITY_PROTOCOL": "SSL",
        "GUARD_SSL_CERTFILE": str(pem.with_suffix(".crt")),
        "GUARD_SSL_KEYFILE": str(locked),
    }
    assert faults_of(pair) == [
        "GUARD_SSL_KEYFILE holds a key with a password, expected one without"
    ]


def test_never_shows_the_password():
    """Neither repr, rich, describe nor a fault holds it, and JSON refuses it."""
    environ = SASL | {"GUARD_SASL_PASSWORD": PASSWORD}
    settings = load(environ)
    printed = io.StringIO()
    Console(file=printed).print(settings)
    faults = faults_of(environ | {"GUARD_BLOCK_SIZE": "1", "GUARD_SASL_PASSWOR": "x"})
    shown = [repr(settings), str(settings), printed.getvalue(), *faults]
    shown += [f"{name} {value}" for name, value in settings.describe()]
    assert not [text for text in shown if PASSWORD in text]
    assert dict(settings.describe())["sasl_password"] == "set"
    assert dict(load({}).describe())["sasl_password"] == "not set"
    with pytest.raises(TypeError):
        msgspec.json.encode(settings)


def test_describes_every_field():
    """What is printed at the start leaves nothing out."""
    described = dict(Settings(dry_run=True, sasl_password=Secret("x")).describe())
    assert list(described) == list(Settings.__struct_fields__)
    assert described["dry_run"] == "true"
    assert described["brokers"] == "localhost:9092"
    assert described["instance_id"] == "not set"


def test_a_flag_nobody_knows_is_a_mistake_of_the_program():
    """It raises at once: no user can mend it."""
    with pytest.raises(TypeError, match="blocksize"):
        load({}, blocksize=1)
