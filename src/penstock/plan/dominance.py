"""Dominance: templates that no best plan needs, dropped without loss.

Compare templates of one model with the same device classes in the same order. Both rules replace a
template by another that serves the same rate from no more devices of any (stage position, class).

- **Fractional**: where workers may be split, ``a`` replaces ``b`` if a whole device of ``a`` sustains at
  least what one of ``b`` does, at every stage.
- **Integer**: with whole workers, if also the share of ``b`` divides the share of ``a`` at every stage:
  then ``share_a / share_b`` workers of ``a`` take exactly the room of one of ``b``, pack at least as
  well, and sustain at least as much.

The fractional rule keeps fewer, but plans of whole workers may need what it drops (up to 1.1% of the
rate on published instances); so a proof over whole workers starts from the integer rule.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from penstock.plan.templates import Templates

Rows = NDArray[np.intp]


def integer_undominated(templates: Templates) -> Rows:
    """Rows that the integer rule keeps, ascending."""
    kept = [_sweep(templates, rows, whole_workers=True) for rows in _same_classes(templates)]
    return np.sort(np.concatenate([np.zeros(0, dtype=np.intp), *kept]))


def fractional_undominated(templates: Templates) -> Rows:
    """Rows that the fractional rule keeps, ascending."""
    kept = [_sweep(templates, rows, whole_workers=False) for rows in _same_classes(templates)]
    return np.sort(np.concatenate([np.zeros(0, dtype=np.intp), *kept]))


def _same_classes(templates: Templates) -> Iterator[Rows]:
    """Rows grouped by model and sequence of device classes."""
    if not len(templates):
        return
    key = np.column_stack([templates.model, templates.device_class])
    _, group = np.unique(key, axis=0, return_inverse=True)
    order = np.argsort(group, kind="stable")
    yield from np.split(order, np.flatnonzero(np.diff(group[order])) + 1)


def _sweep(templates: Templates, rows: Rows, *, whole_workers: bool) -> Rows:
    """The undominated among ``rows``, all of the same classes."""
    used = templates.device_class[rows[0]] >= 0
    rate = templates.device_rps[rows][:, used]
    share = templates.share[rows][:, used]
    # Whatever dominates comes no later in this order; of equals, the finest shares and least latency.
    order = np.lexsort((templates.latency_us[rows], -share.prod(axis=1), -rate.sum(axis=1)))
    rate, share, rows = rate[order], share[order], rows[order]
    kept = []
    while len(rows):
        worse = (rate <= rate[0]).all(axis=1)
        if whole_workers:
            worse &= (share[0] % share == 0).all(axis=1)
        kept.append(rows[0])
        rate, share, rows = rate[~worse], share[~worse], rows[~worse]
    return np.array(kept)
