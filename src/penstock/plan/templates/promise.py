"""Promises: templates that a policy may use, judged by the percentiles that the policy reads.

The policies promise a batch only if its work *and* a guard end before the deadline. The guard is the root of the sum
of squares of what the 99th percentiles exceed the medians by, over blocks and stages
(:func:`penstock.schedule.facts.make_facts`). So a template can be promised, on an idle fleet, if

    sum(inference) + sum(transfer) + guard <= SLO.

A planner that looks at medians only may choose a template that no policy promises. So templates that break this rule
are left out, as long as a model has one that keeps it (:func:`can_promise`). If it has none, medians decide, and
:mod:`penstock.plan.questions.tail_latency` says so.

The guard is no sum over stages, but its square is. So the question whether any path keeps the rule is a shortest path
with two resources, time and squares, for which :mod:`penstock.plan.templates.path_kernels` finds all undominated pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from penstock.arrays import F64, I64
from penstock.plan.templates.path_kernels import cheapest_path, completions
from penstock.plan.templates.space import TemplateSpace
from penstock.profile.table import Profile

ROUNDING_US = 2.0
"""For each stage: transfers and guards are rounded up to whole microseconds in a policy's table."""


def excesses(profile: Profile, units: Sequence[tuple[str, int]], widest: int) -> F64 | None:
    """What the 99th percentile of every span exceeds its median by, in whole microseconds: (units, blocks + 1, blocks
    + 1, batches), 0 where the profile ends. None if no table of ``units`` has percentiles."""
    tables = [profile.table(name, share) for name, share in units]
    if all(table.p99_us is None for table in tables):
        return None
    n = len(profile.blocks)
    found = np.zeros((len(units), n + 1, n + 1, widest))
    start, stop = np.triu_indices(n + 1, 1)
    for u, table in enumerate(tables):
        if table.p99_us is None:
            continue
        squares = (table.p99_us - table.latency_us).astype(np.float64) ** 2
        before = np.concatenate([np.zeros((1, table.max_batch)), np.cumsum(squares, axis=0)])
        found[u, start, stop, : table.max_batch] = np.ceil(np.sqrt(before[stop] - before[start]))
    return found


def keeps_promise(
    slo_us: float, work_us: F64, sample_us: F64, batch: I64, excess_us: F64
) -> NDArray[np.bool_]:
    """Whether templates keep the rule: (n,). ``work_us`` (n,) is the inference, ``sample_us`` (n, stages - 1) the
    transfers of one sample, ``batch`` (n,), ``excess_us`` (n, stages)."""
    moved_us = np.ceil(batch[:, None] * sample_us - 1e-6).sum(axis=1)
    guard_us = np.ceil(np.sqrt((excess_us**2).sum(axis=1)))
    return np.asarray(work_us + moved_us + guard_us <= slo_us)


def promising_space(space: TemplateSpace, excess_us: F64 | None, slo_us: float) -> TemplateSpace:
    """``space`` with the rule, if some template keeps it and some may break it; else ``space`` as it is."""
    if excess_us is None:
        return space
    largest_us = np.sqrt(space.max_stages) * excess_us.max() + ROUNDING_US * space.max_stages
    if largest_us <= slo_us - space.limit_us:
        return space
    with_rule = replace(space, promise_us=slo_us, excess_us=excess_us)
    return with_rule if can_promise(with_rule) else space


def can_promise(space: TemplateSpace) -> bool:
    """Whether some template of ``space`` keeps its rule, with a few microseconds to spare for rounding."""
    return any(safest_path(space, batch) is not None for batch in space.batches.tolist())


def safest_path(space: TemplateSpace, batch: int) -> I64 | None:
    """The arcs of the path at ``batch`` whose tail ends soonest, padded with -1. None if it breaks the rule."""
    squares = _squares(space, batch)
    graph = space.graph(batch, squares, space.promise_us**2)
    ways = completions(graph)
    least_us, latency_us = np.inf, 0.0
    for root in range(0, graph.levels * graph.levels, graph.levels + 1):
        front = slice(ways.start[root], ways.stop[root])
        tails = ways.latency[front] + np.sqrt(ways.cost[front])
        if len(tails) and tails.min() < least_us:
            least_us, latency_us = float(tails.min()), float(ways.latency[front][tails.argmin()])
    if least_us + ROUNDING_US * space.max_stages > space.promise_us:
        return None
    # Among the paths that are no slower, the one with the least squares has no later tail.
    within = graph._replace(most_latency=latency_us)
    return np.asarray(cheapest_path(within, completions(within)))


def _squares(space: TemplateSpace, batch: int) -> F64:
    """The square of every arc's excess: (arcs,)."""
    assert space.excess_us is not None, "the rule needs percentiles"
    arcs = space.arcs
    node = np.repeat(np.arange(len(arcs.first) - 1), np.diff(arcs.first))
    piece = -(-batch // arcs.pieces)
    return np.asarray(space.excess_us[arcs.unit, node // arcs.levels**2, arcs.stop, piece - 1] ** 2)
