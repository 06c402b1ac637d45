"""The sizes of the batches of each stage, beside the planned size."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from penstock.report.figures import finish, new_figure
from penstock.report.findings.promises import StagePromise
from penstock.report.palette import COLOURS
from penstock.report.pictures.picture import WIDTH_IN, Picture, csv_text, shortened

MOST_STAGES = 24
"""The most stages of the picture: those with most batches. The CSV has all."""


def batch_size_picture(name: str, promises: Sequence[StagePromise]) -> Picture:
    """A row for each stage of the run ``name``: the area of a dot is the share of batches of that size."""
    shown = sorted(promises, key=lambda promise: -promise.batches)[:MOST_STAGES]
    shown = [promise for promise in promises if promise in shown]
    figure = new_figure(WIDTH_IN, 1.0 + 0.3 * len(shown))
    axes = figure.add_subplot()
    for row, promise in enumerate(shown):
        share = np.array(promise.sizes) / max(promise.batches, 1)
        axes.scatter(
            np.arange(1, len(share) + 1),
            np.full(len(share), row),
            s=160 * share,
            color=COLOURS[0],
            linewidths=0,
        )
        axes.scatter(
            [promise.plan.piece], [row], s=170, facecolors="none", edgecolors="#888888", linewidths=1
        )
    axes.set_yticks(
        range(len(shown)), [f"{shortened(p.model)} p{p.pipeline} s{p.stage}" for p in shown], fontsize=8
    )
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.set(xlabel="batch size (ring: planned)")
    axes.set_xlim(0, max(promise.plan.piece for promise in shown) + 1)
    finish(axes)
    rows = [
        [promise.label, size, count]
        for promise in promises
        for size, count in enumerate(promise.sizes, 1)
        if count
    ]
    words = (f"{p.label}: mean {p.mean_batch:.2f}, planned {p.plan.piece}" for p in shown[:12])
    return Picture(
        f"Batch sizes in {name}",
        "; ".join(words) + ".",
        figure,
        csv_text(["stage", "size", "batches"], rows),
    )
