"""The least price at which whole workers serve a rate of one model, over all templates: the block of the bound.

The templates near the relaxation's prices are listed; what is not listed counts with a lower bound of its price. So the
result is a bound over all templates, and nearly always exact. A *cover* is a choice of pipelines that serve a rate
together: a covering knapsack problem (Martello, Toth, "Knapsack Problems", 1990, section 2.6), over :data:`CELLS` parts
of the largest useful rate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from penstock.arrays import F64, I64
from penstock.plan.exact.objective import needed_workers
from penstock.plan.large.whole_worker_kernels import Cheapest, cheapest_covers, cheapest_pipelines
from penstock.plan.templates.fleet import Prices
from penstock.plan.templates.path_kernels import completions, least_cost
from penstock.plan.templates.pricing import near_best
from penstock.plan.templates.space import TemplateSpace
from penstock.plan.templates.table import Templates

CELLS = 4000
"""Parts of the largest useful rate of a model. Each pipeline serves up to one part too much."""

MOST_LOSS = 1.2
"""Templates are listed that cost up to this part more for a request than the best, if they are few enough."""

NEAR = 0.9
"""Prices are exact for rates above this part of the largest useful rate, if enough templates are listed."""

FIRST_LOSS, MORE_LOSS = 0.05, 2.0
"""Pipelines are looked at that lose this part of the price of the largest useful rate; more by this factor, if the
cheapest covers lose as much."""


@dataclass(frozen=True)
class Covers:
    """The cheapest covers of a model at prices.

    By number of cells (:data:`CELLS` + 1,): the ``least`` price; ``last``, the cells of the pipeline that was added
    last; ``pipelines``; and ``outside``, the least price of all that is not among these.
    """

    most_rps: float
    least: F64
    last: I64
    pipelines: Cheapest
    outside: F64

    def cells_of(self, rate_rps: float) -> int:
        """Cells that pipelines which serve ``rate_rps`` fill."""
        return min(int(rate_rps / self.most_rps * CELLS + 1e-9), CELLS)

    def price_of(self, rate_rps: float) -> float:
        """No whole workers serve ``rate_rps`` for less."""
        cells = self.cells_of(rate_rps)
        with_outside = self.least[cells::-1] + self.outside[: cells + 1]
        return float(min(self.least[cells], with_outside[1:].min(initial=np.inf)))

    def cheapest(self, rate_rps: float) -> list[tuple[int, float]]:
        """The rows and rates of the pipelines of a cheapest cover, of those that are listed."""
        cells, found = self.cells_of(rate_rps), []
        while cells > 0:
            size = int(self.last[cells])
            found.append((int(self.pipelines.row[size]), float(self.pipelines.rate_rps[size])))
            cells -= size
        return found


@dataclass(frozen=True)
class CoverFinder:
    """Finds the covers of one model at any prices.

    ``templates``: those that are listed. At ``prices`` (classes,), any pipeline of another template costs at least
    ``far_price`` for each request per second, and at least ``smallest``.
    """

    templates: Templates
    most_rps: float
    prices: F64
    far_price: float
    smallest: float

    @classmethod
    def of(cls, space: TemplateSpace, prices: Prices, most_rps: float, most_listed: int) -> CoverFinder:
        """Lists at most ``most_listed`` templates of ``space``, for rates up to ``most_rps``."""
        templates, loss = near_best(space, prices, MOST_LOSS, most_listed)
        far_price = float(prices.rate[space.model]) * (1.0 + max(loss, 0.0))
        return cls(templates, most_rps, prices.device, far_price, _smallest(space, prices.device))

    def at(self, device_price: F64) -> Covers:
        """The cheapest covers at ``device_price`` (classes,).

        Pipelines of larger loss than needed are not looked at: they count with a bound of their price.
        """
        price = worker_price(self.templates, device_price)
        # At other prices, whatever is not listed costs at least this part of what it cost.
        priced = self.prices > 0.0
        part = float((device_price[priced] / self.prices[priced]).min()) if priced.any() else 1.0
        cheapest = float((price / self.templates.worker_rps).sum(axis=1).min(initial=np.inf))
        request_price = min(cheapest, part * self.far_price)
        scale = cheapest * self.most_rps
        # What is outside may end within its last cell.
        rate = self.most_rps / CELLS * np.maximum(np.arange(CELLS + 1) - 1, 0)
        unlisted = part * np.maximum(self.far_price * rate, self.smallest)
        looked_at, near = FIRST_LOSS, int(NEAR * CELLS)
        while True:
            most_loss = looked_at * scale
            pipelines = cheapest_pipelines(
                self.templates.worker_rps,
                price,
                self.templates.pieces,
                request_price,
                most_loss,
                self.most_rps,
                CELLS,
            )
            size = _useful(pipelines.price)
            least, last = cheapest_covers(size, pipelines.price[size], CELLS)
            losses = least[near:] - request_price * self.most_rps / CELLS * np.arange(near, CELLS + 1)
            if losses.max() <= most_loss or not len(self.templates):
                outside = np.minimum(unlisted, request_price * rate + most_loss)
                return Covers(self.most_rps, least, size[last] if len(size) else last, pipelines, outside)
            looked_at *= MORE_LOSS

    def workers(self, pipelines: Sequence[tuple[int, float]]) -> I64:
        """The whole workers of ``pipelines``, rows and rates: (templates, stages)."""
        row, need = self._needed(pipelines)
        found = np.zeros_like(self.templates.share)
        np.add.at(found, row, need.astype(np.int64))
        return found

    def devices(self, pipelines: Sequence[tuple[int, float]], classes: int) -> F64:
        """The devices that they take, the sum of the parts of their workers: (classes,)."""
        row, need = self._needed(pipelines)
        device_class, share = self.templates.device_class[row], self.templates.share[row]
        used = device_class >= 0
        parts = need / np.maximum(share, 1)
        return np.asarray(np.bincount(device_class[used], parts[used], classes), np.float64)

    def _needed(self, pipelines: Sequence[tuple[int, float]]) -> tuple[I64, F64]:
        """The row of each pipeline, and its workers (pipelines, stages)."""
        row = np.array([row for row, _ in pipelines], np.int64)
        rate_rps = np.array([rate_rps for _, rate_rps in pipelines], np.float64)[:, None]
        return row, needed_workers(self.templates.take(row), rate_rps)


def worker_price(templates: Templates, device_price: F64) -> F64:
    """The price of a worker: (templates, stages), 0 if there is no such stage."""
    price = device_price[templates.device_class] / np.maximum(templates.share, 1)
    return np.where(templates.device_class >= 0, price, 0.0)


def _useful(price: F64) -> NDArray[np.intp]:
    """The sizes whose pipeline is cheaper than all larger ones."""
    larger = np.append(np.minimum.accumulate(price[::-1])[::-1][1:], np.inf)
    return np.flatnonzero(np.isfinite(price) & (price < larger))


def _smallest(space: TemplateSpace, device_price: F64) -> float:
    """The least price of any pipeline: one worker at each stage."""
    arcs = space.arcs
    price = device_price[space.device_class[arcs.unit]] / space.share[arcs.unit]
    least = np.inf
    for batch in space.batches.tolist():
        can_run = np.isfinite(arcs.device_us[batch - 1])
        graph = space.graph(batch, np.where(can_run, price, np.inf), least)
        least = min(least, least_cost(graph, completions(graph)))
    return float(least)
