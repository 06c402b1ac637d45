"""The reactive policy: every pool batches on its own, by the slack its head has left. No reservations.

The family of *stage-wise* policies, of which this is the first, does not fit :class:`penstock.schedule.policy.Policy`:
that protocol dispatches a whole route at once, while here a request gets its next worker only when it reaches
the next pool, and the batches of one stage are not those of the next. Its small protocol is kernels
without I/O (:mod:`penstock.schedule.reactive_kernels`), one a question:

- ``choose_pipeline``: a request arrives; which pipeline takes it?
- ``choose_site``: a batch leaves a stage; which site of the next pool gets it?
- ``step``: a site has queued requests and idle workers; dispatch, wait or drop?

A *site* is the part of a pool that shares one queue: requests can run on any worker of it without another transfer. The
published simulator has one site a pool; a fleet has one for each host of a pool that receives.

After Shen et al., "Nexus: A GPU Cluster Engine for Accelerating DNN-Based Video Analysis" (SOSP 2019), for its
early drop, as the ablation of "PPipe" (USENIX ATC 2025) uses it. The live server drives routed policies only.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from penstock.errors import BadInputError
from penstock.schedule.table import I64, DispatchTable


class ReactiveFacts(NamedTuple):
    """What the decisions need, as arrays.

    ``pipeline_first`` (models + 1,), ``stage_first`` (pipelines + 1,). ``rate`` (pipelines,), float: by which a model's
    requests are split among its pipelines. ``batch`` (stages,): planned. ``latency_us`` (stages, max batch + 1).
    ``later_us`` (stages,): what must remain when a stage ends, for the transfers and later stages at their
    planned batches.
    """

    pipeline_first: I64
    stage_first: I64
    rate: np.ndarray
    batch: I64
    latency_us: I64
    later_us: I64


def make_reactive_facts(table: DispatchTable, *, dispatch_us: int = 0, overhead_us: int = 0) -> ReactiveFacts:
    """The facts of ``table`` for a driver that takes ``dispatch_us`` a batch and stage, ``overhead_us`` a request.

    ``later_us`` holds the root of the summed squares of ``p99 - median`` from the stage on, as the guard of the
    reservation policy does. Raises :class:`BadInputError` for a negative cost, and where stages share pools: each
    pool here has the queue of one stage.
    """
    if table.shares_pools:
        raise BadInputError(
            "the reactive policy has a queue for each stage, but the plan's stages share their pools. Use another "
            "policy, or a plan made without --shared-pools."
        )
    if dispatch_us < 0 or overhead_us < 0:
        raise BadInputError(
            f"dispatch_us (={dispatch_us}) and overhead_us (={overhead_us}) must be >= 0: correct the sign."
        )
    stages = len(table.latency_us)
    planned = np.repeat(table.pipeline_batch, np.diff(table.stage_first))
    at = (np.arange(stages), planned)
    pool_rate = np.diff(table.worker_first) * planned / table.latency_us[at]
    later_us = np.zeros(stages, np.int64)
    for first, stop in zip(table.stage_first[:-1], table.stage_first[1:], strict=True):
        for stage in range(first, stop):
            rest = slice(stage + 1, stop)
            spread = (table.p99_us - table.latency_us)[at][stage:stop].astype(np.float64)
            guard_us = np.ceil(np.sqrt((spread**2).sum()))
            step_us = table.transfer_us[at][rest] + table.latency_us[at][rest] + dispatch_us
            later_us[stage] = step_us.sum() + guard_us + dispatch_us + overhead_us
    return ReactiveFacts(
        pipeline_first=table.pipeline_first,
        stage_first=table.stage_first,
        rate=np.minimum.reduceat(pool_rate, table.stage_first[:-1]),
        batch=planned,
        latency_us=table.latency_us,
        later_us=later_us,
    )
