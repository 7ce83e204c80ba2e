"""Draw `docs/demo.svg`: what a terminal shows of a real `guard demo`.

    python bench/make_demo_picture.py [FILE]

The demo runs as it always does, on a terminal that keeps what it shows. Only the live
table is drawn once, below the rollback, as it stood then.
"""

import contextlib
import io
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.terminal_theme import TerminalTheme

from guard.decision import Decision
from guard.shell.commands import demo
from guard.shell.commands.demo_view import print_decision

PICTURE = Path(__file__).resolve().parent.parent / "docs" / "demo.svg"
WIDTH = 112
SPEED = 12.0
THEME = TerminalTheme(
    (22, 27, 34),
    (201, 209, 217),
    [
        (13, 17, 23),
        (218, 54, 51),
        (86, 211, 100),
        (227, 179, 65),
        (121, 192, 255),
        (210, 168, 255),
        (86, 212, 221),
        (240, 246, 252),
    ],
    [
        (110, 118, 129),
        (255, 161, 152),
        (126, 231, 135),
        (242, 204, 96),
        (165, 214, 255),
        (226, 197, 255),
        (179, 240, 255),
        (255, 255, 255),
    ],
)


class Shown(demo.Demo):
    """The demo with one frame of its live table instead of all of them."""

    @contextlib.contextmanager
    def _shown(self) -> Iterator[None]:
        demo.print_decision = self._print
        yield

    def _print(self, console: Console, decision: Decision, origin: float) -> None:
        print_decision(console, decision, origin)
        if decision.decision == "rollback":
            console.print()
            console.print(self._render())


def terminal() -> Console:
    """A terminal that keeps what it shows, and does not turn a wheel."""
    console = Console(
        record=True,
        force_terminal=True,
        color_system="truecolor",
        width=WIDTH,
        file=io.StringIO(),
    )
    console.status = lambda *_, **__: contextlib.nullcontext()  # type: ignore[method-assign]
    return console


def main() -> int:
    picture = Path(sys.argv[1]) if sys.argv[1:] else PICTURE
    console = terminal()
    console.print("[green]$[/] make demo", highlight=False)
    demo.Console = lambda **_: console
    demo.Demo = Shown
    status = demo.run_demo(speed=SPEED)
    # The fonts named there would be fetched from elsewhere; any monospace one will do.
    frame = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    frame = frame.replace("Fira Code", "ui-monospace, Menlo, Consolas")
    picture.write_text(
        console.export_svg(title="rollback-guard", theme=THEME, code_format=frame)
    )
    return status


if __name__ == "__main__":
    sys.exit(main())
