"""From split workers to whole ones: a plan from the relaxation's solution, good where fleets are large.

Serve the part ``f`` of every rate, each pool rounded up to whole workers, and take the largest ``f`` whose devices
suffice, by bisection. A basic solution has no more columns than models and classes together, so rounding up
costs each pool less than a worker: a share of the plan that falls as the fleet grows. The work does not depend
on how many devices there are.
"""

from __future__ import annotations

import numpy as np

from penstock.plan.program import Fleet
from penstock.plan.templates import F64, I64, Templates

HALVINGS = 40
"""Leaves an interval of 1e-12, past which rounding up changes nothing."""


def round_up(templates: Templates, rate_rps: F64, fleet: Fleet) -> I64:
    """Whole workers (templates, stages) for the largest part of ``rate_rps`` (templates,) that the fleet can serve.

    All 0 where the fleet cannot hold one worker at each stage.
    """
    # Amounts that are rounding errors of the solver would each cost a worker a stage.
    split = np.where(rate_rps > 1e-9 * rate_rps.max(initial=0.0), rate_rps, 0.0)
    low, high = 0.0, 1.0
    if _fits(templates, _workers(templates, split), fleet):
        return _workers(templates, split)
    for _ in range(HALVINGS):
        part = (low + high) / 2
        if _fits(templates, _workers(templates, part * split), fleet):
            low = part
        else:
            high = part
    return _workers(templates, low * split)


def _workers(templates: Templates, rate_rps: F64) -> I64:
    """The fewest whole workers that serve ``rate_rps`` (templates,) at every stage."""
    used = templates.device_class >= 0
    # Just short of whole numbers, so that rounding errors never add a worker.
    need = np.ceil(rate_rps[:, None] / templates.worker_rps - 1e-9)
    return np.where(used & (rate_rps > 0)[:, None], np.maximum(need, 1.0), 0.0).astype(np.int64)


def _fits(templates: Templates, workers: I64, fleet: Fleet) -> bool:
    """Whether the devices suffice, each holding workers of one group and one share only."""
    t, s = np.nonzero(workers)
    device_class, share = templates.device_class[t, s], templates.share[t, s]
    owner = (0 * t, 0 * t) if fleet.share_devices else (templates.model[t], s)
    group = np.column_stack([device_class, share, *owner])
    distinct, at = np.unique(group, axis=0, return_inverse=True)
    held = np.zeros(len(distinct), dtype=np.int64)
    np.add.at(held, at, workers[t, s])
    devices = np.zeros(len(fleet.count), dtype=np.int64)
    np.add.at(devices, distinct[:, 0], -(-held // distinct[:, 1]))
    return bool((devices <= fleet.count).all())
