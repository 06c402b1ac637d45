"""Pricing: find the cheapest templates at given device prices, among all of a space, without listing them.

For a fixed batch, a template's cost per request is a sum over its stages, and so is its latency
(:mod:`penstock.plan.templates.space`). The cheapest template is a shortest path under a latency limit.
:mod:`penstock.plan.templates.path_kernels` finds it exactly.

At the prices of the relaxation, the loss of a template is its cost per request minus the price of a request. A set
is complete to a loss if it holds every template that loses no more.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from penstock.arrays import F64, I64
from penstock.plan.templates.fleet import Prices
from penstock.plan.templates.path_kernels import Graph, cheapest_path, completions, least_cost, paths
from penstock.plan.templates.promise import safest_path
from penstock.plan.templates.space import TemplateSpace
from penstock.plan.templates.table import Templates, join, no_templates, templates_by_batch, templates_of
from penstock.units import US_PER_S

LADDER = 2.0
"""If a set grows too large, the allowed loss is multiplied by this factor until the set is small enough."""

PROMISE_LOSSES = (0.01, 0.05, 0.25)
"""How much more than the cheapest path a path may cost that keeps the promise, tried in turn."""

MOST_TRIED = 1000
"""The most paths within such a loss that are tried."""

LEAST_LOSS = 1e-9
"""The smallest loss that is tried, relative to the price of a request."""


@dataclass(frozen=True)
class Priced:
    """``cost``: no feasible template serves a request for less. ``columns``: the cheapest template of each batch."""

    cost: float
    columns: Templates


def price(space: TemplateSpace, device_price: F64, most_cost: float = math.inf) -> Priced:
    """The cheapest template of each batch in ``space``, if it costs at most ``most_cost`` per request.

    ``device_price`` (classes,) is the price of a device second. If no template is found, ``cost`` is ``most_cost``.
    If the space has a promise, the columns keep it. ``cost`` may be that of a template that does not: still a bound.
    """
    cost, batches, found = most_cost, [], []
    by_arc = _cost(space, device_price)
    for batch in space.batches.tolist():
        graph = space.graph(batch, by_arc[batch - 1], most_cost)
        ways = completions(graph)
        path = cheapest_path(graph, ways)
        if path[0] >= 0:
            cost = min(cost, least_cost(graph, ways))
            if space.excess_us is not None and not len(templates_of(space, np.array([batch]), path[None, :])):
                path = _cheapest_promised(space, graph, batch, device_price)
        if path[0] >= 0:
            batches.append(batch)
            found.append(path)
    if not found:
        return Priced(cost, no_templates())
    return Priced(cost, templates_of(space, np.array(batches), np.array(found)))


def _cheapest_promised(space: TemplateSpace, graph: Graph, batch: int, device_price: F64) -> I64:
    """A cheap path at ``batch`` that keeps the space's promise, padded with -1; only -1 if there is none.

    The cheapest of all breaks it. So the paths within a small loss are listed, then within a larger one. If they become
    too many, the path that ends soonest is taken: columns need not be the cheapest, as the bound does not follow from
    them.
    """
    least = least_cost(graph, completions(graph))
    for loss in PROMISE_LOSSES:
        near = graph._replace(most_cost=min(graph.most_cost, least * (1.0 + loss)))
        found, is_all = paths(near, completions(near), MOST_TRIED)
        for path in found[np.argsort(graph.cost[found].sum(axis=1, where=found >= 0), kind="stable")]:
            if len(templates_of(space, np.array([batch]), path[None, :])):
                return np.asarray(path)
        if not is_all:
            break
    safest = safest_path(space, batch)
    return np.full(space.max_stages, -1) if safest is None else safest


def fastest(space: TemplateSpace) -> Templates:
    """The template of least latency, one row, without a limit or a promise. No rows if no unit holds a span."""
    free, found = replace(space, limit_us=math.inf, excess_us=None), [no_templates()]
    for batch in space.batches.tolist():
        graph = free.graph(batch, space.arcs.latency_us[batch - 1])
        path = cheapest_path(graph, completions(graph))
        found.append(templates_of(free, np.array([batch]), path[None, :]))
    every = join(found)
    return every.take(np.argsort(every.latency_us, kind="stable")[:1])


def cost_of(templates: Templates, device_price: F64) -> F64:
    """The cost of a request on each template at ``device_price`` (classes,) per device second: (templates,)."""
    used = templates.device_class >= 0
    price_of_stage = np.where(used, device_price[templates.device_class], 0.0)
    return np.asarray((price_of_stage / np.where(used, templates.device_rps, 1.0)).sum(axis=1))


def near_best(space: TemplateSpace, prices: Prices, loss: float, most: int) -> tuple[Templates, float]:
    """All templates that lose at most ``loss``, relative to the price of a request. At most ``most`` templates.

    Also returns the loss to which the set is complete. ``loss`` is halved until at most ``most`` templates remain. It
    is -1 if even the best templates are more than ``most``.
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
    """The cost of a request at each stage: (batches, arcs)."""
    device_us = space.arcs.device_us
    # A class with price 0 must not make a stage feasible if the unit cannot run it.
    can_run = np.isfinite(device_us)
    by_arc = device_price[space.device_class[space.arcs.unit]] * np.where(can_run, device_us, 0.0) / US_PER_S
    return np.where(can_run, by_arc, np.inf)
