"""Where the SLO goes: one bar for each pipeline, from a request's arrival to its deadline."""

from __future__ import annotations

from collections.abc import Sequence

from penstock.report.figures import finish, new_figure
from penstock.report.findings.time_parts import PathTime
from penstock.report.palette import COLOURS
from penstock.report.pictures.picture import WIDTH_IN, Picture, csv_text, shortened
from penstock.units import US_PER_MS

MOST_BARS = 24
"""The most pipelines of the picture: those that answered most. The CSV has all."""

_COLOUR = {
    "gather": COLOURS[4],
    "wait": COLOURS[1],
    "queue": COLOURS[7],
    "transfer": COLOURS[3],
    "inference": COLOURS[0],
    "return": COLOURS[9],
}


def time_bars(name: str, paths: Sequence[PathTime]) -> Picture:
    """Mean parts of the run ``name``. What is left of the bar up to the SLO, in grey, is slack."""
    shown = sorted(sorted(paths, key=lambda path: -path.requests)[:MOST_BARS], key=lambda path: path.model)
    figure = new_figure(WIDTH_IN, 1.1 + 0.34 * len(shown))
    axes = figure.add_subplot()
    seen: set[str] = set()
    for row, path in enumerate(shown):
        left = 0.0
        for part in path.parts:
            colour = _COLOUR.get(part.kind, "#c9ced3")
            width = max(part.mean_us, 0.0) / US_PER_MS
            axes.barh(
                row, width, left=left, color=colour, height=0.62, edgecolor="white", linewidth=0.5,
                label="" if part.kind in seen else part.kind,
            )  # fmt: skip
            seen.add(part.kind)
            left += width
        axes.plot([path.slo_us / US_PER_MS] * 2, [row - 0.42, row + 0.42], color="#000000", linewidth=1.2)
    axes.set_yticks(
        range(len(shown)), [f"{shortened(path.model)} p{path.pipeline}" for path in shown], fontsize=8
    )
    axes.invert_yaxis()
    axes.set(xlabel="mean time (ms); the mark is the SLO")
    axes.set_xlim(left=0)
    finish(axes)
    figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    rows = [
        [path.model, path.pipeline, part.label, part.mean_us / US_PER_MS, part.p99_us / US_PER_MS]
        for path in paths
        for part in path.parts
    ]
    return Picture(
        f"Where the SLO goes in {name}",
        " ".join(_words(path) for path in shown[:8]),
        figure,
        csv_text(["model", "pipeline", "part", "mean_ms", "p99_ms"], rows),
    )


def _words(path: PathTime) -> str:
    parts = ", ".join(f"{part.label} {part.mean_us / US_PER_MS:.1f} ms" for part in path.parts)
    return f"{path.model} pipeline {path.pipeline}, SLO {path.slo_us / US_PER_MS:.1f} ms: {parts}."
