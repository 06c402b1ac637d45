"""How busy each pool was, run beside run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from penstock.report.figures import finish, new_figure
from penstock.report.pictures.picture import WIDTH_IN, Picture, csv_text
from penstock.report.pools import PoolUse

MOST_BARS = 40
"""The most bars of the picture: the busiest pools. The CSV has all."""


def pool_bars(uses: Mapping[str, Sequence[PoolUse]], colours: Mapping[str, str]) -> Picture:
    """One bar per pool, grouped by run: the share of the pool's time spent on batches."""
    rows = [(name, use) for name, pools in uses.items() for use in pools]
    busiest = sorted(rows, key=lambda row: -row[1].utilisation)[:MOST_BARS]
    shown = [row for row in rows if row in busiest]
    figure = new_figure(WIDTH_IN, 0.9 + 0.5 * max(len(shown), 1))
    axes = figure.add_subplot()
    for position, (name, use) in enumerate(shown):
        axes.barh(position, 100 * use.utilisation, color=colours[name], height=0.3)
        # The label stands above its bar: beside it, long labels would leave no room on a telephone.
        axes.annotate(
            f"{name}, {use.label}: {100 * use.utilisation:.0f}%", (0, position - 0.2), xytext=(2, 0),
            textcoords="offset points", va="bottom", fontsize=8,
        )  # fmt: skip
    axes.set_yticks([])
    axes.set_ylim(len(shown) - 0.5, -0.75)
    axes.set(xlabel="utilisation of the pool (%)", xlim=(0, 100))
    finish(axes)
    words = (f"{name}, {use.label}: {use.utilisation:.0%}" for name, use in shown[:12])
    return Picture(
        "Utilisation of the pools",
        "; ".join(words) + ".",
        figure,
        csv_text(
            ["run", "pool", "workers", "batches", "mean_batch", "utilisation"],
            [
                [name, use.label, use.workers, use.batches, float(use.mean_batch), float(use.utilisation)]
                for name, use in rows
            ],
        ),
    )
