"""The reactive policy: every pool makes its own batches, by the time that the head of its queue has left.

It reserves nothing. It is a *stage-wise* policy, and does not fit :class:`penstock.schedule.policy.Policy`: that
protocol dispatches a whole route at once, but here a request gets its next worker only when it reaches the next pool,
and each stage has its own batches. Its protocol is three kernels (:mod:`penstock.schedule.rules.reactive_kernels`),
one for each question:

- ``choose_pipeline``: a request arrives; which pipeline takes it?
- ``choose_site``: a batch leaves a stage; which site of the next pool gets it?
- ``step``: a site has queued requests and idle workers; dispatch, wait or drop?

A *site* is the part of a pool that shares one queue: a request there can run on any of its workers without another
transfer. In the published simulator each pool is one site. In a fleet, a pool that receives data has one site on each
of its hosts.

After Shen et al., "Nexus: A GPU Cluster Engine for Accelerating DNN-Based Video Analysis" (SOSP 2019), for its
early drop, as the ablation of "PPipe" (USENIX ATC 2025) uses it. The live server drives routed policies only.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from penstock.arrays import I64
from penstock.errors import BadInputError
from penstock.schedule.checks import checked_duration, checked_table, refuse_split
from penstock.schedule.table import DispatchTable


class ReactiveFacts(NamedTuple):
    """What the decisions need, as arrays.

    ``pipeline_offsets`` (models + 1,), ``stage_offsets`` (pipelines + 1,). ``rate`` (pipelines,), float: by which a
    model's requests are split among its pipelines. ``batch`` (stages,): planned. ``latency_us`` (stages, batch + 1).
    ``later_us`` (stages,): the time that must remain when a stage ends, for the transfers and the later stages at
    their planned batches.
    """

    pipeline_offsets: I64
    stage_offsets: I64
    rate: np.ndarray
    batch: I64
    latency_us: I64
    later_us: I64


def make_reactive_facts(table: DispatchTable, *, dispatch_us: int = 0, overhead_us: int = 0) -> ReactiveFacts:
    """The facts of ``table`` for a driver that takes ``dispatch_us`` a batch and stage, ``overhead_us`` a request.

    ``later_us`` holds the root of the summed squares of ``p99 - median`` from the stage on, as the guard of the
    reservation policy does. Raises :class:`BadInputError` for a table or a cost that kernels cannot take, and if stages
    share pools: each pool here has the queue of one stage.
    """
    table = checked_table(table)
    dispatch_us = checked_duration("dispatch_us", dispatch_us)
    overhead_us = checked_duration("overhead_us", overhead_us)
    refuse_split(table, "the reactive policy")
    if table.shares_pools:
        raise BadInputError(
            "the reactive policy has a queue for each stage, but the plan's stages share their pools. Use another "
            "policy, or a plan made without --shared-pools."
        )
    stages = len(table.latency_us)
    planned = np.repeat(table.pipeline_batch, np.diff(table.stage_offsets))
    at = (np.arange(stages), planned)
    pool_rate = np.diff(table.worker_offsets) * planned / table.latency_us[at]
    later_us = np.zeros(stages, np.int64)
    for first, stop in zip(table.stage_offsets[:-1], table.stage_offsets[1:], strict=True):
        for stage in range(first, stop):
            rest = slice(stage + 1, stop)
            spread = (table.p99_us - table.latency_us)[at][stage:stop].astype(np.float64)
            guard_us = np.ceil(np.sqrt((spread**2).sum()))
            step_us = table.transfer_us[at][rest] + table.latency_us[at][rest] + dispatch_us
            later_us[stage] = step_us.sum() + guard_us + dispatch_us + overhead_us
    return ReactiveFacts(
        pipeline_offsets=table.pipeline_offsets,
        stage_offsets=table.stage_offsets,
        rate=np.minimum.reduceat(pool_rate, table.stage_offsets[:-1]),
        batch=planned,
        latency_us=table.latency_us,
        later_us=later_us,
    )
