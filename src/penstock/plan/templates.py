"""Templates: every way to cut one model into a chain of stages, as plain arrays.

A template is (cuts, device class per stage, share per stage, batch), the same batch in each stage; one
worker at each of its stages is its smallest form. It is feasible where

    sum(inference) + batch * sum(transfer of one sample) + batch_build <= SLO - margin,
    batch_build = batch_build_factor * (batch - 1) / estimated rate,

the terms of Kong et al., "PPipe" (USENIX ATC 2025, planning). A worker's rate is the least of
``batch / inference`` and, where it sends or receives, its part of the host's interface: one sample's
transfer time, shared by ``devices_per_host * share`` workers. They solve one integer program over cuts
and classes; here templates are enumerated, which makes the program small and its bound tight.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from penstock.cluster import Cluster
from penstock.profile.table import Profile
from penstock.units import US_PER_S, transfer_us

I64 = NDArray[np.int64]
F64 = NDArray[np.float64]

CHUNK_TEMPLATES = 1 << 20
"""Templates looked at in one vectorised step: bounds memory at a few tens of megabytes."""


@dataclass(frozen=True)
class LatencyBudget:
    """What one model's template must meet. ``limit_us`` is the SLO less its margin.

    ``build_us`` is the time that each further sample of a batch takes to gather.
    """

    limit_us: float
    build_us: float


@dataclass(frozen=True)
class Templates:
    """Feasible templates, one a row. Stage axes have the length of the longest; unused stages are padded.

    ``model`` (n,), ``stages`` (n,), ``batch`` (n,) and ``latency_us`` (n,), which includes gathering;
    ``cuts`` (n, longest + 1), padded with its last; ``device_class`` and ``share`` (n, longest), padded
    with -1 and 0; ``worker_rps`` (n, longest), padded with infinity. ``seen`` counts the templates looked
    at, feasible or not.
    """

    model: I64
    stages: I64
    batch: I64
    latency_us: F64
    cuts: I64
    device_class: I64
    share: I64
    worker_rps: F64
    seen: int = 0

    def __len__(self) -> int:
        return len(self.model)

    def take(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> Templates:
        """The templates in ``rows``, an index or a mask."""
        return Templates(**{f.name: getattr(self, f.name)[rows] for f in fields(self) if f.name != "seen"})

    def padded(self, longest: int) -> Templates:
        """The same templates with stage axes of length ``longest``."""
        missing = longest - self.share.shape[1]
        if not missing:
            return self
        grown = ((0, 0), (0, missing))
        return replace(
            self,
            cuts=np.pad(self.cuts, grown, mode="edge") if len(self) else np.zeros((0, longest + 1), np.int64),
            device_class=np.pad(self.device_class, grown, constant_values=-1),
            share=np.pad(self.share, grown),
            worker_rps=np.pad(self.worker_rps, grown, constant_values=np.inf),
        )

    @property
    def device_rps(self) -> F64:
        """What a whole device of each stage sustains; infinity where there is no stage."""
        return self.worker_rps * np.maximum(self.share, 1)


def join(parts: Sequence[Templates]) -> Templates:
    """All rows of ``parts``, padded to the longest."""
    longest = max(part.share.shape[1] for part in parts)
    padded = [part.padded(longest) for part in parts]
    columns = {
        f.name: np.concatenate([getattr(part, f.name) for part in padded])
        for f in fields(Templates)
        if f.name != "seen"
    }
    return Templates(**columns, seen=sum(part.seen for part in parts))


def enumerate_templates(
    profile: Profile,
    cluster: Cluster,
    budget: LatencyBudget,
    *,
    max_stages: int,
    max_share: int | None = None,
    model: int = 0,
) -> Templates:
    """All feasible templates of one model on ``cluster``; device classes count in the cluster's order.

    ``max_share`` limits co-location below the cluster's own limits (1: whole devices only); ``model``
    fills the column of that name.
    """
    facts = _Facts.of(profile, cluster, max_share)
    deepest = min(max_stages, len(profile.blocks))
    parts = [part for stages in range(1, deepest + 1) for part in _feasible(facts, budget, stages, model)]
    return join([_none(), *parts])


@dataclass(frozen=True)
class _Facts:
    """One model on one cluster as arrays. A unit is a (device class, share).

    ``span_us`` (units, blocks + 1, blocks + 1, batches) with infinity where a unit cannot run the span;
    ``sample_us`` (boundaries, classes, classes); ``part`` (units,): workers that share an interface.
    """

    device_class: I64
    share: I64
    span_us: F64
    sample_us: F64
    part: I64

    @property
    def n_blocks(self) -> int:
        return int(self.span_us.shape[1]) - 1

    @classmethod
    def of(cls, profile: Profile, cluster: Cluster, max_share: int | None) -> _Facts:
        names = list(cluster.device_classes)
        units = [
            (index, share)
            for index, name in enumerate(names)
            if cluster.device_classes[name].available
            for share in profile.shares_of(name)
            if share <= min(cluster.device_classes[name].max_share, max_share or share)
        ]
        bandwidth = np.array([cluster.bandwidth_gbps_of(name) for name in names])
        slowest = np.minimum(bandwidth[:, None], bandwidth[None, :])
        sample_us = [
            [[transfer_us(size, link) for link in row] for row in slowest] for size in profile.boundary_bytes
        ]
        return cls(
            device_class=np.array([index for index, _ in units], dtype=np.int64),
            share=np.array([share for _, share in units], dtype=np.int64),
            span_us=_spans(profile, cluster, [(names[index], share) for index, share in units]),
            sample_us=np.array(sample_us),
            part=np.array(
                [cluster.device_classes[names[index]].per_host * share for index, share in units],
                dtype=np.int64,
            ),
        )


def _spans(profile: Profile, cluster: Cluster, units: Sequence[tuple[str, int]]) -> F64:
    """Latency of every span on every unit; infinity beyond the table's batches or the share's memory."""
    n = len(profile.blocks)
    tables = [profile.table(name, share) for name, share in units]
    widest = max((table.max_batch for table in tables), default=1)
    spans = np.full((len(units), n + 1, n + 1, widest), np.inf)
    for u, ((name, share), table) in enumerate(zip(units, tables, strict=True)):
        memory_gb = cluster.device_classes[name].memory_gb
        for start, stop in itertools.combinations(range(n + 1), 2):
            spans[u, start, stop, : table.max_batch] = table.span_us(start, stop)
            if memory_gb is not None:
                need = _memory_bytes(profile, start, stop, np.arange(1, widest + 1))
                spans[u, start, stop, need * share > memory_gb * 1e9] = np.inf
    return spans


def _memory_bytes(profile: Profile, start: int, stop: int, batches: I64) -> F64:
    """Parameters of the span, and its largest activation for each batch."""
    blocks = profile.blocks[start:stop]
    fixed = sum(block.parameter_bytes for block in blocks)
    return fixed + max(block.peak_activation_bytes for block in blocks) * batches.astype(np.float64)


def _feasible(facts: _Facts, budget: LatencyBudget, stages: int, model: int) -> Iterator[Templates]:
    """Feasible templates of exactly ``stages`` stages, chunk by chunk over sequences of units."""
    n, batches = facts.n_blocks, facts.span_us.shape[-1]
    inner = itertools.combinations(range(1, n), stages - 1)
    cuts = np.array([(0, *cut, n) for cut in inner], dtype=np.int64)
    sequences = np.array(list(itertools.product(range(len(facts.share)), repeat=stages)), dtype=np.int64)
    sequences = sequences.reshape(-1, stages)  # also where there are none
    step = max(1, CHUNK_TEMPLATES // (len(cuts) * batches))
    for first in range(0, len(sequences), step):
        yield _feasible_chunk(facts, budget, model, cuts, sequences[first : first + step])


def _feasible_chunk(facts: _Facts, budget: LatencyBudget, model: int, cuts: I64, units: I64) -> Templates:
    """The feasible templates among ``cuts`` x ``units`` x batches."""
    stages = units.shape[1]
    batch = np.arange(1, facts.span_us.shape[-1] + 1)
    inference = [
        facts.span_us[units[:, None, s], cuts[None, :, s], cuts[None, :, s + 1]] for s in range(stages)
    ]  # each (sequences, cuts, batches)
    classes = facts.device_class[units]
    sample = [
        facts.sample_us[cuts[None, :, s + 1], classes[:, None, s], classes[:, None, s + 1]]
        for s in range(stages - 1)
    ]  # each (sequences, cuts)
    moving = sum(sample, start=np.zeros((len(units), len(cuts))))
    latency = sum(inference) + batch * moving[:, :, None] + budget.build_us * (batch - 1)
    q, c, b = np.nonzero(latency <= budget.limit_us)
    rates = np.stack([batch[b] * US_PER_S / inference[s][q, c, b] for s in range(stages)], axis=1)
    for s in range(stages - 1):
        for side in (s, s + 1):
            with np.errstate(divide="ignore"):
                link = US_PER_S / (sample[s][q, c] * facts.part[units[q, side]])
            rates[:, side] = np.minimum(rates[:, side], link)
    return Templates(
        model=np.full(len(q), model),
        stages=np.full(len(q), stages),
        batch=batch[b],
        latency_us=latency[q, c, b],
        cuts=cuts[c],
        device_class=classes[q],
        share=facts.share[units[q]],
        worker_rps=rates,
        seen=latency.size,
    )


def _none() -> Templates:
    none = np.zeros(0, dtype=np.int64)
    return Templates(
        model=none,
        stages=none,
        batch=none,
        latency_us=np.zeros(0),
        cuts=np.zeros((0, 2), dtype=np.int64),
        device_class=np.zeros((0, 1), dtype=np.int64),
        share=np.zeros((0, 1), dtype=np.int64),
        worker_rps=np.zeros((0, 1)),
    )
