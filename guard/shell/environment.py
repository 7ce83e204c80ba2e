"""Settings from environment variables and flags.

Every field is a variable: `block_size` is `GUARD_BLOCK_SIZE`. A flag goes before a
variable, a variable before the default. All faults are listed at once, and a
`GUARD_` variable that nobody knows is one: a misspelt setting must not become a
default unseen.
"""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import msgspec
from msgspec import Meta

from guard.fault import hint, nearest, shown
from guard.shell import tls
from guard.shell.settings import Secret, Settings, contradictions

PREFIX = "GUARD_"
PASSWORD_FILE = "sasl_password_file"  # a variable beside the fields: no secret in it

# What Kubernetes puts into every pod for a Service whose name begins with "guard".
_SERVICE_LINK = re.compile(
    r"GUARD_(\w+_)?(SERVICE_(HOST|PORT(_\w+)?)|PORT_\d+_(TCP|UDP|SCTP)(_\w+)?)"
)
_SERVICE_ADDRESS = re.compile(r"(tcp|udp|sctp)://\S+:\d+")

_TYPES: dict[str, Any] = {f.name: f.type for f in msgspec.structs.fields(Settings)}
_DEFAULTS: dict[str, Any] = {
    f.name: f.default for f in msgspec.structs.fields(Settings)
}
_NEWLINES = "\r\n"
_SPACE = {"GUARD_SASL_PASSWORD": _NEWLINES}  # what is none of a value; by default, any
_UPPER = ("security_protocol", "sasl_mechanism")
_LOWER = ("log_format", "log_level")


class SettingsFault(ValueError):  # noqa: N818  # as guard.fault says it
    """The settings are not usable; `faults` are all the reasons, a sentence each."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


def variable(name: str) -> str:
    """Return the environment variable of a field.

    >>> variable("block_size")
    'GUARD_BLOCK_SIZE'
    """
    return PREFIX + name.upper()


def load(environ: Mapping[str, str] | None = None, **flags: object) -> Settings:
    """Read the settings from the environment and from flags.

    Parameters
    ----------
    environ
        Instead of the environment of the process.
    flags
        By field; None means that the flag was not given.

    Raises
    ------
    SettingsFault
        With all faults.
    """
    if unknown := flags.keys() - _TYPES.keys():
        raise TypeError(f"there are no settings {sorted(unknown)}")
    variables = _variables(os.environ if environ is None else environ)
    faults = list(_unknown_variables(variables))
    found: dict[str, object] = {k: v for k, v in variables.items() if k in _TYPES}
    password_faults = list(_read_password(variables, found))
    faults += password_faults
    given = {name: value for name, value in flags.items() if value is not None}
    names = {name: _source(name, is_flag=name in given) for name in _TYPES}
    if variables.get(PASSWORD_FILE):
        names["sasl_password"] = variable(PASSWORD_FILE)
    values: dict[str, Any] = {}
    for name, value in (found | given).items():
        try:
            values[name] = _convert(name, value)
        except msgspec.ValidationError:
            expected = _expected(_TYPES[name])
            faults.append(f"{names[name]} is {shown(value)}, expected {expected}")
    settings = Settings(**values)
    broken = (found | given).keys() - values.keys()
    broken |= {"sasl_password"} if password_faults else set()
    for fields, template in [*contradictions(settings), *tls.faults(settings)]:
        if not broken.intersection(fields):
            faults.append(template.format(*(names[field] for field in fields)))
    if faults:
        raise SettingsFault(faults)
    return settings


def _variables(environ: Mapping[str, str]) -> dict[str, str]:
    return {
        name.removeprefix(PREFIX).lower(): value.strip(_SPACE.get(name))
        for name, value in environ.items()
        if name.startswith(PREFIX) and not _is_service_link(name, value)
    }


def _is_service_link(name: str, value: str) -> bool:
    is_address = name.endswith("_PORT") and _SERVICE_ADDRESS.fullmatch(value)
    return bool(is_address or _SERVICE_LINK.fullmatch(name))


def _source(name: str, *, is_flag: bool) -> str:
    return "--" + name.replace("_", "-") if is_flag else variable(name)


def _unknown_variables(variables: Mapping[str, str]) -> Iterator[str]:
    known = [*_TYPES, PASSWORD_FILE]
    for name in variables:
        if name not in known:
            meant = nearest(name, known)
            question = hint(meant and variable(meant))
            yield f"{variable(name)} is not a setting{question}"


def _read_password(
    variables: Mapping[str, str], found: dict[str, object]
) -> Iterator[str]:
    """Put the password of `GUARD_SASL_PASSWORD_FILE` among what was found."""
    path = variables.get(PASSWORD_FILE)
    if not path:
        return
    name = variable(PASSWORD_FILE)
    if found.get("sasl_password"):
        yield (
            f"{variable('sasl_password')} and {name} are both set, expected one of them"
        )
    # What was taken for a path may be the password: it is not repeated.
    try:
        word = Path(path).read_text(encoding="utf-8").rstrip(_NEWLINES)
    except (OSError, ValueError) as error:
        yield f"{name} names no file that can be read: {_reason(error)}"
        word = ""
    else:
        if not word:
            yield f"{name} names an empty file, expected the password"
    found["sasl_password"] = word


def _reason(error: Exception) -> str:
    match error:
        case UnicodeDecodeError():
            return "it is not text in UTF-8"
        case OSError():
            return str(error.strerror)
        case _:  # such as a null byte in the path
            return str(error)


def _convert(name: str, value: object) -> object:
    """Return the value as its field wants it; empty is what the optional ones lack."""
    if value == "" and not _DEFAULTS[name]:
        return _DEFAULTS[name]
    if isinstance(value, str):
        value = _normalised(name, value)
    return msgspec.convert(value, _TYPES[name], strict=False, dec_hook=_secret)


def _normalised(name: str, value: str) -> object:
    if name == "brokers":
        return tuple(word.strip() for word in value.split(",") if word.strip())
    if name in _UPPER:
        return value.upper()
    return value.lower() if name in _LOWER else value


def _secret(type_: type, value: object) -> object:
    if type_ is Secret and isinstance(value, str | Secret):
        return value if isinstance(value, Secret) else Secret(value)
    raise TypeError(f"{type_.__name__} is not to be had from a value")


def _expected(type_: object) -> str:
    if type_ is bool:
        return "true or false"
    if get_origin(type_) is Literal:
        return "one of " + ", ".join(get_args(type_))
    for part in get_args(type_):
        if isinstance(part, Meta) and part.description:
            return part.description
    return _expected(get_args(type_)[0]) if get_args(type_) else "text"
