"""Policies as files: read one, or say everything that is wrong in it, line by line."""

from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path as FilePath
from typing import NamedTuple

from guard.fault import Fault
from guard.policy import Policy, parse
from guard.shell import placed_yaml
from guard.shell.placed_yaml import Place, Placed
from guard.shell.policy_schema import json_schema

__all__ = ["PlacedFault", "PolicyFaults", "json_schema", "load", "read"]

LARGEST_BYTES = 1024 * 1024
DEFAULT = "policies/default.yaml"


class PlacedFault(NamedTuple):
    """A fault and where it stands; without a place it is about the file.

    >>> PlacedFault("shop.yaml", Place(3, 9), "is wrong").line
    'shop.yaml:3:9: is wrong'
    """

    file: str
    place: Place | None
    message: str

    @property
    def line(self) -> str:
        """As compilers say it, so that editors can jump there."""
        place = "" if self.place is None else f":{self.place.line}:{self.place.column}"
        return f"{self.file}{place}: {self.message}"


class PolicyFaults(ValueError):  # noqa: N818  it is many
    """Everything that is wrong in a policy; a line each, in the order of the file."""

    def __init__(self, faults: list[PlacedFault]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(fault.line for fault in faults))


def load(path: FilePath | str | None = None) -> Policy:
    """Return the policy in a file; None is the one that the guard ships.

    Raises
    ------
    PolicyFaults
        When the file cannot be read or is at fault anywhere; lists everything.
    """
    if path is None:
        return read(files("guard.shell").joinpath(DEFAULT).read_bytes(), file=DEFAULT)
    try:
        with FilePath(path).open("rb") as source:
            data = source.read(LARGEST_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        why = (error.strerror if isinstance(error, OSError) else None) or error
        raise PolicyFaults([_of_file(path, f"cannot be read: {why}")]) from error
    return read(data, file=str(path))


def read(data: bytes, *, file: str) -> Policy:
    """Return the policy in the bytes of a file called so.

    Raises
    ------
    PolicyFaults
        As ``load``.
    """
    placed = placed_yaml.read(_decode(data, file))
    if not placed.values and not placed.faults:
        raise PolicyFaults([_of_file(file, "is empty")])
    policy, faults = parse(placed.data) if placed.values else (None, [])
    found = _by_place((_place(fault, placed), fault.message) for fault in faults)
    # What is wrong as YAML explains what is wrong as a policy at the same place.
    found |= _by_place(placed.faults)
    if policy is None or found:
        raise PolicyFaults(
            [
                PlacedFault(file, place, message)
                for place in sorted(found)
                for message in found[place]
            ]
        )
    return policy


def _decode(data: bytes, file: str) -> str:
    if len(data) > LARGEST_BYTES:
        raise PolicyFaults([_of_file(file, f"is larger than {LARGEST_BYTES} bytes")])
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        lines = data[: error.start].split(b"\n")
        place = Place(len(lines), len(lines[-1].decode()) + 1)
        raise PolicyFaults([PlacedFault(file, place, "is not UTF-8")]) from error


def _of_file(path: FilePath | str, message: str) -> PlacedFault:
    return PlacedFault(str(path), None, message)


def _by_place(faults: Iterable[tuple[Place, str]]) -> dict[Place, list[str]]:
    found: dict[Place, list[str]] = {}
    for place, message in faults:
        found.setdefault(place, []).append(message)
    return found


def _place(fault: Fault, placed: Placed) -> Place:
    places = placed.keys if fault.at_key else placed.values
    return places[fault.path]
