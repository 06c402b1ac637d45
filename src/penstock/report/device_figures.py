"""Figures of one shared device, from the output of ``penstock device ... --json``.

They show mean and p99 against rate, and fairness by theta, as papers of this field do (Ng, Demoulin, Liu,
"Paella", SOSP 2023, evaluation).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from penstock.report.figures import finish, new_figure
from penstock.report.palette import colours_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Document = Mapping[str, Any]
_PANELS_A_ROW = 4


def draw_latencies(document: Document) -> dict[str, Figure]:
    """By caption: latency over rate of all jobs, and the mean of each model."""
    return {"Latency over rate": _overall(document), "Mean latency over rate by model": _by_model(document)}


def _overall(document: Document) -> Figure:
    figure = new_figure(8.6, 3.8)
    for column, (key, label) in enumerate(
        (("mean_ms", "mean latency (ms)"), ("p99_ms", "p99 latency (ms)")), 1
    ):
        axes = figure.add_subplot(1, 2, column)
        for name, colour in _colours(document).items():
            runs = [run for run in document["runs"] if run["setup"] == name]
            axes.plot(
                [run["offered_rps"] for run in runs],
                [run[key] for run in runs],
                marker=".",
                color=colour,
                label=name if column == 1 else None,
                linewidth=1.3,
            )
        axes.set(xlabel="offered (jobs/s)", ylabel=label, yscale="log")
        finish(axes)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    return figure


def _by_model(document: Document) -> Figure:
    names = [model["name"] for model in document["models"]]
    rows = -(-len(names) // _PANELS_A_ROW)
    figure = new_figure(2.6 * min(len(names), _PANELS_A_ROW), 2.5 * rows + 0.6)
    for place, model in enumerate(names):
        axes = figure.add_subplot(rows, min(len(names), _PANELS_A_ROW), place + 1)
        for name, colour in _colours(document).items():
            runs = [run for run in document["runs"] if run["setup"] == name and model in run["models"]]
            axes.plot(
                [run["offered_rps"] for run in runs],
                [run["models"][model]["mean_ms"] for run in runs],
                marker=".",
                color=colour,
                label=name if place == 0 else None,
                linewidth=1.1,
            )
        axes.set(yscale="log")
        axes.set_title(model[:28], fontsize=8)
        finish(axes)
    figure.supxlabel("offered (jobs/s)", fontsize=9)
    figure.supylabel("mean latency (ms)", fontsize=9)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    return figure


def draw_sweep(document: Document) -> dict[str, Figure]:
    """By caption: the load that each set-up holds, and fairness against latency by theta."""
    return {"Load held by set-up": _held(document), "Fairness by theta": _fairness(document)}


def _held(document: Document) -> Figure:
    rows = document["held"]
    figure = new_figure(8.6, 0.9 + 0.5 * len(rows))
    axes = figure.add_subplot()
    for offset, (key, label, colour) in enumerate(
        (("load_all_jobs", "all jobs", "#1b6ca8"), ("load_every_model", "every model", "#d1603d"))
    ):
        axes.barh(
            [k + 0.4 * offset for k in range(len(rows))],
            [r[key] for r in rows],
            0.38,
            color=colour,
            label=label,
        )
    axes.set_yticks([k + 0.2 for k in range(len(rows))], [row["setup"] for row in rows], fontsize=8)
    axes.invert_yaxis()
    axes.set(xlabel=f"load held at {document['attainment']:.1%} within the SLO")
    finish(axes)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    return figure


def _fairness(document: Document) -> Figure:
    rows = document["theta"]
    figure = new_figure(8.6, 3.4)
    thetas = [row["theta"] for row in rows]
    for column, (key, label) in enumerate(
        (("jain_of_service", "Jain of service"), ("mean_ms", "mean latency (ms)")), 1
    ):
        axes = figure.add_subplot(1, 2, column)
        axes.plot(thetas, [row[key] for row in rows], marker="o", color="#1b6ca8", linewidth=1.3)
        axes.set(xscale="log", xlabel="theta (releases)", ylabel=label)
        finish(axes)
    return figure


def _colours(document: Document) -> dict[str, str]:
    return colours_of(dict.fromkeys(run["setup"] for run in document["runs"]))
