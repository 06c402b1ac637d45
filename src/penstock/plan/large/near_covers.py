"""Many covers of one model that cost little more than the cheapest, so that whole covers of all models fit together.

All pipelines that lose little are listed once. Then the cheapest covers are looked for at prices drawn near those of
the bound: each draw gives other devices to the same rate. One dynamic program gives the covers of all rates, so a part
of a rate may be served as one draw does, and the rest as another one does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from penstock.arrays import F64, I64
from penstock.plan.exact.objective import needed_workers
from penstock.plan.large.cheapest_covers import CELLS, CoverFinder, worker_price
from penstock.plan.large.whole_worker_kernels import Listed, draw_covers, list_pipelines
from penstock.plan.templates.fleet import Fleet
from penstock.plan.templates.table import Templates

WIDEST, NARROWER, NARROWEST = 0.08, 1.7, 1e-6
"""How much more than the cheapest cover a pipeline and the cheapest rest may cost: this part at first, then less by the
second figure until the pipelines are few enough."""

MOST_PIPELINES = 2**16

DRAWS, TRIES = 40, 25
"""Prices that are drawn, and the covers that are made at each, for each rate."""

CLASS_SPREAD = 0.15
"""Standard deviation of the logarithm of the price of a class in the draw that goes farthest; most stay nearer."""

MOST_COVERS = 1500
"""Covers of a model that are looked at for one rate, the cheapest."""

DEPTH = 24
"""The most pipelines of a cover."""


@dataclass(frozen=True)
class NearCovers:
    """``rate_rps`` and ``price`` (covers,), ``devices`` (covers, classes).

    Cover ``k`` has the pipelines ``items[k]`` of ``listed``, padded with -1 to :data:`DEPTH`.
    """

    rate_rps: F64
    devices: F64
    price: F64
    items: I64
    listed: Listed

    def pipelines(self, cover: int) -> list[tuple[int, float]]:
        """The rows of templates and the rates of the pipelines of ``cover``."""
        items = self.items[cover][self.items[cover] >= 0]
        return list(zip(self.listed.row[items].tolist(), self.listed.rate_rps[items].tolist(), strict=True))

    def serving(self, rate_rps: float) -> NearCovers:
        """Those that serve ``rate_rps``, less those that need as many devices as another one of every class."""
        rows = np.flatnonzero(self.rate_rps >= rate_rps * (1 - 1e-9))
        rows = rows[np.argsort(self.price[rows], kind="stable")[:MOST_COVERS]]
        kept: list[int] = []
        for cover in rows.tolist():
            if not (self.devices[kept] <= self.devices[cover] + 1e-9).all(axis=1).any():
                kept.append(cover)
        return NearCovers(
            self.rate_rps[kept], self.devices[kept], self.price[kept], self.items[kept], self.listed
        )


def near_covers(
    finder: CoverFinder, fleet: Fleet, device_price: F64, rates_rps: Sequence[float], seed: int
) -> NearCovers:
    """Covers of each of ``rates_rps`` at :data:`DRAWS` prices near ``device_price``."""
    listed = _near_pipelines(finder, device_price)
    by_item = _devices(finder, listed, fleet)
    rng = np.random.default_rng(seed)
    spread = CLASS_SPREAD * np.linspace(0.0, 1.0, DRAWS)[:, None] ** 2
    drawn = device_price * np.exp(spread * rng.normal(size=(DRAWS, len(device_price))))
    step = finder.most_rps / CELLS
    # Rounded down: a cover serves what it fills.
    size = np.floor(np.minimum(listed.rate_rps / step, CELLS) + 1e-9).astype(np.int64)
    filled = np.array([min(math.ceil(rate / step - 1e-9), CELLS) for rate in rates_rps])
    items = draw_covers(size, drawn @ by_item.sum(axis=1).T, filled, CELLS, TRIES, DEPTH, seed)
    items = np.unique(np.sort(items.reshape(-1, DEPTH), axis=1), axis=0)
    items = items[items[:, -1] >= 0]
    by_stage = np.concatenate([by_item, np.zeros((1, *by_item.shape[1:]))])[items].sum(axis=1)
    if not fleet.share_devices:
        by_stage = np.ceil(by_stage - 1e-9)
    devices = by_stage.sum(axis=1)
    rate = np.append(listed.rate_rps, 0.0)[items].sum(axis=1)
    return NearCovers(rate, devices, devices @ device_price, items, listed)


def _near_pipelines(finder: CoverFinder, device_price: F64) -> Listed:
    """The pipelines that lose little, of all rates up to the most."""
    templates, most_rps = finder.templates, finder.most_rps
    price = worker_price(templates, device_price)
    request_price = float((price / templates.worker_rps).sum(axis=1).min(initial=np.inf))
    kind = _kinds(templates)
    cheapest = finder.at(device_price).price_of(most_rps)
    more = WIDEST
    while True:
        most_loss = cheapest * (1.0 + more) - request_price * most_rps
        listed, is_all = list_pipelines(
            templates.worker_rps,
            price,
            templates.pieces,
            kind,
            request_price,
            most_loss,
            most_rps,
            MOST_PIPELINES,
        )
        if is_all or more < NARROWEST:
            return Listed(*listed)
        more /= NARROWER


def _devices(finder: CoverFinder, listed: Listed, fleet: Fleet) -> F64:
    """The parts of devices that each pipeline takes: (pipelines, stages, classes)."""
    some = finder.templates.take(listed.row)
    parts = needed_workers(some, listed.rate_rps[:, None]) / np.maximum(some.share, 1)
    return np.where(some.device_class[:, :, None] == np.arange(len(fleet.count)), parts[:, :, None], 0.0)


def _kinds(templates: Templates) -> I64:
    """A number for each worker, 0 if there is no such stage: (templates, stages).

    Sums are equal if the workers take equal parts of the devices of each class; else only by an accident, which costs a
    good pipeline.
    """
    rng = np.random.default_rng(0)
    unit = math.lcm(*np.unique(templates.share[templates.share > 0]).tolist())
    # Overflow is no harm: a sum is only compared with others.
    number = rng.integers(1, 2**62, templates.device_class.max() + 1)
    parts = unit // np.maximum(templates.share, 1)
    return np.where(templates.device_class >= 0, number[templates.device_class] * parts, 0)
