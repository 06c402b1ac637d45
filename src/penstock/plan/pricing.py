"""Pricing: the cheapest templates at given device prices, found among all of a space without listing them.

For a fixed batch a template's cost per request is a sum over its stages, and so is its latency
(:mod:`penstock.plan.template_space`): a shortest path under a latency limit, solved exactly by
:mod:`penstock.plan.path_kernels`.

At prices of the relaxation a template loses, per request, what it costs above the price of a request. A set
is complete to a loss if it holds every template that loses no more.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from penstock.plan.path_kernels import cheapest_path, completions, least_cost, paths
from penstock.plan.program import Prices
from penstock.plan.template_space import TemplateSpace
from penstock.plan.templates import F64, Templates, join, no_templates, templates_by_batch, templates_of
from penstock.units import US_PER_S

LADDER = 2.0
"""Where a set grows too large, the loss allowed falls by this factor until it fits."""

LEAST_LOSS = 1e-9
"""The last step of the ladder, relative to the price of a request."""


@dataclass(frozen=True)
class Priced:
    """``cost``: no feasible template serves a request for less. ``columns``: the cheapest of each batch."""

    cost: float
    columns: Templates


def price(space: TemplateSpace, device_price: F64, most_cost: float = math.inf) -> Priced:
    """The templates of ``space``, the cheapest of each batch, that cost at most ``most_cost`` a request.

    ``device_price`` (classes,) is that of a device second. Where none is found, ``cost`` is ``most_cost``.
    """
    cost, batches, found = most_cost, [], []
    by_arc = _cost(space, device_price)
    for batch in space.batches.tolist():
        graph = space.graph(batch, by_arc[batch - 1], most_cost)
        ways = completions(graph)
        path = cheapest_path(graph, ways)
        if path[0] >= 0:
            batches.append(batch)
            found.append(path)
            cost = min(cost, least_cost(graph, ways))
    if not found:
        return Priced(cost, no_templates())
    return Priced(cost, templates_of(space, np.array(batches), np.array(found)))


def fastest(space: TemplateSpace) -> Templates:
    """The template of least latency, one row, whatever the limit; no rows where no unit's memory holds a span."""
    free, found = replace(space, limit_us=math.inf), [no_templates()]
    for batch in space.batches.tolist():
        graph = free.graph(batch, space.arcs.latency_us[batch - 1])
        path = cheapest_path(graph, completions(graph))
        found.append(templates_of(free, np.array([batch]), path[None, :]))
    every = join(found)
    return every.take(np.argsort(every.latency_us, kind="stable")[:1])


def cost_of(templates: Templates, device_price: F64) -> F64:
    """What a request costs on each template at ``device_price`` (classes,) a device second: (templates,)."""
    used = templates.device_class >= 0
    price_of_stage = np.where(used, device_price[templates.device_class], 0.0)
    return np.asarray((price_of_stage / np.where(used, templates.device_rps, 1.0)).sum(axis=1))


def near_best(space: TemplateSpace, prices: Prices, loss: float, most: int) -> tuple[Templates, float]:
    """All templates that lose at most ``loss``, relative to the price of a request, or less if those pass ``most``.

    Also the loss to which the set is complete: ``loss`` halved until it fits, and -1 where not even the best do.
    """
    while loss >= LEAST_LOSS:
        templates = _within(space, prices, loss, most)
        if templates is not None:
            return templates, loss
        loss /= LADDER
    return no_templates(), -1.0


def _within(space: TemplateSpace, prices: Prices, loss: float, most: int) -> Templates | None:
    by_arc = _cost(space, prices.device)
    limit = float(prices.rate[space.model]) * (1.0 + loss)
    every, room = [], most
    for batch in space.batches.tolist():
        graph = space.graph(batch, by_arc[batch - 1], limit)
        found, is_all = paths(graph, completions(graph), room)
        if not is_all:
            return None
        room -= len(found)
        every.append(found)
    return replace(templates_by_batch(space, every), seen=space.size)


def _cost(space: TemplateSpace, device_price: F64) -> F64:
    """What a request costs at each stage: (batches, arcs)."""
    device_us = space.arcs.device_us
    # A free class makes no stage feasible that a unit cannot run.
    can_run = np.isfinite(device_us)
    by_arc = device_price[space.device_class[space.arcs.unit]] * np.where(can_run, device_us, 0.0) / US_PER_S
    return np.where(can_run, by_arc, np.inf)
