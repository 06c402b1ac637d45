"""The pictures of results. Figures are objects of matplotlib without global state; a notebook shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from penstock.report.figures import new_figure
from penstock.report.palette import COLOURS, colours_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Points = Sequence[tuple[float, float]]


def bars(names: Sequence[str], values: Sequence[float], label: str) -> Figure:
    """A horizontal bar for each name."""
    figure = new_figure(8.0, 0.8 + 0.35 * max(len(names), 1))
    axes = figure.add_subplot()
    axes.barh(list(names), list(values), color=COLOURS[0])
    axes.invert_yaxis()
    axes.set(xlabel=label)
    return figure


def stacked(names: Sequence[str], shares: Mapping[str, Sequence[float]], label: str) -> Figure:
    """A horizontal bar for each name, of the parts in ``shares`` (each as long as ``names``)."""
    figure = new_figure(8.0, 1.2 + 0.35 * max(len(names), 1))
    axes = figure.add_subplot()
    colours = colours_of(shares)
    left = [0.0] * len(names)
    for part, values in shares.items():
        axes.barh(list(names), list(values), left=left, color=colours[part], label=part)
        left = [start + value for start, value in zip(left, values, strict=True)]
    axes.invert_yaxis()
    axes.set(xlabel=label)
    figure.legend(loc="outside lower center", ncols=len(shares), frameon=False, fontsize=8)
    return figure


def lines(curves: Mapping[str, Points], x_label: str, y_label: str, *, level: float | None = None) -> Figure:
    """A line through the points of each curve, and a dashed one at ``level``."""
    figure = new_figure(7.0, 4.0)
    axes = figure.add_subplot()
    for name, colour in colours_of(curves).items():
        x, y = zip(*curves[name], strict=True) if curves[name] else ((), ())
        axes.plot(x, y, marker="o", markersize=3, color=colour, label=name)
    if level is not None:
        axes.axhline(level, color="#888888", linestyle="--", linewidth=1)
    axes.set(xlabel=x_label, ylabel=y_label)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    return figure
