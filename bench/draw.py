"""Draw a benchmark's figure, in an environment that has matplotlib.

The programs call `draw`; it runs this file with that environment's interpreter, which
reads a JSON object from its standard input: `panels`, a list of axes, each with
`title`, `x`, `y`, `lines` (label, xs, ys) and, where so, `log` and `marks` (x, label).
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent


def draw(path: Path, panels: list[dict[str, Any]]) -> None:
    """Write a figure as PNG."""
    from venvs import python_of

    path.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        [python_of(HERE / "requirements.txt"), __file__, str(path)],
        input=json.dumps(panels).encode(),
        check=True,
    )


def main() -> None:
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    panels = json.load(sys.stdin)
    size = (5.2 * len(panels), 3.6)
    figure, axes = plt.subplots(1, len(panels), figsize=size, squeeze=False)
    for panel, ax in zip(panels, axes[0], strict=True):
        for label, xs, ys in panel["lines"]:
            ax.plot(xs, ys, marker=panel.get("marker"), label=label, linewidth=1.2)
        for x, label in panel.get("marks", []):
            ax.axvline(x, color="0.75", linewidth=0.7, zorder=0)
            ax.annotate(label, (x, 0.98), xycoords=("data", "axes fraction"), size=6)
        ax.set(title=panel["title"], xlabel=panel["x"], ylabel=panel["y"])
        if panel.get("log"):
            ax.set(xscale="log", yscale="log")
        else:
            ax.set_ylim(bottom=0)
        ax.grid(visible=True, which="both", linewidth=0.3)
        ax.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(sys.argv[1], dpi=110, metadata={"Software": None})


if __name__ == "__main__":
    main()
