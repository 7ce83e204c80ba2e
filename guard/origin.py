"""Where the requests in the windows came from: blocks of the sources, and how late."""

from collections import deque
from typing import Any, NamedTuple

import numpy as np

from guard.pane import Ints
from guard.tally import Second

Source = tuple[str, int]


class _Blocks(NamedTuple):
    """The blocks that one second's requests came from, ascending by row."""

    second: int
    rows: Ints
    sources: Ints
    blocks: Ints


class Origin:
    """What is known of the last so many seconds."""

    def __init__(self, seconds: int) -> None:
        self._seconds = seconds
        self._blocks: deque[_Blocks] = deque()
        self._behind: deque[tuple[int, dict[int, float]]] = deque()
        self._sizes: dict[Source, int] = {}

    def note_size(self, source: Source, block_size: int) -> None:
        """Note how many offsets a block of this source has."""
        self._sizes[source] = block_size

    def add(self, data: Second) -> None:
        """Take in one second."""
        self._blocks.append(_Blocks(data.second, *data.blocks))
        if data.behind:
            self._behind.append((data.second, data.behind))

    def advance(self, second: int) -> None:
        """Drop what is too old now."""
        start = second + 1 - self._seconds
        while self._blocks and self._blocks[0].second < start:
            self._blocks.popleft()
        while self._behind and self._behind[0][0] < start:
            self._behind.popleft()

    def worst_behind(self, row: int, start: int) -> float | None:
        """How late the latest of a row's late requests was, in seconds."""
        found = [
            rows[row]
            for second, rows in self._behind
            if second >= start and row in rows
        ]
        return max(found, default=None)

    def offsets(
        self, sources: list[Source], starts: dict[int, int]
    ) -> dict[str, tuple[int, int]]:
        """First and last offset of the blocks that some rows' requests came from.

        Parameters
        ----------
        sources
            By their numbers.
        starts
            By row the first second that is asked for.
        """
        found: dict[int, tuple[int, int]] = {}
        first = min(starts.values())
        for part in reversed(self._blocks):
            if part.second < first:
                break
            for row, start in starts.items():
                if part.second < start:
                    continue
                low, high = part.rows.searchsorted((row, row + 1)).tolist()
                numbers = part.sources[low:high].tolist()
                for number, block in zip(
                    numbers, part.blocks[low:high].tolist(), strict=True
                ):
                    least, most = found.get(number, (block, block))
                    found[number] = min(least, block), max(most, block)
        named = sorted((sources[number], bounds) for number, bounds in found.items())
        return {
            f"{source[0]}/{source[1]}": (
                low * self._sizes[source],
                (high + 1) * self._sizes[source] - 1,
            )
            for source, (low, high) in named
        }

    def state(self) -> dict[str, Any]:
        """Return everything, for a snapshot."""
        return {
            "blocks": [
                (part.second, *(column.tobytes() for column in part[1:]))
                for part in self._blocks
            ],
            "behind": list(self._behind),
            "sizes": [(*source, size) for source, size in sorted(self._sizes.items())],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken."""
        self._blocks = deque(
            _Blocks(second, *(np.frombuffer(c, np.int64) for c in columns))
            for second, *columns in state["blocks"]
        )
        self._behind = deque((second, dict(rows)) for second, rows in state["behind"])
        self._sizes = {(topic, part): size for topic, part, size in state["sizes"]}
