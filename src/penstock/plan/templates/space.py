"""The templates of one model as paths in a small graph, so that they can be priced without listing them.

A node is a block boundary with the bandwidth of the link that crosses it: (boundary, level of that link, level
of the class behind it). A level is an index into the ascending list of distinct interface bandwidths. A link is
as fast as the slower of its ends. An arc is one stage: a span of blocks on a unit, and a number of
pieces into which the stage splits a batch. A unit is a (device class, share). A template is a path from boundary 0 to
the last one, together with a batch. For a fixed batch:

- The latency is the sum over arcs of the inference of the largest piece and of the transfer that follows.
- The device time that a request takes is the sum over arcs of ``max(inference of all pieces / (batch * share),
  per_host * transfer before, per_host * transfer behind)``. Each term is 1 / (rate that a whole device sustains).

If fewer pieces are as fast and take as little work, no plan needs more: such arcs are left out.

Both are sums over arcs, because a node determines the transfer times on which a stage's rate depends. So the cheapest
template at given device prices is a shortest path under a latency limit (:mod:`penstock.plan.templates.pricing`).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from penstock.arrays import F64, I64
from penstock.cluster import Cluster
from penstock.plan.templates.path_kernels import ROUNDING, Graph
from penstock.profile.table import Profile
from penstock.units import transfer_us


@dataclass(frozen=True)
class StageArcs:
    """Every stage that a template may have, ordered by its first node.

    ``first`` (nodes + 1,): the arcs of node ``v`` are ``first[v]`` to ``first[v + 1]``. By arc: ``target`` node,
    ``unit``, ``stop`` boundary, ``pieces``. ``latency_us`` (batches, arcs) includes the transfer behind. It is infinite
    if the unit cannot run the span, or if no plan needs so many pieces. ``device_us`` (batches, arcs) is the time of a
    whole device that a request takes.
    Roots are nodes ``0`` to ``roots - 1`` at stride ``levels + 1``. The last node is the end of the model.
    """

    levels: int
    first: I64
    target: I64
    unit: I64
    stop: I64
    pieces: I64
    latency_us: F64
    device_us: F64


@dataclass(frozen=True)
class TemplateSpace:
    """All templates of one model on one cluster within a latency limit, without listing them.

    ``limit_us``: the SLO less its margin. ``build_us``: the gathering time of each further sample of a batch.
    ``promise_us``: the SLO that work and guard must meet, and ``excess_us``, by which the guard is computed
    (:mod:`penstock.plan.templates.promise`); None if there is no such rule.
    By unit: ``device_class``, ``share``, ``per_host`` (devices that share an interface, or 0), and ``span_us`` (units,
    blocks + 1, blocks + 1, batches), which is infinite if a unit cannot run the span. ``sample_us`` (boundaries,
    classes, classes): the time to send one sample across a boundary.
    """

    model: int
    max_stages: int
    limit_us: float
    build_us: float
    device_class: I64
    share: I64
    per_host: I64
    span_us: F64
    sample_us: F64
    arcs: StageArcs
    promise_us: float = math.inf
    excess_us: F64 | None = None

    @property
    def n_blocks(self) -> int:
        """Blocks of the model."""
        return int(self.span_us.shape[1]) - 1

    @property
    def batches(self) -> I64:
        """Batch sizes, ascending from 1."""
        return np.arange(1, self.span_us.shape[-1] + 1)

    @property
    def size(self) -> int:
        """The number of templates, feasible or not. Split stages count as if every arc had as many pieces as any."""
        units = len(self.share) * len(np.unique(self.arcs.pieces))
        chains = 0
        for stages in range(1, self.max_stages + 1):
            chains += math.comb(self.n_blocks - 1, stages - 1) * units**stages
        return chains * len(self.batches)

    def graph(self, batch: int, cost: F64, most_cost: float = math.inf) -> Graph:
        """The graph of the templates at ``batch`` within the latency limit, with ``cost`` by arc and a cost limit.

        The limits are raised by the rounding difference of sums in another order.
        """
        limit_us = self.limit_us - self.build_us * (batch - 1)
        return Graph(
            levels=self.arcs.levels,
            first=self.arcs.first,
            target=self.arcs.target,
            latency=self.arcs.latency_us[batch - 1],
            cost=cost,
            max_stages=self.max_stages,
            most_latency=limit_us * (1 + ROUNDING),
            most_cost=most_cost * (1 + ROUNDING),
        )

    @classmethod
    def of(
        cls,
        profile: Profile,
        cluster: Cluster,
        *,
        limit_us: float,
        build_us: float,
        max_stages: int,
        max_share: int | None = None,
        most_pieces: int = 1,
        equal_parts: bool = True,
        model: int = 0,
    ) -> TemplateSpace:
        """The space of one model. Device classes have the cluster's order.

        ``max_share`` limits co-location further than the cluster does (1: whole devices only). ``most_pieces``: into
        how many pieces a stage may split a batch. ``equal_parts``: whether each device has an equal part of its host's
        interface and no more. Without it, interfaces do not limit rates (``per_host`` is 0).
        """
        names = list(cluster.device_classes)
        units = [
            (index, share)
            for index, name in enumerate(names)
            if cluster.device_classes[name].available
            for share in profile.shares_of(name)
            if share <= min(cluster.device_classes[name].max_share, max_share or share)
        ]
        bandwidth = np.array([[cluster.link_gbps(a, b) for b in names] for a in names])
        device_class = np.array([index for index, _ in units], dtype=np.int64)
        share = np.array([share for _, share in units], dtype=np.int64)
        per_host = np.array(
            [equal_parts * cluster.device_classes[names[index]].interface_devices for index, _ in units],
            np.int64,
        )
        span_us = _spans(profile, cluster, [(names[index], share) for index, share in units])
        return cls(
            model=model,
            max_stages=min(max_stages, len(profile.blocks)),
            limit_us=limit_us,
            build_us=build_us,
            device_class=device_class,
            share=share,
            per_host=per_host,
            span_us=span_us,
            sample_us=_transfers(profile, bandwidth),
            arcs=_arcs(profile, np.diag(bandwidth), device_class, share, per_host, span_us, most_pieces),
        )


def _spans(profile: Profile, cluster: Cluster, units: Sequence[tuple[str, int]]) -> F64:
    """Latency of every span on every unit. Infinite beyond the table's batches or the share's memory."""
    n = len(profile.blocks)
    tables = [profile.table(name, share) for name, share in units]
    widest = max((table.max_batch for table in tables), default=1)
    spans = np.full((len(units), n + 1, n + 1, widest), np.inf)
    start, stop = np.triu_indices(n + 1, 1)
    need: dict[str, F64] = {}
    for u, ((name, share), table) in enumerate(zip(units, tables, strict=True)):
        before = np.concatenate([np.zeros((1, table.max_batch)), np.cumsum(table.latency_us, axis=0)])
        spans[u, start, stop, : table.max_batch] = np.maximum(before[stop] - before[start], 1.0)
        memory_gb = cluster.device_classes[name].memory_gb
        if memory_gb is not None:
            if name not in need:
                need[name] = _memory_bytes(profile, name, np.arange(1, widest + 1))
            spans[u][need[name] * share > memory_gb * 1e9] = np.inf
    return spans


def _memory_bytes(profile: Profile, device_class: str, batches: I64) -> F64:
    """Memory of every span on ``device_class``: parameters, the largest activation for each batch, and the rest:
    (blocks + 1, blocks + 1, batches).

    The rest is the context of the worker's process and the largest workspace of its blocks, if they were measured.
    """
    n = len(profile.blocks)
    context = profile.worker_costs_of(device_class).workspace_bytes
    measured = profile.block_memory.get(device_class)
    workspace = [0] * n if measured is None else [block.workspace_bytes for block in measured]
    need = np.zeros((n + 1, n + 1, len(batches)))
    for start, stop in itertools.combinations(range(n + 1), 2):
        blocks = profile.blocks[start:stop]
        largest = max(block.peak_activation_bytes for block in blocks)
        fixed = profile.parameter_bytes(start, stop) + context + max(workspace[start:stop])
        need[start, stop] = fixed + largest * batches
    return need


def _transfers(profile: Profile, bandwidth_gbps: F64) -> F64:
    """Microseconds to send one sample across every boundary at every bandwidth: (boundaries, *bandwidths)."""
    per_byte = np.vectorize(lambda link: transfer_us(1.0, link), otypes=[np.float64])(bandwidth_gbps)
    size = np.array(profile.boundary_bytes, dtype=np.float64)
    return np.asarray(size.reshape(-1, *(1,) * bandwidth_gbps.ndim) * per_byte)


def _arcs(
    profile: Profile,
    bandwidth_gbps: F64,
    device_class: I64,
    share: I64,
    per_host: I64,
    span_us: F64,
    most_pieces: int,
) -> StageArcs:
    """The graph that the module describes. Node numbers increase along every path."""
    n = len(profile.blocks)
    distinct, level_of_class = np.unique(bandwidth_gbps, return_inverse=True)
    levels = len(distinct)
    link_us = _transfers(profile, distinct)
    # The model's input and its output are not transfers between stages.
    link_us[[0, n]] = 0.0
    level = level_of_class[device_class]
    grid = (np.arange(n), np.arange(1, n + 1), np.arange(levels), np.arange(levels), np.arange(len(share)))
    every = np.stack([axis.ravel() for axis in np.meshgrid(*grid, indexing="ij")])
    begin, stop, before, after, unit = every
    # A link is no faster than its slower end. The first stage has no link before it, the last has none behind it.
    fits_before = np.where(begin == 0, before == level[unit], before <= level[unit])
    real = np.flatnonzero((begin < stop) & fits_before & ((stop < n) | (after == 0)))
    from_node = (begin * levels + before) * levels + level[unit]
    real = real[np.argsort(from_node[real], kind="stable")]
    begin, stop, before, after, unit = every[:, real]
    largest_us, work_us, arc, pieces = _split(span_us[unit, begin, stop].T, most_pieces)
    begin, stop, before, after, unit, real = (
        column[arc] for column in (begin, stop, before, after, unit, real)
    )
    behind = np.where(stop < n, np.minimum(level[unit], after), 0)
    batch = np.arange(1, span_us.shape[-1] + 1)[:, None]
    after_us = link_us[stop, behind]
    on_link = per_host[unit] * np.maximum(link_us[begin, before], after_us)
    return StageArcs(
        levels=levels,
        first=np.searchsorted(np.sort(from_node[real]), np.arange(n * levels * levels + 2)),
        target=(stop * levels + behind) * levels + after,
        unit=unit,
        stop=stop,
        pieces=pieces,
        latency_us=np.ascontiguousarray(largest_us + batch * after_us),
        device_us=np.maximum(work_us / (batch * share[unit]), on_link),
    )


def _split(inference_us: F64, most_pieces: int) -> tuple[F64, F64, I64, I64]:
    """Arcs (batches, arcs) once for each number of pieces that some batch needs.

    Returns the time of the largest piece, and of all pieces, (batches, arcs) each, infinite if the batch does not need
    so many pieces, or no fewer pieces have the same largest one; then the arc that each is of, and its pieces. Those of
    one arc follow each other.
    """
    batches, arcs = inference_us.shape
    largest, work = [inference_us], [inference_us]
    size = np.arange(1, batches + 1)
    for pieces in range(2, min(most_pieces, batches) + 1):
        piece = -(-size // pieces)
        more = size % pieces
        can_be = (-(-size // piece) == pieces)[:, None]
        least_us = inference_us[np.maximum(size // pieces, 1) - 1]
        largest_us = inference_us[piece - 1]
        work_us = (
            more[:, None] * np.where(more[:, None] == 0, 0.0, largest_us)
            + (pieces - more)[:, None] * least_us
        )
        for faster_us, less_us in zip(largest, work, strict=True):
            can_be = can_be & ~((faster_us <= largest_us) & (less_us <= work_us))
        can_be &= np.isfinite(largest_us)
        largest.append(np.where(can_be, largest_us, np.inf))
        work.append(np.where(can_be, work_us, np.inf))
    needed = [np.arange(arcs), *(np.flatnonzero(np.isfinite(one).any(axis=0)) for one in largest[1:])]
    arc = np.concatenate(needed)
    pieces_of = np.repeat(np.arange(1, len(needed) + 1), [len(own) for own in needed])
    order = np.argsort(arc, kind="stable")
    columns = [
        np.concatenate([one[:, own] for one, own in zip(each, needed, strict=True)], axis=1)
        for each in (largest, work)
    ]
    return columns[0][:, order], columns[1][:, order], arc[order], pieces_of[order]
