"""How the messages of the sources hang together, as the judge sees them.

A message covers a stretch `[start, to)` of its source's watermark inside one block. A
block's first message begins at `START`; its `last` one closes it. The judge stands, for
each source, at (block, second): at `START` of the next block after a `last`. It takes
what goes on from where it stands: of a message that begins earlier only the seconds
beyond, of one that ends earlier nothing (a repeat), a `last` of its block always. One
that begins later means that something before it was never acknowledged, and everything
from there will come again. A jump is taken forward only.

The position is not the watermark: that never goes back, while every block begins at
`START` anew. A pane of a second that its own source's watermark has passed is late;
"closed already" would depend on the other sources. A second closes when the watermark
of every source has passed it; there are as many sources as the greatest number that a
message told, and a new one begins at the second closed so far.
"""

import enum
from collections.abc import Iterable

import msgspec

from guard.pane import START, Panes

SourceKey = tuple[str, int]


class Taken(enum.Enum):
    """What the judge does with a message."""

    GOES_ON = "goes_on"
    REPEAT = "repeat"
    GAP = "gap"  # something before it is missing and will come again


class Link(msgspec.Struct):
    """Where the judge stands in one source."""

    block_size: int = 0  # 0: before the first message
    block: int = 0
    second: int = START
    watermark: int = START


class Chain:
    """Positions and watermarks of all sources of one target partition."""

    __slots__ = ("_links", "closed")

    def __init__(self) -> None:
        self._links: dict[SourceKey, Link] = {}
        self.closed = START  # every second before it is closed

    def take(self, panes: Panes) -> tuple[Taken, int, int]:
        """Go on by this message, or not.

        Returns what was done, the first second of it that is new, and the watermark of
        its source before it: panes of earlier seconds than that are late.
        """
        self._expect(panes)
        link = self._links[panes.source]
        block, second = link.block, link.second
        size = link.block_size or panes.block_size
        if _begins_anew(panes, size, block):
            size, block, second = panes.block_size, panes.block, START
        taken = _compare(panes, size, block, second)
        before = link.watermark
        if taken is Taken.GOES_ON:
            link.block_size = panes.block_size
            link.watermark = max(link.watermark, panes.to)
            link.block = panes.block + panes.is_last
            link.second = START if panes.is_last else panes.to
        return taken, second, before

    def passed(self) -> int:
        """Every second before this one can close."""
        if not self._links:
            return START
        return min(link.watermark for link in self._links.values())

    def slowest(self) -> SourceKey | None:
        """The source that holds everything up."""
        if not self._links:
            return None
        return min(self._links, key=lambda key: (self._links[key].watermark, key))

    def watermarks(self) -> Iterable[tuple[SourceKey, int]]:
        """Each source's watermark, in seconds; `FOREVER` after a replay's end."""
        return ((key, link.watermark) for key, link in self._links.items())

    def _expect(self, panes: Panes) -> None:
        """Wait for every source there is; the message's own may be newer than told."""
        told = {panes.topic: panes.partition + 1, **panes.sources}
        told[panes.topic] = max(told[panes.topic], panes.partition + 1)
        for topic, partitions in told.items():
            if (topic, partitions - 1) in self._links:
                continue
            for partition in range(partitions):
                key = topic, partition
                self._links.setdefault(key, Link(watermark=self.closed))

    def state(self) -> list[tuple[str, int, Link]]:
        """Return positions and watermarks, in the order of the sources."""
        return [
            (*key, msgspec.structs.replace(self._links[key]))
            for key in sorted(self._links)
        ]

    @classmethod
    def from_state(cls, links: list[tuple[str, int, Link]], closed: int) -> "Chain":
        """Go on where `state` was taken."""
        chain = cls()
        chain._links = {(topic, partition): link for topic, partition, link in links}
        chain.closed = closed
        return chain


def _begins_anew(panes: Panes, size: int, block: int) -> bool:
    """Whether to leave the place for that of the message: a jump is taken.

    Blocks of another size are a jump, too, where a source is read from its beginning.
    """
    if panes.block_size == size:
        return panes.is_jump and panes.block > block
    return panes.is_jump or (panes.block == 0 and panes.start == START)


def _compare(panes: Panes, size: int, block: int, second: int) -> Taken:
    if panes.block_size != size or panes.block > block:
        return Taken.GAP
    if panes.block < block:
        return Taken.REPEAT
    if panes.start > second:
        return Taken.GAP
    if panes.to <= second and not panes.is_last:
        return Taken.REPEAT
    return Taken.GOES_ON
