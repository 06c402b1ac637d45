"""Losses: how much the use of a template with given worker counts reduces the objective, at given prices.

Take prices from the linear relaxation (:class:`penstock.plan.exact.worker_program.Prices`). For every plan,

    value <= bound - sum over templates used of loss,
    loss = sum over stages of device price * workers / share  -  rate price * rate  >= 0.

This follows from weak duality. For throughput, the weighted rate of each model covers the objective, and the bound is
the value of all devices. For cost, the price of a device is its cost plus the value of one more device. So a plan
that is better than a known one uses only templates and worker counts whose loss is at most ``bound - known``.
(This is reduced-cost fixing, and it includes the rounding to whole workers.)

The rate of a pipeline is a whole multiple of some stage's worker rate. Every other stage needs only as many workers
as this rate requires. Such a choice of workers is a *configuration*. One of the configurations has the least loss.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from penstock.arrays import F64, I64
from penstock.plan.templates.fleet import Fleet, Prices
from penstock.plan.templates.table import Templates, whole_workers

MOST_WORKERS = 512
"""Up to this many workers of a stage are tried one by one."""

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
    """The least loss of each template: float64 (templates,).

    If a stage could need more than :data:`MOST_WORKERS` workers, use the loss with fractional workers, which is a
    lower bound.
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
    """All configurations of loss at most ``most_loss``. None if they are more than ``limit`` or cannot be counted."""
    if not _is_exhausted(templates, fleet).all():
        return None
    parts: list[Configurations] = []
    for first, part in _chunks(templates):
        rate, loss, workers = _tried(part, fleet, prices)
        t, k = np.nonzero(np.isfinite(loss) & (loss <= most_loss))  # if no plan is known: any finite loss
        found = np.column_stack([first + t, workers[t, :, k]])
        # The multiples of two stages may need the same workers. They are one configuration.
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
    """How many workers the fleet can hold for each stage: (templates, stages), 0 if there is no such stage."""
    most: I64 = np.where(
        templates.device_class >= 0, fleet.count[templates.device_class] * templates.share, 0
    )
    return most


def _is_exhausted(templates: Templates, fleet: Fleet) -> NDArray[np.bool_]:
    """Whether every configuration of a template is tried: (templates,)."""
    return np.asarray((_most_workers(templates, fleet) <= MOST_WORKERS).all(axis=1))


def _worker_price(templates: Templates, prices: Prices) -> F64:
    """Price of one worker: (templates, stages), 0 if there is no such stage."""
    price = prices.device[templates.device_class] / np.maximum(templates.share, 1)
    return np.where(templates.device_class >= 0, price, 0.0)


def _split_loss(templates: Templates, prices: Prices) -> F64:
    """Loss for one unit of rate if workers may be split: (templates,), at least 0."""
    cost = (_worker_price(templates, prices) / templates.worker_rps).sum(axis=1)
    return np.asarray(np.maximum(cost - prices.rate[templates.model], 0.0))


def _tried(templates: Templates, fleet: Fleet, prices: Prices) -> tuple[F64, F64, I64]:
    """Rates (templates, tries), losses (templates, tries) and workers (templates, stages, tries).

    The loss is infinite if the fleet has too few devices.
    """
    used = templates.device_class >= 0
    most = _most_workers(templates, fleet)
    number = np.arange(1, min(MOST_WORKERS, most.max(initial=1)) + 1)
    worker_rps = np.where(used, templates.worker_rps, 0.0)
    rate = (worker_rps[:, :, None] * number).reshape(len(templates), -1)
    need = whole_workers(rate[:, None, :], templates.worker_rps[:, :, None])
    workers = np.where(used[:, :, None], np.maximum(need, templates.pieces[:, :, None]), 0.0)
    loss = (_worker_price(templates, prices)[:, :, None] * workers).sum(axis=1)
    loss -= prices.rate[templates.model][:, None] * rate
    real = (rate > 0) & (workers <= most[:, :, None]).all(axis=1)
    return rate, np.where(real, np.maximum(loss, 0.0), np.inf), workers.astype(np.int64)
