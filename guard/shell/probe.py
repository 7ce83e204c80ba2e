"""Why a broker will never answer: asked with one request, after a client has failed.

Kafka's clients tell a wrong listener, a wrong password and a dead broker by nothing but
a dropped connection. A SASL handshake, which every listener answers, tells them apart.
"""

import contextlib
import socket
import ssl
import struct
from collections.abc import Callable
from typing import Any, NamedTuple

from kafka.net.sasl import get_sasl_mechanism

from guard.shell import tls
from guard.shell.settings import Settings

ANSWER_SECONDS = 2.0
_SASL_HANDSHAKE, _SASL_AUTHENTICATE = 17, 36  # Kafka's API keys
_NO_SASL_HERE, _NOT_LET_IN = 34, 58  # Kafka's errors ILLEGAL_SASL_STATE, …_FAILED
_CORRELATION = 0x67756172


class Answer(NamedTuple):
    """What a listener says to a SASL handshake."""

    code: int
    mechanisms: list[str]


def refusal(settings: Settings, broker: str) -> str:
    """Return why the broker cannot be used with these settings, as a sentence.

    Nothing when it may be only down, busy or starting.
    """
    try:
        context = tls.context(settings) if settings.uses_tls else None
        user = settings if settings.uses_sasl else None
        answer = _handshake(broker, settings.sasl_mechanism or "", context, user)
    except ssl.SSLCertVerificationError as error:
        return _untrusted(settings, broker, error)
    except TimeoutError:
        return ""
    except OSError as error:
        if _is_about_our_certificate(error):
            return (
                f"Kafka at {broker} does not accept the client's certificate"
                f" ({_alert(error)}): GUARD_SSL_CERTFILE must name one that it trusts"
            )
        return _other_encryption(settings, broker)
    return _other_authentication(settings, broker, answer)


def _handshake(
    broker: str,
    mechanism: str,
    context: ssl.SSLContext | None,
    user: Settings | None = None,
) -> Answer:
    """Ask for a mechanism, and with a user whether the password is right."""
    host, _, port = broker.rpartition(":")
    host, name = host.strip("[]"), mechanism.encode()
    with contextlib.ExitStack() as stack:
        connection: socket.socket = stack.enter_context(
            socket.create_connection((host, int(port)), ANSWER_SECONDS)
        )
        if context is not None:
            connection = stack.enter_context(
                context.wrap_socket(connection, server_hostname=host)
            )
        read = stack.enter_context(connection.makefile("rb")).read
        try:
            _send(connection, _SASL_HANDSHAKE, 1, struct.pack(">h", len(name)) + name)
            answer = _read(read)
            if user is not None and answer.code == 0:
                code = _authenticate(connection, read, user, host)
                answer = answer._replace(code=code)
        except struct.error as error:  # less than was asked for
            raise ConnectionError("the connection was closed") from error
    return answer


def _send(connection: socket.socket, key: int, version: int, body: bytes) -> None:
    request = struct.pack(">hhih", key, version, _CORRELATION, -1) + body
    connection.sendall(struct.pack(">i", len(request)) + request)


def _read(read: Callable[[int], bytes]) -> Answer:
    _, correlation, code, count = struct.unpack(">iihi", read(14))
    if correlation != _CORRELATION:
        raise ConnectionError("this is not Kafka's answer")
    lengths = (struct.unpack(">h", read(2))[0] for _ in range(count))
    return Answer(code, [read(length).decode() for length in lengths])


def _authenticate(
    connection: socket.socket,
    read: Callable[[int], bytes],
    user: Settings,
    host: str,
) -> int:
    """Return Kafka's error code, 0 when it lets the user in."""
    mechanism: Any = get_sasl_mechanism(user.sasl_mechanism)(
        host=host,
        sasl_mechanism=user.sasl_mechanism,
        sasl_plain_username=user.sasl_username,
        sasl_plain_password=user.sasl_password.reveal(),
        security_protocol=user.security_protocol,
    )
    while not mechanism.is_done():
        token = mechanism.auth_bytes()
        body = struct.pack(">i", len(token)) + token
        _send(connection, _SASL_AUTHENTICATE, 0, body)
        code, length = struct.unpack(">8xhh", read(12))
        read(max(0, length))
        (size,) = struct.unpack(">i", read(4))
        if code:
            return int(code)
        mechanism.receive(read(size))
    return 0


def _untrusted(
    settings: Settings, broker: str, error: ssl.SSLCertVerificationError
) -> str:
    host = broker.rpartition(":")[0].strip("[]")
    whose = f"the certificate of Kafka at {broker}"
    match error.verify_code:
        case 10:  # OpenSSL's X509_V_ERR_…
            return f"{whose} has expired: Kafka needs a new one"
        case 9:
            return f"{whose} is not valid yet: is a clock wrong, here or there?"
        case 62 | 64:
            return (
                f'{whose} is not for "{host}": GUARD_BROKERS must use a name that is'
                " in it"
            )
    if settings.ssl_cafile:
        return (
            f"{whose} is not signed by the CA in GUARD_SSL_CAFILE"
            f" ({error.verify_message})"
        )
    return (
        f"{whose} is signed by nobody whom this machine trusts"
        f" ({error.verify_message}): GUARD_SSL_CAFILE must name its CA's certificate"
    )


def _alert(error: OSError) -> str:
    return str(getattr(error, "reason", None) or "").lower().replace("_", " ")


def _is_about_our_certificate(error: OSError) -> bool:
    words = _alert(error)
    is_alert = "alert" in words
    return is_alert and any(
        word in words for word in ("certificate", "unknown ca", "handshake failure")
    )


def _other_encryption(settings: Settings, broker: str) -> str:
    protocol = settings.security_protocol
    try:
        _handshake(broker, "", None if settings.uses_tls else _trusting())
    except OSError as error:
        if settings.uses_tls or not _is_about_our_certificate(error):
            return ""
    if settings.uses_tls:
        return (
            f"Kafka at {broker} does not use TLS there, but GUARD_SECURITY_PROTOCOL is"
            f" {protocol}: choose its TLS listener, or"
            f" {'SASL_PLAINTEXT' if settings.uses_sasl else 'PLAINTEXT'}"
        )
    return (
        f"Kafka at {broker} uses TLS there, but GUARD_SECURITY_PROTOCOL is {protocol}:"
        f" set it to {'SASL_SSL' if settings.uses_sasl else 'SSL or SASL_SSL'}"
    )


def _trusting() -> ssl.SSLContext:
    """Return what talks to anyone: it is told nothing and believed nothing."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = False
    made.verify_mode = ssl.CERT_NONE
    return made


def _other_authentication(settings: Settings, broker: str, answer: Answer) -> str:
    protocol, mechanism = settings.security_protocol, settings.sasl_mechanism
    has_sasl = answer.code != _NO_SASL_HERE
    if settings.uses_sasl and not has_sasl:
        return (
            f"Kafka at {broker} does not use SASL there, but GUARD_SECURITY_PROTOCOL is"
            f" {protocol}: set it to {protocol.removeprefix('SASL_')}"
        )
    if has_sasl and not settings.uses_sasl:
        return (
            f"Kafka at {broker} wants SASL, but GUARD_SECURITY_PROTOCOL is {protocol}:"
            f" set it to SASL_{protocol}"
        )
    if has_sasl and mechanism not in answer.mechanisms:
        return (
            f"Kafka at {broker} does not know GUARD_SASL_MECHANISM {mechanism}, but"
            f" {', '.join(answer.mechanisms)}"
        )
    if answer.code == _NOT_LET_IN:
        return not_let_in(settings, broker)
    return ""


def not_let_in(settings: Settings, where: str) -> str:
    """Return the sentence about a password that is wrong."""
    return (
        f'Kafka at {where} refuses user "{settings.sasl_username}": the user name or'
        f" the password is wrong (SASL mechanism {settings.sasl_mechanism})"
    )
