"""From split workers to whole ones: a plan from the relaxation's solution. It is good if fleets are large.

Serve the part ``f`` of every rate, with each pool rounded up to whole workers. Bisection finds the largest ``f`` for
which there are enough devices. A basic solution has no more columns than models and classes together. So rounding up
costs each pool less than one worker: the larger the fleet, the smaller the part of the plan that is lost. The work
does not depend on the number of devices.
"""

from __future__ import annotations

import numpy as np

from penstock.arrays import F64, I64
from penstock.plan.exact.objective import needed_workers
from penstock.plan.templates.fleet import Fleet, device_owner
from penstock.plan.templates.table import Templates

HALVINGS = 40
"""After so many steps the interval is 1e-12. Below that, rounding up changes nothing."""


def round_up(templates: Templates, rate_rps: F64, fleet: Fleet) -> I64:
    """Whole workers (templates, stages) for the largest part of ``rate_rps`` (templates,) that the fleet can serve.

    All 0 if the fleet cannot hold one worker at each stage.
    """
    # Amounts that are only rounding errors of the solver would each cost a worker per stage.
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
    need = needed_workers(templates, rate_rps[:, None])
    return np.where((rate_rps > 0)[:, None], need, 0.0).astype(np.int64)


def _fits(templates: Templates, workers: I64, fleet: Fleet) -> bool:
    """Whether there are enough devices, if each device holds workers of only one group and one share."""
    t, s = np.nonzero(workers)
    device_class, share = templates.device_class[t, s], templates.share[t, s]
    group = np.column_stack([device_class, share, *device_owner(templates.model[t], s, fleet.share_devices)])
    distinct, at = np.unique(group, axis=0, return_inverse=True)
    held = np.zeros(len(distinct), dtype=np.int64)
    np.add.at(held, at, workers[t, s])
    devices = np.zeros(len(fleet.count), dtype=np.int64)
    np.add.at(devices, distinct[:, 0], -(-held // distinct[:, 1]))
    return bool((devices <= fleet.count).all())
