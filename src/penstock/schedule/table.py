"""A plan as plain arrays: this is all that a policy, the simulator and the dispatcher know of the fleet.

Models, pipelines, stages, workers and hosts are each numbered over the whole plan, from 0 and without gaps. The
pipelines of a model follow each other, and so do the stages of a pipeline and the workers of a stage. So an
``*_offsets`` array of length n + 1 says where each group begins and ends.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from penstock.arrays import I64

NO_SHARING: I64 = np.zeros(0, np.int64)
"""The ``stage_pool`` of a table in which every stage has its own pool, and the ``stage_pieces`` of one that splits
nothing."""


class DispatchTable(NamedTuple):
    """The facts, as int64 arrays that nobody changes. Kernels take a NamedTuple of arrays as it is.

    - ``slo_us`` (models,)
    - ``pipeline_offsets`` (models + 1,): model m has pipelines ``pipeline_offsets[m] .. pipeline_offsets[m + 1] - 1``
    - ``stage_offsets`` (pipelines + 1,), ``worker_offsets`` (stages + 1,)
    - ``pipeline_batch`` (pipelines,): planned batch
    - ``latency_us`` (stages, max batch + 1): median of a batch; column 0 unused
    - ``p99_us`` the same shape; equals ``latency_us`` if no distribution is known
    - ``transfer_us`` (stages, max batch + 1): time to receive a batch from the stage before; 0 for a first stage
    - ``worker_host`` (workers,): the host whose up- and downlink the worker uses
    - ``worker_device`` (workers,): physical device, for utilisation
    - ``stage_pool`` (stages,): stages with the same number share a pool, and a worker of one serves all of them; empty
      if every stage has its own pool
    - ``lend_group`` (stages,): pools of stages with the same number may lend each other idle workers, see
      :mod:`penstock.schedule.rules.borrowing_kernels`; empty if none lends. A table with shared pools has none
    - ``stage_pieces`` (stages,): into how many pieces a stage splits the planned batch, each for a worker of its own
      (:mod:`penstock.schedule.pieces`); empty if no stage is split. ``latency_us`` is then that of a piece, and
      ``transfer_us`` that of the requests that one worker sends to another
    """

    slo_us: I64
    pipeline_offsets: I64
    stage_offsets: I64
    worker_offsets: I64
    pipeline_batch: I64
    latency_us: I64
    p99_us: I64
    transfer_us: I64
    worker_host: I64
    worker_device: I64
    stage_pool: I64 = NO_SHARING
    lend_group: I64 = NO_SHARING
    stage_pieces: I64 = NO_SHARING

    @property
    def n_models(self) -> int:
        """Number of models."""
        return len(self.slo_us)

    @property
    def shares_pools(self) -> bool:
        """Whether stages may share a pool."""
        return len(self.stage_pool) > 0

    @property
    def lends(self) -> bool:
        """Whether pools may lend each other workers."""
        return len(self.lend_group) > 0

    @property
    def splits(self) -> bool:
        """Whether some stage may be split."""
        return len(self.stage_pieces) > 0

    @property
    def piece_batch(self) -> I64:
        """The most requests of a batch that one worker of a stage gets, (stages,)."""
        planned = np.repeat(self.pipeline_batch, np.diff(self.stage_offsets))
        return -(-planned // self.stage_pieces) if self.splits else planned

    @property
    def pool_of_stage(self) -> I64:
        """The pool of every stage, (stages,)."""
        return self.stage_pool if self.shares_pools else np.arange(self.stage_offsets[-1])

    @property
    def pool_of_worker(self) -> I64:
        """The pool of every worker, that of its own stage: (workers,)."""
        return np.repeat(self.pool_of_stage, np.diff(self.worker_offsets))

    @property
    def n_workers(self) -> int:
        """Number of workers over all stages."""
        return len(self.worker_host)

    @property
    def n_hosts(self) -> int:
        """Number of hosts that hold a worker (hosts are numbered densely)."""
        return int(self.worker_host.max()) + 1
