"""Templates whose stages have batches of their own.

A batch of ``n`` requests is formed once, before the first stage, as today. At each stage it is split into ``k`` pieces
of nearly equal size, which run on ``k`` workers at the same time; what the stage before split finer is gathered again.
So a stage has the batch ``ceil(n / k)``. This is batching anew with the least wait: requests gather at the rate of the
model, and not at the lower rate of one pipeline between two of its stages. The latency of a template is

    sum over stages of the largest piece's time + n * sum of sample transfers + gathering of n requests,

and a worker's rate counts the time of all pieces. A batch of which every stage is split is a smaller batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from penstock.arrays import F64, I64
from penstock.plan.templates.path_kernels import ROUNDING, Graph, completions, paths
from penstock.plan.templates.space import TemplateSpace
from penstock.plan.templates.table import NO_LIMIT, Templates, join, no_templates
from penstock.units import US_PER_S

PIECES_AT = 1000
"""``Templates.cuts`` holds the boundary plus this many times the pieces of the stage that ends there."""


@dataclass(frozen=True)
class Arcs:
    """Arcs of the space at one batch, once for each number of pieces.

    ``arc``: in the space. ``largest_us``, ``work_us``: the time of the largest piece, and of all.
    """

    arc: I64
    pieces: I64
    latency_us: F64
    largest_us: F64
    work_us: F64


def boundary(cuts: I64) -> I64:
    """The boundaries in ``cuts``."""
    return cuts % PIECES_AT


def pieces_of(cuts: I64) -> I64:
    """The pieces of every stage, 0 if there is no such stage: (templates, stages)."""
    stages = cuts[:, 1:] // PIECES_AT
    # A padded row repeats its last cut.
    return np.where(np.diff(boundary(cuts), axis=1) > 0, stages, 0)


def is_split(templates: Templates) -> NDArray[np.bool_]:
    """Whether some stage has more than one piece: (templates,)."""
    return (pieces_of(templates.cuts) > 1).any(axis=1)


def list_split(space: TemplateSpace, most_pieces: int) -> Templates:
    """All feasible templates with at most ``most_pieces`` at a stage; with 1, those of the planner."""
    node = np.repeat(np.arange(len(space.arcs.first) - 1), np.diff(space.arcs.first))
    parts = [no_templates()]
    for batch in space.batches.tolist():
        arcs = _arcs(space, node, batch, most_pieces)
        limit_us = space.limit_us - space.build_us * (batch - 1)
        graph = Graph(
            levels=space.arcs.levels,
            first=np.searchsorted(node[arcs.arc], np.arange(len(space.arcs.first))),
            target=space.arcs.target[arcs.arc],
            latency=arcs.latency_us,
            cost=np.zeros(len(arcs.arc)),
            max_stages=space.max_stages,
            most_latency=limit_us * (1 + ROUNDING),
            most_cost=np.inf,
        )
        found, _ = paths(graph, completions(graph), NO_LIMIT)
        depth = (found >= 0).sum(axis=1)
        parts += [
            _rows(space, batch, found[depth == stages, :stages], arcs)
            for stages in np.unique(depth[depth > 0]).tolist()
        ]
    return join(parts)


def _arcs(space: TemplateSpace, node: I64, batch: int, most_pieces: int) -> Arcs:
    """The arcs, without those for which fewer pieces are as fast and take as little work."""
    arcs = space.arcs
    begin = node // arcs.levels**2
    one = space.span_us[arcs.unit, begin, arcs.stop, 0]
    runs = np.isfinite(one)
    sample_us = np.zeros(len(one))
    sample_us[runs] = arcs.latency_us[0][runs] - one[runs]
    known: list[tuple[F64, F64]] = []
    parts = []
    for pieces in range(1, min(batch, most_pieces) + 1):
        size, rest = divmod(batch, pieces)
        largest_us = space.span_us[arcs.unit, begin, arcs.stop, size + (rest > 0) - 1]
        work_us = (pieces - rest) * space.span_us[arcs.unit, begin, arcs.stop, size - 1]
        work_us = work_us + (rest * largest_us if rest else 0.0)
        kept = np.isfinite(largest_us)
        for faster_us, less_us in known:
            kept &= ~((faster_us <= largest_us) & (less_us <= work_us))
        known.append((largest_us, work_us))
        rows = np.flatnonzero(kept)
        latency_us = largest_us[rows] + batch * sample_us[rows]
        parts.append((rows, np.full(len(rows), pieces), latency_us, largest_us[rows], work_us[rows]))
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    order = np.argsort(columns[0], kind="stable")
    return Arcs(*(np.ascontiguousarray(column[order]) for column in columns))


def _rows(space: TemplateSpace, batch: int, path: I64, arcs: Arcs) -> Templates:
    """The feasible templates along ``path`` (n, stages), as :mod:`penstock.plan.templates.table` makes them."""
    rows, stages = path.shape
    unit = space.arcs.unit[arcs.arc[path]]
    classes = space.device_class[unit]
    cuts = np.column_stack([np.zeros(rows, np.int64), space.arcs.stop[arcs.arc[path]]])
    sample_us = space.sample_us[cuts[:, 1:-1], classes[:, :-1], classes[:, 1:]]
    latency_us = arcs.largest_us[path].sum(axis=1) + batch * sample_us.sum(axis=1)
    latency_us = latency_us + space.build_us * (batch - 1)
    rates = batch * US_PER_S / arcs.work_us[path]
    part = (space.per_host * space.share)[unit]
    for s in range(stages - 1):
        for side in (s, s + 1):
            with np.errstate(divide="ignore"):
                rates[:, side] = np.minimum(rates[:, side], US_PER_S / (sample_us[:, s] * part[:, side]))
    cuts[:, 1:] += PIECES_AT * arcs.pieces[path]
    return Templates(
        model=np.full(rows, space.model),
        stages=np.full(rows, stages),
        batch=np.full(rows, batch),
        latency_us=latency_us,
        cuts=cuts,
        device_class=classes,
        share=space.share[unit],
        worker_rps=rates,
    ).take(latency_us <= space.limit_us)


def stages_of(templates: Templates, t: int) -> Iterator[tuple[int, int, int, int]]:
    """For each stage of template ``t``: its blocks, its batch (the largest piece), and its position."""
    cuts, pieces = boundary(templates.cuts[t]), pieces_of(templates.cuts[t : t + 1])[0]
    for s in range(int(templates.stages[t])):
        yield int(cuts[s]), int(cuts[s + 1]), -(-int(templates.batch[t]) // int(pieces[s])), s
