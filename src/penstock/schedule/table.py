"""A plan as plain arrays: all that a policy, the simulator and the dispatcher know of the fleet.

Indices are dense and global: models, pipelines, stages, workers, hosts. A model's pipelines, a pipeline's
stages and a stage's own workers are each contiguous, so a ``*_first`` array of length n + 1 delimits them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

I64 = NDArray[np.int64]

NO_SHARING: I64 = np.zeros(0, np.int64)
"""The ``stage_pool`` of a table in which every stage has its own pool."""


class DispatchTable(NamedTuple):
    """Immutable facts, int64 arrays. A NamedTuple of arrays passes into numba kernels as it is.

    - ``slo_us`` (models,)
    - ``pipeline_first`` (models + 1,): model m has pipelines ``pipeline_first[m] .. pipeline_first[m + 1] - 1``
    - ``stage_first`` (pipelines + 1,), ``worker_first`` (stages + 1,)
    - ``pipeline_batch`` (pipelines,): planned batch
    - ``latency_us`` (stages, max batch + 1): median of a batch; column 0 unused
    - ``p99_us`` the same shape; equals ``latency_us`` where no distribution is known
    - ``transfer_us`` (stages, max batch + 1): time to receive a batch from the stage before; row of a
      first stage is 0
    - ``worker_host`` (workers,): the host whose up- and downlink the worker uses
    - ``worker_device`` (workers,): physical device, for utilisation
    - ``stage_pool`` (stages,): stages with the same number share a pool: a worker of one serves all of them;
      empty where every stage has a pool of its own
    """

    slo_us: I64
    pipeline_first: I64
    stage_first: I64
    worker_first: I64
    pipeline_batch: I64
    latency_us: I64
    p99_us: I64
    transfer_us: I64
    worker_host: I64
    worker_device: I64
    stage_pool: I64 = NO_SHARING

    @property
    def n_models(self) -> int:
        """Number of models."""
        return len(self.slo_us)

    @property
    def shares_pools(self) -> bool:
        """Whether stages may share a pool."""
        return len(self.stage_pool) > 0

    @property
    def pool_of_stage(self) -> I64:
        """The pool of every stage, (stages,)."""
        return self.stage_pool if self.shares_pools else np.arange(self.stage_first[-1])

    @property
    def pool_of_worker(self) -> I64:
        """The pool of every worker, that of its own stage: (workers,)."""
        return np.repeat(self.pool_of_stage, np.diff(self.worker_first))

    @property
    def n_workers(self) -> int:
        """Number of workers over all stages."""
        return len(self.worker_host)

    @property
    def n_hosts(self) -> int:
        """Number of hosts that hold a worker (hosts are numbered densely)."""
        return int(self.worker_host.max()) + 1
