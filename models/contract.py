"""What every statistic promises: it can be kept, and most can be joined.

How a statistic takes an observation in differs (one float, two counts, arrays of rows),
so `update` is not in the protocols. What they share is what a stream needs of its
state:

- `state()` gives plain values, and bytes for arrays; `from_state()` makes a statistic
of
  them that will answer, now and after any further updates, with the same bits. Arrays
  are packed little-endian, so a state may be read on another machine.
- A state carries a version. Another version is refused: it is never guessed at.
- `merge()` leaves what one statistic would hold that had seen both streams. `Window`
  and `Drift` are only `Restorable`: seconds are joined before they enter a window, and
  a drift detector depends on the order of its input.
- A statistic that has seen nothing raises `NotEnoughData` on reading.
"""

from collections.abc import Mapping
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
State = dict[str, Any]


class NotEnoughData(ValueError):  # noqa: N818 - it is a reading refused, not a fault
    """A statistic was read before it had seen enough to answer."""


@runtime_checkable
class Restorable(Protocol):
    """A statistic that can be put away and taken out again, bit for bit."""

    def state(self) -> State:
        """Everything there is to know of it, as plain values and bytes."""
        ...

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Make the statistic again; raises ValueError on another version."""
        ...


@runtime_checkable
class Mergeable(Restorable, Protocol):
    """A statistic of which two can be joined."""

    def merge(self, other: Self, /) -> None:
        """Become what one statistic would be that had seen both streams."""
        ...


def check_version(state: Mapping[str, Any], version: int) -> None:
    """Refuse a state of another version.

    Examples
    --------
    >>> check_version({"version": 2}, 1)
    Traceback (most recent call last):
    ValueError: version of the state must be 1, got 2
    """
    if state.get("version") != version:
        raise ValueError(
            f"version of the state must be {version}, got {state.get('version')!r}"
        )


def pack(array: NDArray[Any], code: str = "<i8") -> bytes:
    """Bytes of an array; `code` is numpy's, and names the byte order.

    Examples
    --------
    >>> unpack(pack(np.array([1, -2]))).tolist()
    [1, -2]
    """
    return array.astype(code).tobytes()


def unpack(data: bytes, code: str = "<i8") -> Ints:
    """Integers that were packed with the same `code`, as an array of its own."""
    return np.frombuffer(data, code).astype(np.int64)


def unpack_floats(data: bytes) -> Floats:
    """Floats that were packed with `<f8`, as an array of its own."""
    return np.frombuffer(data, "<f8").astype(np.float64)
