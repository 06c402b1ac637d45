"""What each worker did in the worst second of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from penstock.arrays import F64
from penstock.plan.documents.plan import Plan
from penstock.record import Record
from penstock.report.figures import finish, new_figure
from penstock.report.findings.worst_second import WorstSecond
from penstock.report.palette import COLOURS
from penstock.report.pictures.picture import WIDTH_IN, Picture, csv_text
from penstock.units import US_PER_MS, US_PER_S

if TYPE_CHECKING:
    from matplotlib.path import Path

EDGE_OF_WIDTH = 0.03
"""The white edge of a bar in points for each ms of its length, a tenth of it: a wider edge would hide short bars."""


def gantt_picture(name: str, record: Record, worst: WorstSecond, plan: Plan | None) -> Picture:
    """A row for each worker and a bar for each batch, coloured by model."""
    from matplotlib.patches import PathPatch

    names = _worker_names(plan)
    figure = new_figure(WIDTH_IN, 1.0 + 0.2 * len(worst.workers))
    axes = figure.add_subplot()
    batches = record.batches
    origin_us = int(record.requests.arrival_us.min())
    stop_us = worst.start_us + US_PER_S
    place = {int(worker): row for row, worker in enumerate(worst.workers)}
    for model in np.unique(batches.model[worst.rows]):
        own = worst.rows[batches.model[worst.rows] == model]
        start_us = np.maximum(batches.start_us[own], worst.start_us)
        end_us = np.minimum(batches.end_us[own], stop_us)
        top = np.array([place[int(worker)] for worker in batches.worker[own]]) - 0.4
        left = (start_us - worst.start_us) / US_PER_MS
        right = (end_us - worst.start_us) / US_PER_MS
        # One path for each model: a path for each batch would take most of the time of a page. As an artist, because
        # the limits of the axes are set below, and add_patch would walk along the whole path for them.
        axes.add_artist(
            PathPatch(
                _boxes(left, right, top, top + 0.8),
                facecolor=COLOURS[int(model) % len(COLOURS)],
                edgecolor="white",
                linewidth=min(0.4, EDGE_OF_WIDTH * float(np.quantile(right - left, 0.1))),
            )
        )
    rows = [
        [
            int(batches.worker[row]),
            record.models[int(batches.model[row])],
            int(batches.stage[row]),
            int(batches.batch[row]),
            int(batches.size[row]),
            int(batches.start_us[row]),
            int(batches.end_us[row]),
        ]
        for row in worst.rows
    ]
    axes.set_yticks(
        range(len(worst.workers)), [names.get(int(w), f"worker {w}") for w in worst.workers], fontsize=7
    )
    axes.set_ylim(len(worst.workers) - 0.4, -0.6)
    axes.set(
        xlabel=f"ms after {(worst.start_us - origin_us) / US_PER_S:.2f} s", xlim=(0, US_PER_S / US_PER_MS)
    )
    finish(axes)
    if len(record.models) > 1:
        handles = [
            axes.scatter([], [], marker="s", color=COLOURS[k % len(COLOURS)], label=model)
            for k, model in enumerate(record.models)
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    left_out = worst.all_workers - len(worst.workers)
    more = f" The {len(worst.workers)} busiest of {worst.all_workers} workers are shown." if left_out else ""
    return Picture(
        f"The worst second of {name}",
        f"From {(worst.start_us - origin_us) / US_PER_S:.2f} s on, {worst.missed} of {worst.arrived} requests that "
        f"arrived in one second missed their SLO.{more}",
        figure,
        csv_text(["worker", "model", "stage", "batch", "size", "start_us", "end_us"], rows),
    )


def _boxes(left: F64, right: F64, top: F64, bottom: F64) -> Path:
    """One closed rectangle for each of n sides, (n,)."""
    from matplotlib.path import Path

    corners = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
    points = np.stack([np.stack(corner, axis=1) for corner in corners], axis=1)
    codes = [Path.MOVETO, Path.LINETO, Path.LINETO, Path.LINETO, Path.CLOSEPOLY]
    return Path(points.reshape(-1, 2), np.tile(codes, len(points)))


def _worker_names(plan: Plan | None) -> Mapping[int, str]:
    if plan is None:
        return {}
    if plan.scheduled is not None:
        return {index: f"{name} {device}" for index, (name, device) in enumerate(plan.devices)}
    return {
        worker.worker: f"{worker.worker}: {worker.device_class} {worker.device} s{worker.stage}"
        for worker in plan.placement
    }
