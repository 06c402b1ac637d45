"""One model's part of a plan as arrays, with the network as the published simulator has it.

A batch that leaves a stage waits for the uplink of its sender's host; receivers never wait. Nothing else
shares the fleet: models are simulated one at a time.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from penstock.errors import BadInputError
from penstock.schedule.table import I64, DispatchTable


class Fleet(NamedTuple):
    """Immutable facts of one model; indices of pipelines, stages and workers are its own.

    ``slo_us`` (1,). ``stage_first`` (pipelines + 1,), ``worker_first`` (stages + 1,), ``pipeline_batch``
    (pipelines,). ``latency_us``, ``transfer_us`` (stages, max batch + 1): to run, and to receive, a batch.
    ``work_us`` (pipelines, max batch + 1): through the pipeline when nothing waits. ``uplink`` (workers,): the
    interface that a worker sends through.
    """

    slo_us: I64
    stage_first: I64
    worker_first: I64
    pipeline_batch: I64
    latency_us: I64
    transfer_us: I64
    work_us: I64
    uplink: I64


class Pools(NamedTuple):
    """Each pool's workers by the time from which they are free, as a ring: the first is the one to take.

    ``free_us``, ``worker`` (stages, most workers); ``first`` (stages,): where the ring begins. A batch takes the
    first, or one near it, and puts it back, nearly always last, so that a pool of any size costs the same.
    Workers free at the same time keep the order in which they came, at first that of their slots.
    """

    free_us: I64
    worker: I64
    first: I64


def only_model(table: DispatchTable, model: int) -> DispatchTable:
    """The part of ``table`` that serves ``model``, numbered from 0. Hosts and devices keep their numbers.

    Raises :class:`BadInputError` where stages share pools: there no model is alone.
    """
    if table.shares_pools:
        raise BadInputError(
            "the published mode serves each model alone, but the plan's models share their pools. Use --mode "
            "full, or a plan made without --shared-pools."
        )
    pipelines = slice(table.pipeline_first[model], table.pipeline_first[model + 1])
    stage_first = table.stage_first[pipelines.start : pipelines.stop + 1]
    stages = slice(stage_first[0], stage_first[-1])
    worker_first = table.worker_first[stages.start : stages.stop + 1]
    workers = slice(worker_first[0], worker_first[-1])
    return DispatchTable(
        slo_us=table.slo_us[model : model + 1],
        pipeline_first=np.array([0, pipelines.stop - pipelines.start], np.int64),
        stage_first=stage_first - stage_first[0],
        worker_first=worker_first - worker_first[0],
        pipeline_batch=table.pipeline_batch[pipelines],
        latency_us=table.latency_us[stages],
        p99_us=table.p99_us[stages],
        transfer_us=table.transfer_us[stages],
        worker_host=table.worker_host[workers],
        worker_device=table.worker_device[workers],
    )


def make_fleet(table: DispatchTable, uplink: I64) -> Fleet:
    """The facts of a table of one model; ``uplink`` (workers,)."""
    step_us = table.latency_us + table.transfer_us
    return Fleet(
        slo_us=table.slo_us,
        stage_first=table.stage_first,
        worker_first=table.worker_first,
        pipeline_batch=table.pipeline_batch,
        latency_us=table.latency_us,
        transfer_us=table.transfer_us,
        work_us=np.add.reduceat(step_us, table.stage_first[:-1], axis=0),
        uplink=uplink,
    )


def make_pools(fleet: Fleet) -> Pools:
    """Every worker free since time 0."""
    sizes = np.diff(fleet.worker_first)
    shape = (len(sizes), int(sizes.max()))
    worker = fleet.worker_first[:-1, None] + np.arange(shape[1])
    return Pools(np.zeros(shape, np.int64), worker.astype(np.int64), np.zeros(shape[0], np.int64))
