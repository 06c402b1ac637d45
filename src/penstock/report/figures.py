"""The pictures: matplotlib draws them, as SVG text that stands in a page or a file of its own."""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from penstock.errors import MissingExtraError
from penstock.record import Outcome, Record
from penstock.report.pools import PoolUse
from penstock.units import US_PER_MS

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of ``width`` x ``height`` inches; :class:`MissingExtraError` without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtraError("drawing figures", "report") from None
    # A Figure of its own, not pyplot: no global state, no window system.
    return Figure(figsize=(width, height), layout="constrained")


def latency_distribution(records: Mapping[str, Record], model: str, colours: Mapping[str, str]) -> Figure:
    """The share of *arrived* requests answered within each latency, per record, with the SLO.

    A curve that ends below 100% shows drops and errors: they never finish.
    """
    figure = new_figure(8.6, 4.2)
    axes = figure.add_subplot()
    slo_ms = 0.0
    for name, record in records.items():
        requests = record.requests
        rows = requests.model == record.models.index(model)
        answered = rows & np.isin(requests.outcome, (Outcome.MET, Outcome.LATE))
        latency_ms = np.sort((requests.finish_us - requests.arrival_us)[answered]) / US_PER_MS
        share = np.arange(1, latency_ms.size + 1) / max(int(rows.sum()), 1)
        axes.step(latency_ms, 100 * share, where="post", color=colours[name], label=name, linewidth=1.6)
        if rows.any():
            slo_ms = max(slo_ms, float((requests.deadline_us - requests.arrival_us)[rows].max()) / US_PER_MS)
    axes.axvline(slo_ms, color="#888888", linestyle="--", linewidth=1)
    axes.annotate("SLO", (slo_ms, 2), xytext=(-2, 0), textcoords="offset points", ha="right", fontsize=8)
    axes.set(xlabel="latency from the intended send time (ms)", ylabel="requests answered (%)", ylim=(0, 101))
    axes.set_xlim(left=0)
    finish(axes)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    return figure


def pool_utilisation(uses: Mapping[str, Sequence[PoolUse]], colours: Mapping[str, str]) -> Figure:
    """One bar a pool, grouped by record: the share of the pool's time spent on batches."""
    rows = [(name, use) for name, pools in uses.items() for use in pools]
    figure = new_figure(8.6, 0.9 + 0.36 * max(len(rows), 1))
    axes = figure.add_subplot()
    for position, (name, use) in enumerate(rows):
        axes.barh(position, 100 * use.utilisation, color=colours[name], height=0.7)
        axes.annotate(
            f"{100 * use.utilisation:.0f}%", (100 * use.utilisation, position), xytext=(3, 0),
            textcoords="offset points", va="center", fontsize=8,
        )  # fmt: skip
    axes.set_yticks(range(len(rows)), [f"{name} — {use.label}" for name, use in rows], fontsize=8)
    axes.invert_yaxis()
    axes.set(xlabel="utilisation of the pool (%)", xlim=(0, 108))
    finish(axes)
    return figure


def to_svg(figure: Figure) -> str:
    """The figure as an ``<svg>`` element, text kept as text, the same bytes for the same data."""
    import matplotlib as mpl

    buffer = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "penstock", "font.family": "sans-serif"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    # Matplotlib's ids repeat between figures of one page; a figure refers to its own only.
    prefix = f"f{zlib.crc32(svg.encode()):08x}-"
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}\1"', svg)
    svg = re.sub(r'href="#([^"]+)"', rf'href="#{prefix}\1"', svg)
    return re.sub(r"url\(#([^)]+)\)", rf"url(#{prefix}\1)", svg)


def finish(axes: Any) -> None:
    """The look that all figures share."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(True, axis="x", color="#e4e4e4", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8)
