"""One model's part of a plan as arrays, with the network of the published simulator.

A batch that leaves a stage waits for the uplink of its sender's host. Receivers never wait. Nothing else
uses the fleet, because models are simulated one at a time.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from penstock.arrays import I64
from penstock.errors import BadInputError
from penstock.schedule.table import DispatchTable


class Fleet(NamedTuple):
    """Constant data of one model. Indices of pipelines, stages and workers count within the model.

    ``slo_us`` (1,). ``stage_offsets`` (pipelines + 1,), ``worker_offsets`` (stages + 1,), ``pipeline_batch``
    (pipelines,). ``latency_us``, ``transfer_us`` (stages, max batch + 1): the time to run, and to receive, a batch.
    ``work_us`` (pipelines, max batch + 1): the time through the pipeline if nothing waits. ``uplink`` (workers,): the
    interface through which a worker sends.
    """

    slo_us: I64
    stage_offsets: I64
    worker_offsets: I64
    pipeline_batch: I64
    latency_us: I64
    transfer_us: I64
    work_us: I64
    uplink: I64


class Pools(NamedTuple):
    """Each pool's workers in the order in which they become free, as a ring: the first one is the one to take.

    ``free_us``, ``worker`` (stages, most workers). ``first`` (stages,): the start of the ring. A batch takes the
    first worker, or one near it, and puts it back, nearly always last. So a pool of any size costs the same.
    Workers that are free at the same time keep the order in which they came. At first that is the order of their
    slots.
    """

    free_us: I64
    worker: I64
    first: I64


def only_model(table: DispatchTable, model: int) -> DispatchTable:
    """The part of ``table`` that serves ``model``, numbered from 0. Hosts and devices keep their numbers.

    Raises :class:`BadInputError` if stages share pools, because then no model is alone.
    """
    if table.shares_pools:
        raise BadInputError(
            "the published mode serves each model alone, but the plan's models share their pools. Use --mode "
            "full, or a plan made without --shared-pools."
        )
    pipelines = slice(table.pipeline_offsets[model], table.pipeline_offsets[model + 1])
    stage_offsets = table.stage_offsets[pipelines.start : pipelines.stop + 1]
    stages = slice(stage_offsets[0], stage_offsets[-1])
    worker_offsets = table.worker_offsets[stages.start : stages.stop + 1]
    workers = slice(worker_offsets[0], worker_offsets[-1])
    return DispatchTable(
        slo_us=table.slo_us[model : model + 1],
        pipeline_offsets=np.array([0, pipelines.stop - pipelines.start], np.int64),
        stage_offsets=stage_offsets - stage_offsets[0],
        worker_offsets=worker_offsets - worker_offsets[0],
        pipeline_batch=table.pipeline_batch[pipelines],
        latency_us=table.latency_us[stages],
        p99_us=table.p99_us[stages],
        transfer_us=table.transfer_us[stages],
        worker_host=table.worker_host[workers],
        worker_device=table.worker_device[workers],
    )


def make_fleet(table: DispatchTable, uplink: I64) -> Fleet:
    """The constant data of a table of one model. ``uplink`` (workers,)."""
    step_us = table.latency_us + table.transfer_us
    return Fleet(
        slo_us=table.slo_us,
        stage_offsets=table.stage_offsets,
        worker_offsets=table.worker_offsets,
        pipeline_batch=table.pipeline_batch,
        latency_us=table.latency_us,
        transfer_us=table.transfer_us,
        work_us=np.add.reduceat(step_us, table.stage_offsets[:-1], axis=0),
        uplink=uplink,
    )


def make_pools(fleet: Fleet) -> Pools:
    """Pools in which every worker is free from time 0."""
    sizes = np.diff(fleet.worker_offsets)
    shape = (len(sizes), int(sizes.max()))
    worker = fleet.worker_offsets[:-1, None] + np.arange(shape[1])
    return Pools(np.zeros(shape, np.int64), worker.astype(np.int64), np.zeros(shape[0], np.int64))
