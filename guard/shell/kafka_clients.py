"""kafka-python's clients, made from the settings in one place; and waiting for Kafka.

The commands use kafka-python; the worker itself does not, see `async_clients`.
"""

import contextlib
import logging
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeAlias

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.errors import KafkaError, SaslAuthenticationFailedError
from kafka.net.compat import KafkaNetClient

from guard.shell import probe, tls
from guard.shell.settings import Settings

# kafka-python 3 ships no types, and those that pyright knows are of version 2.
Admin: TypeAlias = Any
Producer: TypeAlias = Any
Consumer: TypeAlias = Any

ApiVersion = tuple[int, ...]
PROBE_SECONDS = 2.0  # to open a connection to one broker
LONGEST_TRY_SECONDS = 8.0  # the first takes one, so that the reason is said soon
PAUSE_SECONDS = 0.25  # between two tries
_SILENT = ("timed out", "Unable to bootstrap")
_DROPPED = ("disconnected", "Invalid frame length", "EOF occurred")


class BrokerUnreachable(RuntimeError):  # noqa: N818  # no fault of the program
    """No broker answered in time; the message says where and why."""


class BrokerRefuses(BrokerUnreachable):
    """A broker answers, and will not have us; the message says what to mend."""


def connection(
    settings: Settings, *, api_version: ApiVersion | None = None
) -> dict[str, Any]:
    """Return the arguments that every kafka-python client takes.

    Parameters
    ----------
    api_version
        For a broker that cannot be asked for it, such as a mock.
    """
    options: dict[str, Any] = {
        "bootstrap_servers": list(settings.brokers),
        "security_protocol": settings.security_protocol,
        "reconnect_backoff_max_ms": 1_000,  # 30 s otherwise
    }
    if api_version is not None:
        options["api_version"] = api_version
    if settings.uses_tls:
        options["ssl_context"] = tls.context(settings)
    if settings.uses_sasl:
        options |= {
            "sasl_mechanism": settings.sasl_mechanism,
            "sasl_plain_username": settings.sasl_username,
            "sasl_plain_password": settings.sasl_password.reveal(),
        }
    return options


def admin(
    settings: Settings, *, api_version: ApiVersion | None = None, **further: object
) -> Admin:
    """Connect an admin client."""
    options = connection(settings, api_version=api_version)
    options.update(further)
    return KafkaAdminClient(**options)


def producer(
    settings: Settings, *, api_version: ApiVersion | None = None, **further: object
) -> Producer:
    """Connect a producer that waits for all replicas and makes no topics."""
    options = connection(settings, api_version=api_version)
    options.update(acks="all", allow_auto_create_topics=False)
    options.update(further)
    return KafkaProducer(**options)


def consumer(
    settings: Settings, *, api_version: ApiVersion | None = None, **further: object
) -> Consumer:
    """Connect a consumer without a group, which commits nothing and makes no topics."""
    options = connection(settings, api_version=api_version)
    options.update(
        group_id=None,
        enable_auto_commit=False,
        allow_auto_create_topics=False,
        fetch_max_wait_ms=settings.fetch_wait_ms,
    )
    options.update(further)
    return KafkaConsumer(**options)


def wait_for_broker(
    settings: Settings,
    timeout_seconds: float,
    say: Callable[[str], object],
    *,
    api_version: ApiVersion | None = None,
) -> None:
    """Return when a broker answers.

    Parameters
    ----------
    timeout_seconds
        How long to try; once when 0.
    say
        Told at once what is wrong, and again when the reason changes.

    Raises
    ------
    BrokerRefuses
        At once: to try again would not help.
    BrokerUnreachable
        When none answered in time.
    """
    deadline = time.monotonic() + timeout_seconds
    where = f"cannot reach Kafka at {', '.join(settings.brokers)}"
    said, seconds = "", 1.0
    while reason := _unreachable(settings, seconds, api_version):
        left = deadline - time.monotonic()
        if left <= 0:
            tried = f" (tried for {timeout_seconds:g} s)" if timeout_seconds else ""
            raise BrokerUnreachable(f"{where}: {reason}{tried}")
        if reason != said:
            say(f"{where}: {reason}; trying again for {left:.0f} s")
            said = reason
        time.sleep(min(PAUSE_SECONDS, left))
        seconds = min(2 * seconds, LONGEST_TRY_SECONDS, max(1.0, left))


def _unreachable(
    settings: Settings, seconds: float, api_version: ApiVersion | None
) -> str:
    """Return why no broker answers now, nothing when one does."""
    # Without a look at the ports first, kafka-python would hide the reason, and leave
    # a socket open with each try.
    reasons = [_closed_port(broker) for broker in settings.brokers]
    if all(reasons):
        return reasons[0]
    with _overheard() as heard:
        try:
            _ask(settings, seconds, api_version)
        except (KafkaError, OSError) as error:
            errors = [*heard, error]
            if refusal := _refusal(errors, settings):
                raise BrokerRefuses(refusal) from error
            return _explained(errors, settings)
    return ""


def _closed_port(broker: str) -> str:
    """Return why the broker's port does not open, nothing when it does."""
    host, _, port = broker.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), PROBE_SECONDS).close()
    except OSError as error:
        return error.strerror or f"{error}"
    return ""


def _ask(settings: Settings, seconds: float, api_version: ApiVersion | None) -> None:
    made: list[Any] = []

    def make(**options: object) -> object:
        client: Any = KafkaNetClient(**options)
        made.append(client)
        return client

    timeout_ms = int(seconds * 1000)
    try:
        admin(
            settings,
            api_version=api_version,
            bootstrap_timeout_ms=timeout_ms,
            kafka_client=make,
        ).close()
    except BaseException:
        for client in made:  # kafka-python leaves it running
            client.close()
        raise


@contextlib.contextmanager
def _overheard() -> Iterator[list[Exception]]:
    """Yield the errors that kafka-python logs meanwhile, and keep them off the log."""
    heard: list[Exception] = []

    def hear(record: logging.LogRecord) -> bool:
        args = record.args if isinstance(record.args, Iterable) else ()
        heard.extend(arg for arg in args if isinstance(arg, Exception))
        return False

    handler = logging.Handler(logging.WARNING)
    handler.addFilter(hear)
    logger = logging.getLogger("kafka")
    passes_on = logger.propagate
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield heard
    finally:
        logger.removeHandler(handler)
        logger.propagate = passes_on


def _refusal(errors: list[Exception], settings: Settings) -> str:
    """Return what to mend where trying again is of no use."""
    if any(isinstance(error, SaslAuthenticationFailedError) for error in errors):
        return probe.not_let_in(settings, ", ".join(settings.brokers))
    refusals = (probe.refusal(settings, broker) for broker in settings.brokers)
    return next(filter(None, refusals), "")


def _explained(errors: list[Exception], settings: Settings) -> str:
    """Return the most telling of the errors in words."""
    words = [_reason(error) for error in errors]
    telling = [word for word in words if not _has(word, _SILENT + _DROPPED)]
    if telling:
        return telling[0]
    dropped = [word for word in words if _has(word, _DROPPED)]
    if not dropped:
        return "no answer"
    question = f"is this a listener for {settings.security_protocol}"
    if settings.uses_sasl:
        question += ", and are user name and password right"
    return f"{dropped[0]} ({question}?)"


def _reason(error: Exception) -> str:
    if isinstance(error, KafkaError) and error.args:
        return f"{error.args[0]}"
    return f"{error}"


def _has(text: str, words: tuple[str, ...]) -> bool:
    return any(word in text for word in words)
