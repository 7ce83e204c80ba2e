"""What a worker is told when it starts, and which settings contradict each other.

`guard.shell.environment` reads them.
"""

from collections.abc import Iterator
from typing import Annotated, Literal, NamedTuple

import msgspec
from msgspec import Meta

DEFAULT_PORT = 9092

Address = Annotated[str, Meta(pattern=r"^(\[[0-9a-fA-F:]+\]|[^\s:,/\[\]]+):\d{1,5}$")]
Addresses = Annotated[
    tuple[Address, ...],
    Meta(min_length=1, description="host:port, several with commas between them"),
]
Name = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9._-]{1,249}$",
        description="1 to 249 of letters, digits, '.', '_' and '-'",
    ),
]
Host = Annotated[str, Meta(pattern=r"^[^\s/]+$", description="an address to listen on")]
Port = Annotated[
    int, Meta(ge=0, le=65_535, description="a port from 1 to 65535, or 0 for none")
]
Span = Annotated[
    float, Meta(ge=0, le=86_400, description="seconds from 0 to 86400, one day")
]
Interval = Annotated[
    float, Meta(ge=0.1, le=3_600, description="seconds from 0.1 to 3600, one hour")
]
Session = Annotated[
    float, Meta(ge=1, le=1_800, description="seconds from 1 to 1800, half an hour")
]
BlockSize = Annotated[
    int,
    Meta(ge=64, le=1_000_000, description="a whole number from 64 to 1000000"),
]
Records = Annotated[
    int, Meta(ge=1, le=100_000, description="a whole number from 1 to 100000")
]
Patience = Annotated[
    float, Meta(ge=1, le=3_600, description="seconds from 1 to 3600, one hour")
]
FetchWait = Annotated[
    int, Meta(ge=1, le=10_000, description="whole milliseconds from 1 to 10000")
]


class Secret:
    """A word that nothing prints: whoever needs it must ask with `reveal`.

    >>> Secret("swordfish"), f"{Secret('')}"
    (Secret(set), 'Secret(not set)')
    """

    __slots__ = ("_word",)

    def __init__(self, word: str = "") -> None:
        self._word = word

    def reveal(self) -> str:
        """Return the word itself."""
        return self._word

    def __bool__(self) -> bool:
        return bool(self._word)

    def _masked(self) -> str:
        return f"Secret({'set' if self._word else 'not set'})"

    __repr__ = _masked


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of a worker, as they are; the constructor checks nothing.

    Parameters
    ----------
    application
        Consumer group id; workers with the same one share the partitions.
    policy
        Path of the policy; the shipped default when empty.
    lateness_seconds
        How far behind the watermark an event still counts.
    patience_seconds
        How long a source that says nothing usable holds the watermark up.
    future_seconds
        How far ahead of the Kafka time of its record an event may be.
    skew_seconds
        Margin for the clocks of worker and broker, which differ.
    block_size
        Records of a block; see `guard.block`.
    snapshot_seconds
        Between two snapshots of a partition's state.
    instance_id
        Name of the worker for static membership: never shared by two that run.
    start_timeout_seconds
        How long to wait for Kafka at the start, and then for the start to end.
    stall_seconds
        How long something may stand still while Kafka answers before the worker ends.
        Longer than Kafka's clients try again (60 s), so that what they say comes first,
        and than a broker takes to restart.
    http_port
        0 for no page.
    services_cap
        How many services get labels of their own in the metrics.
    ssl_cafile
        Whom to trust, PEM; whom this machine trusts when None.
    ssl_certfile, ssl_keyfile
        Certificate and key that prove to Kafka who the worker is, PEM; the key may
        stand in the certificate's file.
    """

    brokers: Addresses = (f"localhost:{DEFAULT_PORT}",)
    application: Name = "rollback-guard"
    input_topic: Name = "telemetry.requests"
    panes_topic: Name = "guard.panes"
    snapshots_topic: Name = "guard.snapshots"
    decisions_topic: Name = "guard.decisions"
    rejected_topic: Name = "guard.rejected"
    policy: str = ""
    lateness_seconds: Span = 5.0
    patience_seconds: Span = 60.0
    future_seconds: Span = 60.0
    skew_seconds: Span = 0.5
    block_size: BlockSize = 16_384
    snapshot_seconds: Interval = 10.0
    session_timeout_seconds: Session = 8.0
    instance_id: Name | None = None
    start_timeout_seconds: Span = 60.0
    stall_seconds: Patience = 90.0
    http_host: Host = "127.0.0.1"
    http_port: Port = 8080
    dry_run: bool = False
    log_format: Literal["auto", "json", "text"] = "auto"
    log_level: Literal["debug", "info", "warning", "error", "critical"] = "info"
    services_cap: Records = 1_000
    max_poll_records: Records = 5_000
    fetch_wait_ms: FetchWait = 100
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = (
        "PLAINTEXT"
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = None
    sasl_username: str | None = None
    sasl_password: Secret = Secret()
    ssl_cafile: str | None = None
    ssl_certfile: str | None = None
    ssl_keyfile: str | None = None

    @property
    def topics(self) -> dict[str, str]:
        """Names of the topics by field."""
        return {
            name: getattr(self, name)
            for name in self.__struct_fields__
            if name.endswith("_topic")
        }

    @property
    def uses_sasl(self) -> bool:
        """Whether the worker proves to Kafka who it is."""
        return self.security_protocol.startswith("SASL")

    @property
    def uses_tls(self) -> bool:
        """Whether the connections to Kafka are encrypted."""
        return self.security_protocol.endswith("SSL")

    def describe(self) -> list[tuple[str, str]]:
        """Return every field and its value in words, to be printed at the start."""
        return [(name, _words(getattr(self, name))) for name in self.__struct_fields__]


class Contradiction(NamedTuple):
    """Fields that do not go together, and why; `{0}` stands for the first's name."""

    fields: tuple[str, ...]
    template: str


def contradictions(settings: Settings) -> Iterator[Contradiction]:
    """Yield what is wrong although every field by itself is right."""
    ports = [int(broker.rpartition(":")[2]) for broker in settings.brokers]
    if not all(1 <= port <= 65_535 for port in ports):
        template = "{0} holds a port that is not from 1 to 65535"
        yield Contradiction(("brokers",), template)
    if settings.patience_seconds < settings.lateness_seconds:
        pair = ("patience_seconds", "lateness_seconds")
        template = "{0} is less than {1}: everything would be late"
        yield Contradiction(pair, template)
    yield from _equal_topics(settings)
    yield from _unusable_security(settings)


def _equal_topics(settings: Settings) -> Iterator[Contradiction]:
    fields: dict[str, str] = {}  # by topic
    for field, topic in settings.topics.items():
        first = fields.setdefault(topic, field)
        if first != field:
            template = f'{{0}} and {{1}} are both "{topic}"'
            yield Contradiction((first, field), template)


def _unusable_security(settings: Settings) -> Iterator[Contradiction]:
    where = f"where {{1}} is {settings.security_protocol}"
    for field in ("sasl_mechanism", "sasl_username", "sasl_password"):
        is_set = bool(getattr(settings, field))
        if is_set != settings.uses_sasl:
            verdict = "is set, but not used" if is_set else "is needed"
            yield Contradiction(
                (field, "security_protocol"), f"{{0}} {verdict} {where}"
            )
    for field in ("ssl_cafile", "ssl_certfile", "ssl_keyfile"):
        if getattr(settings, field) and not settings.uses_tls:
            template = f"{{0}} is set, but not used {where}"
            yield Contradiction((field, "security_protocol"), template)
    if settings.ssl_keyfile and not settings.ssl_certfile:
        template = "{0} is set, but {1}, which it belongs to, is not"
        yield Contradiction(("ssl_keyfile", "ssl_certfile"), template)


def _words(value: object) -> str:
    match value:
        case Secret():
            return "set" if value else "not set"
        case None | "":
            return "not set"
        case bool():
            return "true" if value else "false"
        case tuple():
            return ",".join(map(str, value))
        case _:
            return str(value)
