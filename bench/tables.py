"""Figures with their spread, in tables of Markdown that can be read as they are."""

import os
import platform
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table in Markdown, its columns aligned; numbers belong to the right."""
    lines = [list(header), *(list(map(str, row)) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rule = ["-" * width for width in widths]
    return "\n".join(
        f"| {' | '.join(cell.ljust(w) for cell, w in zip(line, widths, strict=True))} |"
        for line in [lines[0], rule, *lines[1:]]
    )


def spread(values: Sequence[float], form: str = ",.0f") -> str:
    """The median, and the least and the greatest."""
    median = statistics.median(values)
    if len(values) == 1:
        return f"{median:{form}}"
    return f"{median:{form}} ({min(values):{form}} to {max(values):{form}})"


def ratios(above: Sequence[float], below: Sequence[float]) -> list[float]:
    """Round by round: what a slow minute of the machine does to both cancels out."""
    return [a / b for a, b in zip(above, below, strict=True)]


def against(value: float, target: float, form: str = ".2f") -> str:
    """A figure beside its target, where at least the target is wanted."""
    return f"{value:{form}} {'>=' if value >= target else '< !'} {target:{form}}"


def quantile(values: Sequence[float], q: float) -> float:
    """The value at this place of the order, the nearest from above."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))]


def machine() -> str:
    """What the figures were measured on."""
    info = Path("/proc/cpuinfo")
    names = info.read_text().splitlines() if info.exists() else []
    model = next((n.split(":")[1].strip() for n in names if "model name" in n), "")
    return (
        f"{os.cpu_count()} cores{f' ({model})' if model else ''}, "
        f"Python {platform.python_version()}, {platform.system()}"
    )
