"""Dominance: drop templates that no best plan needs. Nothing is lost.

Compare templates of one model with the same device classes in the same order. Each rule replaces a
template by another one that serves the same rate and needs no more devices of any (stage position, class).

- **Fractional**, if workers may be split: ``a`` replaces ``b`` if, at every stage, a whole device of ``a``
  sustains at least the rate of a whole device of ``b``.
- **Integer**, for whole workers: also, the share of ``b`` must divide the share of ``a`` at every stage.
  Then ``share_a / share_b`` workers of ``a`` take exactly the room of one worker of ``b``. They pack at least as
  well, and they sustain at least the same rate. And ``a`` may have at most so many times the pieces of ``b``: then
  there is a worker for each of them too.
- **Loading**, if a worker that is not yet loaded has a price: also, the shares must be the same, and
  every piece of ``b`` that already runs must be the same in ``a``. One worker of ``a`` replaces one of ``b``.
- **Costs**, if slack or interfaces count too: the fractional rule, and ``a`` may have no more latency, or load on any
  interface.

The fractional rule keeps fewer templates. But plans of whole workers may need templates that it drops (up to 1.1% of
the rate on published instances). So a proof over whole workers starts from the integer rule.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from penstock.arrays import F64, I64
from penstock.plan.templates.table import Templates

Rows = NDArray[np.intp]


def integer_undominated(templates: Templates) -> Rows:
    """Rows that the integer rule keeps, ascending."""
    kept = [_sweep(templates, rows, whole_workers=True) for rows in _same_classes(templates)]
    return np.sort(np.concatenate([np.zeros(0, dtype=np.intp), *kept]))


def fractional_undominated(templates: Templates) -> Rows:
    """Rows that the fractional rule keeps, ascending."""
    kept = [_sweep(templates, rows, whole_workers=False) for rows in _same_classes(templates)]
    return np.sort(np.concatenate([np.zeros(0, dtype=np.intp), *kept]))


def undominated_at(templates: Templates, costs: F64) -> Rows:
    """Rows that the rule of costs keeps, ascending. ``costs`` (templates, kinds)."""
    kept = [_sweep(templates, rows, whole_workers=False, costs=costs) for rows in _same_classes(templates)]
    return np.sort(np.concatenate([np.zeros(0, dtype=np.intp), *kept]))


def loading_undominated(templates: Templates, loaded: I64) -> Templates:
    """The templates that the loading rule keeps.

    ``loaded`` (templates, stages) numbers from 1 the pieces that run already; 0 is any other.
    """
    key = np.column_stack([templates.model, templates.device_class, templates.share, loaded])
    kept = [_sweep(templates, rows, whole_workers=False) for rows in _alike(key)]
    return templates.take(np.sort(np.concatenate([np.zeros(0, dtype=np.intp), *kept])))


def _same_classes(templates: Templates) -> Iterator[Rows]:
    """Rows grouped by model and sequence of device classes."""
    yield from _alike(np.column_stack([templates.model, templates.device_class]))


def _alike(key: I64) -> Iterator[Rows]:
    """Rows of ``key`` (rows, columns) grouped by equality."""
    if not len(key):
        return
    _, group = np.unique(key, axis=0, return_inverse=True)
    order = np.argsort(group, kind="stable")
    yield from np.split(order, np.flatnonzero(np.diff(group[order])) + 1)


def _sweep(templates: Templates, rows: Rows, *, whole_workers: bool, costs: F64 | None = None) -> Rows:
    """The undominated among ``rows``, all of the same classes. ``costs`` (templates, kinds) must not be higher."""
    used = templates.device_class[rows[0]] >= 0
    rate = templates.device_rps[rows][:, used]
    share, pieces = templates.share[rows][:, used], templates.pieces[rows][:, used]
    # A template that dominates another one comes first. Among equal ones, finer shares and lower latency come first.
    order = np.lexsort((templates.latency_us[rows], -share.prod(axis=1), -rate.sum(axis=1)))
    rate, share, pieces, rows = rate[order], share[order], pieces[order], rows[order]
    cost = np.zeros((len(rows), 0)) if costs is None else costs[rows]
    kept = []
    while len(rows):
        worse = (rate <= rate[0]).all(axis=1) & (cost >= cost[0]).all(axis=1)
        if whole_workers:
            worse &= (share[0] % share == 0).all(axis=1)
            worse &= (pieces[0] * share <= pieces * share[0]).all(axis=1)
        kept.append(rows[0])
        rate, share, pieces, rows = rate[~worse], share[~worse], pieces[~worse], rows[~worse]
        cost = cost[~worse]
    return np.array(kept)
