"""A run over time: attainment, misses by cause, requests that wait, busy devices."""

from __future__ import annotations

import numpy as np

from penstock.record import Outcome
from penstock.report.figures import finish, new_figure
from penstock.report.findings.over_time import OverTime
from penstock.report.palette import COLOURS
from penstock.report.pictures.picture import WIDTH_IN, Picture, csv_text
from penstock.units import US_PER_S

_CAUSES = {
    Outcome.LATE: ("late", COLOURS[4]),
    Outcome.DROPPED_EARLY: ("dropped early", COLOURS[1]),
    Outcome.DROPPED_DEADLINE: ("dropped at the deadline", COLOURS[7]),
    Outcome.ERROR: ("error", COLOURS[3]),
    Outcome.CANCELLED: ("client left", COLOURS[6]),
}


def timeline_picture(name: str, series: OverTime, target: float) -> Picture:
    """Panels with one time axis, for the run ``name``."""
    edges_s = (series.edges_us - series.edges_us[0]) / US_PER_S
    step_s = float(edges_s[1] - edges_s[0])
    panels = 4 if series.busy else 3
    figure = new_figure(WIDTH_IN, 1.35 * panels)
    axes = figure.subplots(panels, 1, sharex=True)
    axes[0].stairs(
        100 * np.nan_to_num(series.attainment, nan=100 * target),
        edges_s,
        baseline=None,
        color=COLOURS[0],
        linewidth=1.5,
    )
    axes[0].axhline(100 * target, color="#888888", linestyle="--", linewidth=1)
    least = float(np.nanmin(series.attainment, initial=1.0))
    axes[0].set(ylabel="met SLO (%)", ylim=(10 * np.floor(10 * least) - 2, 102))
    below = np.zeros(len(edges_s) - 1)
    for outcome, (label, colour) in _CAUSES.items():
        rate = series.outcomes[outcome] / step_s
        if rate.any():
            axes[1].stairs(below + rate, edges_s, baseline=below, fill=True, color=colour, label=label)
            below = below + rate
    axes[1].set(ylabel="not met (1/s)")
    if below.any():
        axes[1].legend(frameon=False, fontsize=8, loc="best")
    else:
        axes[1].annotate("none", (0.5, 0.5), xycoords="axes fraction", ha="center", fontsize=9)
        axes[1].set_ylim(0, 1)
    axes[2].plot(edges_s, series.waiting, color=COLOURS[2], linewidth=1.3)
    axes[2].set(ylabel="waiting")
    axes[2].set_ylim(bottom=0)
    for number, (device_class, busy) in enumerate(series.busy.items()):
        axes[3].stairs(
            100 * busy, edges_s, baseline=None, color=COLOURS[number % len(COLOURS)], label=device_class, linewidth=1.4,
            linestyle=("-", "--", ":")[number % 3],
        )  # fmt: skip
    if series.busy:
        axes[3].set(ylabel="busy (%)", ylim=(0, 103))
        axes[3].legend(frameon=False, fontsize=8, loc="best", ncols=min(3, len(series.busy)))
    axes[-1].set(xlabel="time (s)")
    for one in axes:
        finish(one)
    return Picture(f"{name} over time", _words(series), figure, _csv(series, edges_s))


def _words(series: OverTime) -> str:
    attainment = series.attainment[~np.isnan(series.attainment)]
    if not attainment.size:
        return "No request arrived."
    parts = [
        f"Attainment by step is between {attainment.min():.1%} and {attainment.max():.1%}",
        f"at most {int(series.waiting.max())} requests wait",
        *(f"{name} is busy {busy.mean():.0%} of the time" for name, busy in series.busy.items()),
    ]
    missed = {label: int(series.outcomes[outcome].sum()) for outcome, (label, _) in _CAUSES.items()}
    parts.append(", ".join(f"{count} {label}" for label, count in missed.items() if count) or "none missed")
    return "; ".join(parts) + "."


def _csv(series: OverTime, edges_s: np.ndarray) -> str:
    columns = [
        "start_s",
        *(outcome.text for outcome in series.outcomes),
        "waiting",
        *(f"busy_{name}" for name in series.busy),
    ]
    rows = (
        [
            float(edges_s[k]),
            *(int(counts[k]) for counts in series.outcomes.values()),
            int(series.waiting[k]),
            *(float(busy[k]) for busy in series.busy.values()),
        ]
        for k in range(len(edges_s) - 1)
    )
    return csv_text(columns, rows)
