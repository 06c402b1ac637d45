"""From a plan to the arrays that policies, the simulator and the dispatcher work on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Literal

import numpy as np

from penstock.arrays import I64
from penstock.cluster import Cluster
from penstock.errors import BadInputError
from penstock.plan.documents.plan import PipelinePlan, Plan, StagePlan
from penstock.plan.documents.shared_pools import stage_pools
from penstock.profile.table import Profile
from penstock.schedule.table import NO_SHARING, DispatchTable
from penstock.units import transfer_us, whole_us


def dispatch_table(plan: Plan, profiles: Mapping[str, Profile]) -> DispatchTable:
    """The dispatch table of ``plan``; ``profiles`` by model name.

    Workers are numbered as in the placement. Hosts and devices are numbered from 0 without gaps, class by class;
    only those that hold a worker count. Rows end at the largest planned batch of the plan. If a profile's table ends
    before that batch, its last value is repeated. No policy uses the repeated values.
    """
    if plan.scheduled is not None:
        raise BadInputError(
            "the plan's models take turns by segments, and this verb cannot run such a plan. 'penstock simulate' and "
            "'penstock sweep' simulate it, 'penstock serve' serves it. For this verb, plan without planner.scheduled."
        )
    pipelines = [(model.name, pipeline) for model in plan.models for pipeline in model.pipelines]
    widest = max(stage.batch for _, pipeline in pipelines for stage in pipeline.stages)
    cluster = plan.scenario.cluster
    stages = list(chain.from_iterable(pipeline.stages for _, pipeline in pipelines))
    latency = [
        _row(profiles[name].table(s.device_class, s.share).span_us(*s.blocks), widest)
        for name, pipeline in pipelines
        for s in pipeline.stages
    ]
    p99 = [_p99_row(profiles[name], s, widest) for name, pipeline in pipelines for s in pipeline.stages]
    moves = [
        row for name, pipeline in pipelines for row in _transfers(pipeline, profiles[name], cluster, widest)
    ]
    pools = np.array(stage_pools(plan), dtype=np.int64)
    return DispatchTable(
        slo_us=np.array([model.slo_us for model in plan.models], dtype=np.int64),
        pipeline_offsets=_first(len(model.pipelines) for model in plan.models),
        stage_offsets=_first(len(pipeline.stages) for _, pipeline in pipelines),
        worker_offsets=_first(stage.workers for stage in stages),
        pipeline_batch=np.array([pipeline.stages[0].batch for _, pipeline in pipelines], dtype=np.int64),
        latency_us=np.array(latency, dtype=np.int64),
        p99_us=np.array(p99, dtype=np.int64),
        transfer_us=np.array(moves, dtype=np.int64),
        worker_host=_dense(plan, "host"),
        worker_device=_dense(plan, "device"),
        stage_pool=NO_SHARING if not plan.shared_pools or plan.lent_pools else pools,
        lend_group=pools if plan.lent_pools else NO_SHARING,
        stage_pieces=_pieces(stages),
    )


def _pieces(stages: Iterable[StagePlan]) -> I64:
    pieces = np.array([stage.pieces for stage in stages], np.int64)
    return pieces if (pieces > 1).any() else NO_SHARING


def _row(values: I64, widest: int) -> I64:
    """``values`` of batches 1, 2, ... as a row indexed by batch. Column 0 is unused."""
    padded = np.pad(values[:widest], (0, max(0, widest - len(values))), mode="edge")
    return np.concatenate([[0], padded]).astype(np.int64)


def _p99_row(profile: Profile, stage: StagePlan, widest: int) -> I64:
    """99th percentiles of a span. The blocks' differences between 99th percentile and median add as squares.

    This is exact for independent normal blocks. A profile times each block alone, so correlations are unknown.
    """
    table = profile.table(stage.device_class, stage.share)
    start, stop = stage.blocks
    span_us = table.span_us(start, stop)
    if table.p99_us is None:
        return _row(span_us, widest)
    excess = (table.p99_us - table.latency_us)[start:stop].astype(np.float64)
    return _row(np.ceil(span_us + np.sqrt((excess**2).sum(axis=0))).astype(np.int64), widest)


def _transfers(
    pipeline: PipelinePlan, profile: Profile, cluster: Cluster, widest: int
) -> Iterator[list[int]]:
    """For every stage, the time to receive 0, 1, 2, ... samples. It is 0 for the first stage."""
    yield [0] * (widest + 1)
    for sender, receiver in zip(pipeline.stages, pipeline.stages[1:], strict=False):
        link = cluster.link_gbps(sender.device_class, receiver.device_class)
        sample_us = transfer_us(profile.boundary_bytes[receiver.blocks[0]], link)
        yield [whole_us(size * sample_us) for size in range(widest + 1)]


def _first(lengths: Iterable[int]) -> I64:
    """The index at which each group starts, and the index after the last group."""
    return np.cumsum([0, *lengths], dtype=np.int64)


def _dense(plan: Plan, place: Literal["host", "device"]) -> I64:
    """Every worker's host or device, numbered over the plan without gaps. Classes have the cluster's order."""
    order = {name: rank for rank, name in enumerate(plan.scenario.cluster.device_classes)}
    key = [(order[worker.device_class], getattr(worker, place)) for worker in plan.placement]
    number = {place: index for index, place in enumerate(sorted(set(key)))}
    return np.array([number[one] for one in key], dtype=np.int64)
