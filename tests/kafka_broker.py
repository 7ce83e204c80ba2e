"""An unmodified Apache Kafka (KRaft) on this machine, for tests and benchmarks.

The jars are fetched with Maven once, into `$KAFKA_CACHE` or the user's cache folder;
after that a node is ready about three seconds after `Cluster.start`.

    with Cluster() as cluster:              # one node
        cluster.bootstrap                   # 'localhost:23911'
    with Cluster(nodes=3) as cluster:       # replication 3, min.insync.replicas 2
        cluster.kill(1)
        cluster.start_node(1)
    with Cluster(secure=True) as cluster:   # beside PLAINTEXT also SASL_SSL and others
        cluster.secure
    with Cluster(secure=True, has_acls=True) as cluster:   # who may do what is asked
        ...                                 # PLAINTEXT is the super user

    python tests/kafka_broker.py --nodes 3  # runs until Ctrl-C, prints JSON

It needs Java 17 or newer, Maven for the first use, openssl for `secure`; no Kafka
client and no container.
"""

import argparse
import base64
import contextlib
import dataclasses
import hashlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from certificates import Authority

POM = Path(__file__).resolve().with_name("pom.xml")
SMALL_JVM = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")  # ready sooner, smaller
FAST_JVM = ("-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20")  # for benchmarks
READY = b"Kafka Server started"  # registered and unfenced; an open port comes earlier
READY_SECONDS = 60.0
START_ATTEMPTS = 3
CLEAN_STOP_SECONDS = 30.0

# Below the range that Linux takes the ports of outgoing connections from. In that
# range a client that tries again and again to reach a stopped broker on this machine
# is sooner or later given the broker's own port, connects to itself, and keeps it.
PORTS = range(20_000, 32_000)

_SCRAM = ("SCRAM-SHA-512", "SCRAM-SHA-256")
_SECURE_LISTENERS = {  # by name
    "SECURE": "SASL_SSL",
    "SASL": "SASL_PLAINTEXT",
    "MUTUAL": "SSL",
    "EXPIRED": "SSL",
}
_ACLS = {
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "allow.everyone.if.no.acl.found": "false",
    "super.users": "User:ANONYMOUS",  # whoever comes by PLAINTEXT, the nodes too
}

_LOGGING = """\
<Configuration status="OFF">
  <Appenders><Console name="out">
    <PatternLayout pattern="%d{ABSOLUTE} %p %c{1}: %m%n"/>
  </Console></Appenders>
  <Loggers>
    <Root level="WARN"><AppenderRef ref="out"/></Root>
    <Logger name="kafka.server.KafkaRaftServer" level="INFO"/>
  </Loggers>
</Configuration>
"""

# A test run that is killed must not leave brokers behind: the kernel ends them with
# the thread that started them. Not a `preexec_fn`, which is unsafe beside threads.
_DIE_WITH_PARENT = """\
import ctypes, os, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, 9)
os.execvp(sys.argv[1], sys.argv[1:])
"""


class BrokerUnavailable(RuntimeError):  # noqa: N818  # no fault of the program
    """What a broker needs is not on this machine; the message says what."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Secure:
    """How to reach the secure listeners of a cluster.

    Parameters
    ----------
    bootstrap
        SASL_SSL, with SCRAM and PLAIN.
    sasl_plaintext
        The same without TLS.
    mutual
        SSL, for clients that show a certificate such as `certfile`.
    expired
        SSL, with a certificate that has expired.
    certfile
        Key and certificate of user `CN=guard`.
    """

    bootstrap: str
    sasl_plaintext: str
    mutual: str
    expired: str
    ca_file: str
    certfile: str
    mechanism: str = "SCRAM-SHA-512"
    username: str = "guard"
    password: str = "guard-secret"  # of a cluster that lives for a test


class Cluster:
    """Some Kafka nodes, each broker and controller; a context manager.

    Topics are not made by naming them: `auto.create.topics.enable` is false, so that a
    typo fails. Start nodes in a thread that lives on: they end with it.

    Parameters
    ----------
    nodes
        How many; up to three replicas, of which all but one must be in sync.
    secure
        Whether there are SASL and TLS listeners too; `secure` says how to use them.
    has_acls
        Whether Kafka asks ACLs; PLAINTEXT is the super user.
    directory
        Where data and logs stand; a temporary one, removed at the end, when None.
    heap, jvm
        Greatest heap and further options of each Java process.
    properties
        Broker settings that add to ours or replace them.
    cpus
        The cores that the brokers may use, as `taskset -c` wants them.
    """

    def __init__(
        self,
        nodes: int = 1,
        *,
        secure: bool = False,
        has_acls: bool = False,
        directory: Path | None = None,
        heap: str = "384m",
        jvm: Sequence[str] = SMALL_JVM,
        properties: Mapping[str, object] | None = None,
        cpus: str | None = None,
    ) -> None:
        self.nodes = nodes
        self.directory = directory or Path(tempfile.mkdtemp(prefix="kafka-"))
        self._is_temporary = directory is None
        self._is_secure, self._has_acls = secure, has_acls
        self._heap, self._jvm, self._cpus = heap, tuple(jvm), cpus
        self._properties = dict(properties or {})
        self._cluster_id = _cluster_id()
        self._class_path = ""
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._log_start: dict[int, int] = {}
        self._draw_ports()

    def _draw_ports(self) -> None:
        names = ["PLAINTEXT", "CONTROLLER"]
        names += _SECURE_LISTENERS if self._is_secure else []
        ports = iter(free_ports(len(names) * self.nodes))
        self._ports = {name: [next(ports) for _ in range(self.nodes)] for name in names}

    @property
    def bootstrap(self) -> str:
        """Addresses of the PLAINTEXT listeners; they last as long as the cluster."""
        return _addresses(self._ports["PLAINTEXT"])

    @property
    def secure(self) -> Secure | None:
        """How to reach the secure listeners, None when there are none."""
        if not self._is_secure:
            return None
        return Secure(
            bootstrap=_addresses(self._ports["SECURE"]),
            sasl_plaintext=_addresses(self._ports["SASL"]),
            mutual=_addresses(self._ports["MUTUAL"]),
            expired=_addresses(self._ports["EXPIRED"]),
            ca_file=str(self.directory / "ca.pem"),
            certfile=str(self.directory / "guard.pem"),
        )

    @property
    def pids(self) -> dict[int, int]:
        """Process ids of the nodes that run."""
        return {node: process.pid for node, process in self._processes.items()}

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> Self:
        """Start all nodes and wait until they are ready.

        A port that was free may be taken before Java opens it: then all nodes start
        again on others.

        Raises
        ------
        BrokerUnavailable
            When Java or Maven is missing, or the jars cannot be fetched.
        RuntimeError
            When a node does not become ready; the message ends with its log.
        """
        try:
            self._prepare()
            self._start_on_free_ports()
        except BaseException:
            self.stop()
            raise
        return self

    def _prepare(self) -> None:
        _demand("java", "Java 17 or newer runs the broker")
        self._class_path = fetch()
        self.directory.mkdir(parents=True, exist_ok=True)
        (self.directory / "log4j2.xml").write_text(_LOGGING)
        if self._is_secure:
            _demand("openssl", "it makes the certificates of the secure listeners")
            authority = Authority(self.directory)
            authority.issue("server", names="DNS:localhost")
            authority.issue("expired", names="DNS:localhost", days=-1)
            authority.issue("guard")

    def _start_on_free_ports(self) -> None:
        for _ in range(START_ATTEMPTS - 1):
            try:
                return self._start_nodes()
            except _PortTaken:
                self._kill_all()
                self._draw_ports()
        return self._start_nodes()

    def _start_nodes(self) -> None:
        # Most of the start of a node is processor time: format all of them at once.
        formats = {node: self._format(node) for node in range(self.nodes)}
        for node, process in formats.items():
            if process is not None and process.wait():
                log = _end_of(self.directory / f"format{node}.log")
                msg = f"cannot format the storage of node {node}: {log}"
                raise RuntimeError(msg)
        for node in range(self.nodes):
            self._spawn(node)
        for node in range(self.nodes):
            self._wait_ready(node)

    def stop(self) -> None:
        """End all nodes at once and remove a temporary directory.

        The data is not worth a clean end, which of several nodes would wait for a
        quorum that is gone.
        """
        self._kill_all()
        if self._is_temporary:
            shutil.rmtree(self.directory, ignore_errors=True)

    def _kill_all(self) -> None:
        for node in list(self._processes):
            self.kill(node)

    def start_node(self, node: int) -> None:
        """Start a node that was killed or stopped, on its ports and data."""
        self._spawn(node)
        self._wait_ready(node)

    def stop_node(self, node: int) -> None:
        """End a node in good order: it hands its leaderships over first."""
        process = self._processes.pop(node)
        process.send_signal(signal.SIGCONT)
        process.terminate()
        try:
            process.wait(CLEAN_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def restart_node(self, node: int) -> None:
        """End a node in good order and start it again."""
        self.stop_node(node)
        self.start_node(node)

    def kill(self, node: int) -> None:
        """End a node with SIGKILL."""
        process = self._processes.pop(node)
        process.kill()
        process.wait()

    def pause(self, node: int) -> None:
        """Stop a node in its tracks; its connections stay open."""
        self._processes[node].send_signal(signal.SIGSTOP)

    def resume(self, node: int) -> None:
        """Let a paused node go on."""
        self._processes[node].send_signal(signal.SIGCONT)

    def log(self, node: int) -> str:
        """Return what a node has logged since it was started last."""
        log = self._log_path(node).read_bytes()
        return log[self._log_start.get(node, 0) :].decode(errors="replace")

    def _log_path(self, node: int) -> Path:
        return self.directory / f"node{node}.log"

    def _format(self, node: int) -> subprocess.Popen[bytes] | None:
        config = self._write_config(node)
        if (self.directory / f"data{node}" / "meta.properties").exists():
            return None
        command = ["kafka.tools.StorageTool", "format", "-c", str(config)]
        command += ["-t", self._cluster_id]
        if self.secure is not None:
            user = f"name={self.secure.username},password={self.secure.password}"
            for mechanism in _SCRAM:
                command += ["--add-scram", f"{mechanism}=[{user}]"]
        return self._java(command, heap="64m", log=self.directory / f"format{node}.log")

    def _spawn(self, node: int) -> None:
        log = self._log_path(node)
        self._log_start[node] = log.stat().st_size if log.exists() else 0
        config = str(self.directory / f"node{node}.properties")
        command = ["kafka.Kafka", config]
        self._processes[node] = self._java(command, heap=self._heap, log=log)

    def _java(
        self, command: Sequence[str], *, heap: str, log: Path
    ) -> subprocess.Popen[bytes]:
        logging = f"-Dlog4j2.configurationFile={self.directory}/log4j2.xml"
        options = (f"-Xmx{heap}", "-Xshare:auto", "-XX:-UsePerfData", *self._jvm)
        java = ("java", *options, logging, "-cp", self._class_path, *command)
        pinned = ("taskset", "-c", self._cpus) if self._cpus else ()
        with log.open("ab") as out:
            return subprocess.Popen(
                (sys.executable, "-ISc", _DIE_WITH_PARENT, *pinned, *java),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,  # Ctrl-C is for the test run alone
            )

    def _wait_ready(self, node: int) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while READY not in (log := self.log(node).encode()):
            is_over = self._processes[node].poll() is not None
            if is_over and (b"BindException" in log or b"already in use" in log):
                raise _PortTaken(f"node {node}: {_end_of(self._log_path(node))}")
            if is_over or time.monotonic() > deadline:
                end = _end_of(self._log_path(node))
                raise RuntimeError(f"node {node} did not become ready: {end}")
            time.sleep(0.05)

    def _write_config(self, node: int) -> Path:
        settings = self._listeners(node) | self._cluster_settings()
        settings |= {"node.id": node, "log.dirs": self.directory / f"data{node}"}
        if self._is_secure:
            settings |= self._security()
        if self._has_acls:
            settings |= _ACLS
        settings |= self._properties
        path = self.directory / f"node{node}.properties"
        path.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
        return path

    def _listeners(self, node: int) -> dict[str, object]:
        every = {name: ports[node] for name, ports in self._ports.items()}
        clients = {name: port for name, port in every.items() if name != "CONTROLLER"}
        voters = enumerate(self._ports["CONTROLLER"])
        protocols = {"PLAINTEXT": "PLAINTEXT", "CONTROLLER": "PLAINTEXT"}
        protocols |= _SECURE_LISTENERS
        return {
            "process.roles": "broker,controller",
            "controller.quorum.voters": ",".join(
                f"{voter}@localhost:{port}" for voter, port in voters
            ),
            "listeners": _listener_addresses(every),
            "advertised.listeners": _listener_addresses(clients),
            "listener.security.protocol.map": ",".join(
                f"{name}:{protocol}" for name, protocol in protocols.items()
            ),
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "PLAINTEXT",
        }

    def _cluster_settings(self) -> dict[str, object]:
        replicas = min(3, self.nodes)
        in_sync = max(1, replicas - 1)
        return {
            "auto.create.topics.enable": "false",
            "num.partitions": 4,
            "default.replication.factor": replicas,
            "min.insync.replicas": in_sync,
            "offsets.topic.replication.factor": replicas,
            "offsets.topic.num.partitions": 4,  # 50 take long to make
            "transaction.state.log.replication.factor": replicas,
            "transaction.state.log.min.isr": in_sync,
            "transaction.state.log.num.partitions": 4,
            "share.coordinator.state.topic.replication.factor": replicas,
            "share.coordinator.state.topic.min.isr": in_sync,
            "group.initial.rebalance.delay.ms": 0,  # 3 s on each first join otherwise
            "group.min.session.timeout.ms": 1000,  # 6 s otherwise
            "log.cleaner.dedupe.buffer.size": 4 << 20,
            "log.retention.hours": -1,
            "num.network.threads": 2,
            "num.io.threads": 4,
            "broker.session.timeout.ms": 3000,  # a killed node is waited for so long
            "broker.heartbeat.interval.ms": 500,
            "controller.quorum.election.timeout.ms": 500,
            "controller.quorum.fetch.timeout.ms": 1000,
        }

    def _security(self) -> dict[str, object]:
        assert self.secure is not None
        user, password = self.secure.username, self.secure.password
        module = "org.apache.kafka.common.security.{}LoginModule required"
        plain = f'{module.format("plain.Plain")} user_{user}="{password}";'
        logins = {name: f"{module.format('scram.Scram')};" for name in _SCRAM}
        settings: dict[str, object] = {
            "sasl.enabled.mechanisms": "PLAIN," + ",".join(_SCRAM)
        }
        for name, protocol in _SECURE_LISTENERS.items():
            listener = f"listener.name.{name.lower()}"
            if protocol.startswith("SASL"):
                for mechanism, login in {**logins, "PLAIN": plain}.items():
                    key = f"{listener}.{mechanism.lower()}.sasl.jaas.config"
                    settings[key] = login
            if protocol.endswith("SSL"):
                stem = "expired" if name == "EXPIRED" else "server"
                settings[f"{listener}.ssl.keystore.type"] = "PEM"
                settings[f"{listener}.ssl.keystore.location"] = (
                    f"{self.directory}/{stem}.pem"
                )
        settings |= {
            "listener.name.mutual.ssl.client.auth": "required",
            "listener.name.mutual.ssl.truststore.type": "PEM",
            "listener.name.mutual.ssl.truststore.location": self.directory / "ca.pem",
        }
        return settings


class _PortTaken(RuntimeError):  # noqa: N818  # the next attempt's reason
    """A port that was free a moment ago is not any more."""


def fetch() -> str:
    """Return the broker's class path; runs Maven when the jars are not there yet.

    They lie in a folder named after the content of `pom.xml`, so that another version
    is another folder, and appear whole or not at all: two runs may fetch at once.
    """
    cache = Path(
        os.environ.get("KAFKA_CACHE") or Path.home() / ".cache" / "rollback-guard"
    )
    jars = cache / f"kafka-{hashlib.sha256(POM.read_bytes()).hexdigest()[:16]}"
    if jars.is_dir():
        return f"{jars}/*"
    _demand("mvn", "Maven fetches the broker's jars on first use")
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        fetched = Path(folder) / "jars"
        _run_maven(fetched)
        try:
            fetched.rename(jars)
        except OSError:  # someone else was faster
            if not jars.is_dir():
                raise
    return f"{jars}/*"


def _run_maven(folder: Path) -> None:
    command = ["mvn", "-q", "-B", "-f", str(POM), "dependency:copy-dependencies"]
    command += ["-DincludeScope=runtime", f"-DoutputDirectory={folder}"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        msg = f"Maven cannot fetch the broker's jars: {done.stdout[-2000:]}"
        raise BrokerUnavailable(msg)


def _demand(program: str, reason: str) -> None:
    if shutil.which(program) is None:
        msg = f"{program} is not on the PATH: {reason}"
        raise BrokerUnavailable(msg)


def free_ports(count: int) -> list[int]:
    """Draw ports that nothing listens on now; they may be taken a moment later."""
    held: list[socket.socket] = []
    try:
        for port in secrets.SystemRandom().sample(PORTS, len(PORTS)):
            if len(held) == count:
                break
            listener = socket.socket()
            held.append(listener)
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                held.pop().close()
        return [listener.getsockname()[1] for listener in held]
    finally:
        for listener in held:
            listener.close()


def _cluster_id() -> str:
    """Draw a cluster id; one that begins with a dash would be read as an option."""
    while True:
        drawn = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if not drawn.startswith("-"):
            return drawn


def _addresses(ports: Sequence[int]) -> str:
    return ",".join(f"localhost:{port}" for port in ports)


def _listener_addresses(ports: Mapping[str, int]) -> str:
    return ",".join(f"{name}://localhost:{port}" for name, port in ports.items())


def _end_of(log: Path) -> str:
    return log.read_text(errors="replace")[-3000:]


def main() -> None:
    """Run a cluster until SIGINT or SIGTERM; print where it is, as JSON."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--nodes", type=int, default=1)
    parser.add_argument("--secure", action="store_true")
    parser.add_argument("--directory", type=Path)
    parser.add_argument("--heap", default="384m")
    parser.add_argument("--cpus", help="cores of the brokers, as taskset -c wants them")
    parser.add_argument("--fast", action="store_true", help="G1, for benchmarks")
    options = vars(parser.parse_args())
    jvm = FAST_JVM if options.pop("fast") else SMALL_JVM
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    started = time.monotonic()
    with (
        contextlib.suppress(KeyboardInterrupt),
        Cluster(options.pop("nodes"), jvm=jvm, **options) as cluster,
    ):
        where = {
            "bootstrap": cluster.bootstrap,
            "secure": cluster.secure and dataclasses.asdict(cluster.secure),
            "pids": cluster.pids,
            "seconds": round(time.monotonic() - started, 2),
        }
        sys.stdout.write(json.dumps(where) + "\n")
        sys.stdout.flush()
        signal.pause()


if __name__ == "__main__":
    main()
