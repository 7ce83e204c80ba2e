"""TLS as the settings want it: one context for every client, and what it cannot be."""

import ssl
from collections.abc import Iterator
from pathlib import Path

from guard.shell.settings import Contradiction, Settings


def context(settings: Settings) -> ssl.SSLContext:
    """Return what checks Kafka's certificate and host name, and shows ours."""
    made = ssl.create_default_context(cafile=settings.ssl_cafile or None)
    if settings.ssl_certfile:
        made.load_cert_chain(
            settings.ssl_certfile, settings.ssl_keyfile or None, password=_no_password
        )
    return made


def faults(settings: Settings) -> Iterator[Contradiction]:
    """Yield why there can be no such context: files that do not hold what they must."""
    if not settings.uses_tls:
        return
    missing = list(_unreadable(settings))
    yield from missing
    if not missing:
        yield from _unusable(settings)


def _unreadable(settings: Settings) -> Iterator[Contradiction]:
    for field in ("ssl_cafile", "ssl_certfile", "ssl_keyfile"):
        path: str | None = getattr(settings, field)
        if path and not Path(path).is_file():
            yield Contradiction((field,), "{0} names no file")
        elif path:
            try:
                Path(path).read_bytes()
            except OSError as error:
                template = f"{{0}} cannot be read: {error.strerror}"
                yield Contradiction((field,), template)


def _unusable(settings: Settings) -> Iterator[Contradiction]:
    try:
        ssl.create_default_context(cafile=settings.ssl_cafile or None)
    except OSError:  # ssl.SSLError is one
        yield Contradiction(("ssl_cafile",), "{0} holds no certificate in PEM")
        return
    try:
        context(settings)
    except _HasPassword:
        fields = ("ssl_keyfile", "ssl_certfile")
        field = fields[0] if settings.ssl_keyfile else fields[1]
        template = "{0} holds a key with a password, expected one without"
        yield Contradiction((field,), template)
    except OSError as error:
        yield _no_pair(settings, error)


def _no_pair(settings: Settings, error: OSError) -> Contradiction:
    fits = getattr(error, "reason", None) != "KEY_VALUES_MISMATCH"
    if not settings.ssl_keyfile:
        template = "{0} holds no certificate in PEM with its key, and {1} is not set"
    elif fits:
        template = "{0} and {1} hold no certificate and key in PEM"
    else:
        template = "{0} and {1} do not belong together: the key is another's"
    return Contradiction(("ssl_certfile", "ssl_keyfile"), template)


class _HasPassword(Exception):  # noqa: N818  # no fault of the program
    """A key cannot be read without its password."""


def _no_password() -> str:
    """Keep OpenSSL from asking on the terminal."""
    raise _HasPassword
