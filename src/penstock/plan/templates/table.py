"""Templates: every way to cut one model into a chain of stages, as plain arrays.

A template is (cuts, device class per stage, share per stage, pieces per stage, batch). All stages have the same batch,
and each may split it into pieces for as many workers. The smallest form of a template has a worker for each piece. A
template is feasible if

    sum(inference of the largest piece) + batch * sum(transfer of one sample) + batch_build <= SLO - margin,
    batch_build = batch_build_factor * (batch - 1) / estimated rate.

It must also be possible to promise it (:mod:`penstock.plan.templates.promise`), if its profile has percentiles and its
model has a template that can be promised.

These are the terms of Kong et al., "PPipe" (USENIX ATC 2025, planning). A worker's rate is at most
``batch / inference``, with the inference of all pieces. If it sends or receives, its rate is also at most its part of
the host's interface: one sample's transfer time, shared by ``devices_per_host * share`` workers. The paper solves one
integer program over cuts and classes. Here templates are listed, so the program is small and its bound is tight. If
there are too many to list, only those near the best at given prices are listed
(:mod:`penstock.plan.templates.pricing`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from penstock.arrays import F64, I64
from penstock.plan.templates.path_kernels import completions, paths
from penstock.plan.templates.promise import keeps_promise
from penstock.plan.templates.space import TemplateSpace
from penstock.units import US_PER_S

NO_LIMIT = np.iinfo(np.int64).max


@dataclass(frozen=True)
class LatencyBudget:
    """The limits that one model's templates must meet. ``limit_us`` is the SLO less its margin.

    ``build_us`` is the gathering time of each further sample of a batch.
    """

    limit_us: float
    build_us: float


@dataclass(frozen=True)
class Templates:
    """Feasible templates, one per row. Stage axes have the length of the longest template; unused stages are padded.

    ``model`` (n,), ``stages`` (n,), ``batch`` (n,) and ``latency_us`` (n,), which includes gathering.
    ``cuts`` (n, longest + 1), padded with its last value. ``device_class``, ``share`` and ``pieces`` (n, longest),
    padded with -1, 0 and 1. ``worker_rps`` (n, longest), padded with infinity. ``seen``: the number of templates
    examined, feasible or not.
    """

    model: I64
    stages: I64
    batch: I64
    latency_us: F64
    cuts: I64
    device_class: I64
    share: I64
    pieces: I64
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
            pieces=np.pad(self.pieces, grown, constant_values=1),
            worker_rps=np.pad(self.worker_rps, grown, constant_values=np.inf),
        )

    @property
    def device_rps(self) -> F64:
        """The rate that a whole device of each stage sustains. Infinity if there is no such stage."""
        return self.worker_rps * np.maximum(self.share, 1)

    @property
    def is_split(self) -> NDArray[np.bool_]:
        """Whether some stage of a template has several pieces: (n,)."""
        return np.asarray((self.pieces > 1).any(axis=1))


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


def whole_workers(rate_rps: F64 | float, worker_rps: F64) -> F64:
    """The fewest whole workers that serve ``rate_rps``, in floats. The shapes broadcast.

    The quotient is reduced a little, so that a rounding error never adds a worker.
    """
    need: F64 = np.ceil(rate_rps / worker_rps - 1e-9)
    return need


def list_templates(space: TemplateSpace) -> Templates:
    """All feasible templates of ``space``, by batch."""
    free = np.zeros(space.arcs.target.shape)
    found = []
    for batch in space.batches.tolist():
        graph = space.graph(batch, free)
        found.append(paths(graph, completions(graph), NO_LIMIT)[0])
    return replace(templates_by_batch(space, found), seen=space.size)


def templates_by_batch(space: TemplateSpace, found: Sequence[I64]) -> Templates:
    """The feasible templates along the paths ``found`` at each batch, starting with batch 1."""
    batch = np.repeat(space.batches[: len(found)], [len(path) for path in found])
    return templates_of(space, batch, np.concatenate(found))


def templates_of(space: TemplateSpace, batch: I64, path: I64) -> Templates:
    """The feasible templates at ``batch`` (n,) along ``path`` (n, max_stages). Arcs are padded with -1."""
    depth = (path >= 0).sum(axis=1)
    parts = [
        _of_depth(space, batch[depth == stages], path[depth == stages, :stages])
        for stages in np.unique(depth[depth > 0]).tolist()
    ]
    return join([no_templates(), *parts])


def _of_depth(space: TemplateSpace, batch: I64, path: I64) -> Templates:
    """The feasible templates of exactly ``path.shape[1]`` stages."""
    rows, stages = path.shape
    units, classes = space.arcs.unit[path], space.device_class[space.arcs.unit[path]]
    cuts = np.column_stack([np.zeros(rows, np.int64), space.arcs.stop[path]])
    pieces = space.arcs.pieces[path]
    inference, work = piece_times(space, units, cuts, batch, pieces)
    sample = space.sample_us[cuts[:, 1:-1], classes[:, :-1], classes[:, 1:]]
    # Add stage by stage: the order of a sum must not depend on how templates are found.
    latency = sum(inference.T) + batch * sum(sample.T, np.zeros(rows)) + space.build_us * (batch - 1)
    rates = batch[:, None] * US_PER_S / work
    kept = latency <= space.limit_us
    if space.excess_us is not None:
        excess = space.excess_us[units, cuts[:, :-1], cuts[:, 1:], -(-batch[:, None] // pieces) - 1]
        kept &= keeps_promise(space.promise_us, inference.sum(axis=1), sample, batch, excess)
    part = (space.per_host * space.share)[units]
    for s in range(stages - 1):
        for side in (s, s + 1):
            with np.errstate(divide="ignore"):
                link = US_PER_S / (sample[:, s] * part[:, side])
            rates[:, side] = np.minimum(rates[:, side], link)
    return Templates(
        model=np.full(rows, space.model),
        stages=np.full(rows, stages),
        batch=batch,
        latency_us=latency,
        cuts=cuts,
        device_class=classes,
        share=space.share[units],
        pieces=pieces,
        worker_rps=rates,
    ).take(kept)


def piece_times(space: TemplateSpace, units: I64, cuts: I64, batch: I64, pieces: I64) -> tuple[F64, F64]:
    """The times of the largest piece, and of all pieces of a batch, on ``units``: (n, stages) each.

    ``cuts`` (n, stages + 1), ``batch`` (n,), ``units`` and ``pieces`` (n, stages).
    """
    size, more = batch[:, None] // pieces, batch[:, None] % pieces
    spans = units, cuts[:, :-1], cuts[:, 1:]
    smaller_us = space.span_us[(*spans, size - 1)]
    largest_us = space.span_us[(*spans, size + (more > 0) - 1)]
    # Where all pieces are equal, 0 times an infinite time is no time.
    work_us = (pieces - more) * smaller_us + more * np.where(more > 0, largest_us, 0.0)
    return largest_us, work_us


def no_templates() -> Templates:
    """No rows."""
    none = np.zeros(0, dtype=np.int64)
    return Templates(
        model=none,
        stages=none,
        batch=none,
        latency_us=np.zeros(0),
        cuts=np.zeros((0, 2), dtype=np.int64),
        device_class=np.zeros((0, 1), dtype=np.int64),
        share=np.zeros((0, 1), dtype=np.int64),
        pieces=np.zeros((0, 1), dtype=np.int64),
        worker_rps=np.zeros((0, 1)),
    )
