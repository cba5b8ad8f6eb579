"""What all figures have in common: their colours, their look, how they are shown and saved.

The colours are those of M. Okabe and K. Ito, "Color Universal Design" (2008), told apart with any colour
vision; shape, position or words always say the same once more.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from utils import files

CHALLENGER, OPPONENT, GOOD, INK, QUIET = "#0072B2", "#D55E00", "#009E73", "#222222", "#767676"
WIDTH = 8.0  # inches; at 100 points per inch the report's 800 pixels
STYLE: dict[Any, Any] = {
    "axes.edgecolor": "#B0B0B0",
    "axes.facecolor": "white",
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.labelsize": 9,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "figure.dpi": 100,
    "figure.facecolor": "white",
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same picture on every machine
    "font.size": 9,
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "text.color": INK,
    "xtick.color": QUIET,
    "xtick.labelsize": 8,
    "ytick.color": QUIET,
    "ytick.labelsize": 8,
}


class Plot(Figure):
    """A figure that shows itself in a notebook, and that pyplot neither knows nor keeps in memory."""

    _drawn: bytes | None = None

    def png(self) -> bytes:
        """Draw it at twice its size in pixels, for sharp text; only anew if something in it has changed."""
        if self._drawn is None or self.stale:
            buffer = io.BytesIO()
            with rc_context(STYLE):
                self.savefig(buffer, format="png", dpi=200, metadata={"Software": None})
            self._drawn = buffer.getvalue()
            # Whatever changes in it, matplotlib says so by this.
            self.stale = False
        return self._drawn

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        width, height = (int(inches * 100) for inches in self.get_size_inches())
        return self.png(), {"width": width, "height": height}


def save(figure: Plot, path: Path) -> Path:
    """Write a figure as PNG, whole or not at all."""
    return files.write_bytes(path, figure.png())


def explained(title: str, text: str) -> Plot:
    """Say in the place of a figure why there is none."""
    figure = new(title, 1.6)
    figure.text(0.5, 0.4, text, ha="center", va="center", color=QUIET, fontsize=10, wrap=True)
    return figure


def new(title: str, height: float) -> Plot:
    """Begin a figure, 8 inches wide and some high, with a title."""
    with rc_context(STYLE):
        figure = Plot(figsize=(WIDTH, height), layout=ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.09))
        figure.suptitle(title, x=0.012, ha="left", fontsize=12, fontweight="bold")
    return figure
