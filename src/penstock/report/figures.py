"""What all pictures share: matplotlib draws them as SVG text, for a page or for a separate file."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from penstock.errors import MissingExtraError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of ``width`` x ``height`` inches. Raises :class:`MissingExtraError` without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtraError("drawing figures", "report") from None
    # A Figure object, not pyplot: it needs no global state and no window system.
    return Figure(figsize=(width, height), layout="constrained")


def to_svg(figure: Figure, colours: Mapping[str, str] | None = None, *, prefix: str = "") -> str:
    """The figure as an ``<svg>`` element. Text stays text, and the same data gives the same bytes.

    ``prefix``: begins every id; the figures of one page need different ones. ``colours``: what to write instead of
    a colour such as ``#000000``, so that a page can have dark and light themes.
    """
    import matplotlib as mpl

    buffer = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "penstock", "font.family": "sans-serif"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None}, transparent=colours is not None)
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    for colour, replacement in (colours or {}).items():
        svg = svg.replace(colour, replacement)
    # A hundredth of a point is finer than any screen, and matplotlib writes millionths.
    svg = re.sub(r"(?<=\d\.\d\d)\d+", "", svg)
    # Matplotlib's ids repeat in the figures of one page, but a figure must refer only to its own.
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}\1"', svg)
    svg = re.sub(r'href="#([^"]+)"', rf'href="#{prefix}\1"', svg)
    return re.sub(r"url\(#([^)]+)\)", rf"url(#{prefix}\1)", svg)


def finish(axes: Any) -> None:
    """Set the style that all figures share."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(True, axis="x", color="#e4e4e4", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8)
