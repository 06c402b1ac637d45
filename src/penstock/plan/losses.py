"""Losses: what using a template, with so many workers, costs the objective at given prices.

Take prices from the linear relaxation (:class:`penstock.plan.program.Prices`). For every plan,

    value <= bound - sum over templates used of loss,
    loss = sum over stages of device price * workers / share  -  rate price * rate  >= 0,

by weak duality: for throughput, each model's weighted rate covers the objective and the devices' worth is the
bound; for cost, the price of a device is its cost and the worth of one more. So a plan
better than a known one holds only templates and worker counts whose loss is at most ``bound - known``.
(This is reduced-cost fixing, with the rounding to whole workers taken in.)

The rate of a pipeline is a whole multiple of some stage's worker rate, and no more workers are needed than
carry it: such a choice of workers is a *configuration*, and the least loss is one's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from penstock.plan.program import Fleet, Prices
from penstock.plan.templates import F64, I64, Templates

MOST_WORKERS = 512
"""Workers of a stage that are tried one by one."""

CHUNK_TEMPLATES = 256


@dataclass(frozen=True)
class Configurations:
    """Templates with worker counts. ``template`` (n,), ``workers`` (n, stages), ``rate_rps``, ``loss`` (n,)."""

    template: I64
    workers: I64
    rate_rps: F64
    loss: F64

    def __len__(self) -> int:
        return len(self.template)

    def take(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> Configurations:
        """The configurations in ``rows``, an index or a mask."""
        return Configurations(self.template[rows], self.workers[rows], self.rate_rps[rows], self.loss[rows])


def least_loss(templates: Templates, fleet: Fleet, prices: Prices) -> F64:
    """The least that using each template costs the objective: float64 (templates,).

    Past :data:`MOST_WORKERS` of a stage, what split workers lose stands in: it is no more.
    """
    least = []
    for _, part in _chunks(templates):
        rate, loss, _ = _tried(part, fleet, prices)
        split = _split_loss(part, prices) * rate.max(axis=1)
        whole = np.where(np.isfinite(loss), loss, np.inf).min(axis=1)
        least.append(np.where(_is_exhausted(part, fleet), whole, np.minimum(whole, split)))
    return np.concatenate([np.zeros(0), *least])


def configurations(
    templates: Templates, fleet: Fleet, prices: Prices, most_loss: float, limit: int
) -> Configurations | None:
    """All configurations of loss at most ``most_loss``; None where more than ``limit``, or past counting."""
    if not _is_exhausted(templates, fleet).all():
        return None
    parts: list[Configurations] = []
    for first, part in _chunks(templates):
        rate, loss, workers = _tried(part, fleet, prices)
        t, k = np.nonzero(np.isfinite(loss) & (loss <= most_loss))  # no plan known: any finite loss
        found = np.column_stack([first + t, workers[t, :, k]])
        # Two stages' multiples may ask for the same workers; they are one configuration.
        found, once = np.unique(found, axis=0, return_index=True)
        t, k = t[once], k[once]
        parts.append(Configurations(found[:, 0], found[:, 1:], rate[t, k], loss[t, k]))
        if sum(len(made) for made in parts) > limit:
            return None
    return Configurations(
        *(
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("template", "workers", "rate_rps", "loss")
        )
    )


def _chunks(templates: Templates) -> Iterator[tuple[int, Templates]]:
    rows = np.arange(len(templates))
    for first in range(0, len(templates), CHUNK_TEMPLATES):
        yield first, templates.take(rows[first : first + CHUNK_TEMPLATES])


def _most_workers(templates: Templates, fleet: Fleet) -> I64:
    """What the fleet holds for each stage: (templates, stages), 0 where there is no stage."""
    most: I64 = np.where(
        templates.device_class >= 0, fleet.count[templates.device_class] * templates.share, 0
    )
    return most


def _is_exhausted(templates: Templates, fleet: Fleet) -> NDArray[np.bool_]:
    """Templates of which every configuration is tried: (templates,)."""
    return np.asarray((_most_workers(templates, fleet) <= MOST_WORKERS).all(axis=1))


def _worker_price(templates: Templates, prices: Prices) -> F64:
    """Price of one worker: (templates, stages), 0 where there is no stage."""
    price = prices.device[templates.device_class] / np.maximum(templates.share, 1)
    return np.where(templates.device_class >= 0, price, 0.0)


def _split_loss(templates: Templates, prices: Prices) -> F64:
    """Loss for one unit of rate where workers may be split: (templates,), at least 0."""
    cost = (_worker_price(templates, prices) / templates.worker_rps).sum(axis=1)
    return np.asarray(np.maximum(cost - prices.rate[templates.model], 0.0))


def _tried(templates: Templates, fleet: Fleet, prices: Prices) -> tuple[F64, F64, I64]:
    """Rates (templates, tries), losses (templates, tries) and workers (templates, stages, tries).

    The loss is infinite where the fleet has too few devices.
    """
    used = templates.device_class >= 0
    most = _most_workers(templates, fleet)
    number = np.arange(1, min(MOST_WORKERS, most.max(initial=1)) + 1)
    worker_rps = np.where(used, templates.worker_rps, 0.0)
    rate = (worker_rps[:, :, None] * number).reshape(len(templates), -1)
    # Just short of whole numbers, so that rounding errors never add a worker.
    need = np.ceil(rate[:, None, :] / templates.worker_rps[:, :, None] - 1e-9)
    workers = np.where(used[:, :, None], np.maximum(need, 1.0), 0.0)
    loss = (_worker_price(templates, prices)[:, :, None] * workers).sum(axis=1)
    loss -= prices.rate[templates.model][:, None] * rate
    real = (rate > 0) & (workers <= most[:, :, None]).all(axis=1)
    return rate, np.where(real, np.maximum(loss, 0.0), np.inf), workers.astype(np.int64)
