"""The words of events as small numbers, so that a batch can be counted with numpy.

The numbers are in order of first appearance, hence differ from worker to worker; they
never show in what a block says. One dictionary look-up an event decides everything
that depends on words alone: cell, error, status class, reason for rejection.
"""

from collections.abc import Callable
from hashlib import blake2b
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from guard.cohort import Cell
from guard.event import LONGEST_WORD, Rejection, kind_of

MOST_WORDS = 200_000  # beyond this the next block begins with new dictionaries

KindKey = tuple[
    str, str | None, str | None, bool, int | str | None, bool | None, str
]  # service, version, cohort, critical, status, error, type


class KindTable(NamedTuple):
    """What each kind's number means; arrays by number."""

    cells: npt.NDArray[np.int64]
    errors: npt.NDArray[np.int64]
    status_classes: npt.NDArray[np.int64]
    rejections: npt.NDArray[np.int64]


class Kinds(dict[KindKey, int]):
    """Numbers of the combinations of words that occur.

    The first numbers are the rejections: what is not counted needs no number of its
    own, and is remembered only where that is short.
    """

    def __init__(self, target_of: Callable[[str], int]) -> None:
        super().__init__()
        self.cells: list[Cell] = []
        self.targets: list[int] = []  # of each cell
        self._target_of = target_of
        self._cell_numbers: dict[Cell, int] = {}
        self._table = np.zeros((len(KindTable._fields), 1024), np.int64)
        self._table[-1, : len(Rejection)] = list(Rejection)
        self._size = len(Rejection)
        self._target_column = np.zeros(0, np.int64)

    def __missing__(self, key: KindKey) -> int:
        service, version, cohort, critical, status, error, type_ = key
        kind = kind_of(service, version, cohort, status, error=error, type_=type_)
        if kind.rejection is not Rejection.NONE:
            if sum(len(str(word)) for word in key) <= LONGEST_WORD:
                self[key] = int(kind.rejection)
            return int(kind.rejection)
        number = self[key] = self._size
        self._size += 1
        if number == self._table.shape[1]:
            self._table = np.hstack((self._table, np.zeros_like(self._table)))
        # A missing name and an empty one are the same: no name.
        cell = self._cell_number(
            Cell(service, version or None, cohort or None, critical)
        )
        self._table[:, number] = cell, kind.is_error, kind.status_class, 0
        return number

    def _cell_number(self, cell: Cell) -> int:
        number = self._cell_numbers.setdefault(cell, len(self.cells))
        if number == len(self.cells):
            self.cells.append(cell)
            self.targets.append(self._target_of(cell.service))
        return number

    def table(self) -> KindTable:
        """What the numbers given so far mean."""
        return KindTable(*self._table)

    def target_column(self) -> npt.NDArray[np.int64]:
        """Target of each cell, as an array."""
        if len(self._target_column) < len(self.targets):
            self._target_column = np.array(self.targets, np.int64)
        return self._target_column


class Instances(dict[str, int]):
    """Numbers of instances' names, and the hashes that decide which ones are kept.

    A name is cut to `LONGEST_WORD` and what is not text in it replaced; names that
    agree in what is left are one.
    """

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.hashes = np.zeros(1024, np.uint64)
        self.blank = self[""]  # the event names no instance

    def __missing__(self, name: str) -> int:
        encoded = name[:LONGEST_WORD].encode(errors="replace")
        kept = encoded.decode()
        if kept != name:
            return self[kept]
        number = self[name] = len(self)
        if number == len(self.hashes):
            self.hashes = np.concatenate((self.hashes, np.zeros_like(self.hashes)))
        self.names.append(name)
        digest = blake2b(encoded, digest_size=8).digest()
        self.hashes[number] = int.from_bytes(digest, "little")
        return number


class Words:
    """The dictionaries that the partitions of a worker share.

    A block keeps the ones it began with.
    """

    def __init__(self, target_of: Callable[[str], int]) -> None:
        self._target_of = target_of
        self._renew()

    def _renew(self) -> None:
        self._kinds, self._instances = Kinds(self._target_of), Instances()

    def current(self) -> tuple[Kinds, Instances]:
        """Return dictionaries to begin a block with."""
        if len(self._kinds) + len(self._instances) > MOST_WORDS:
            self._renew()
        return self._kinds, self._instances
