"""A plan as plain arrays: all that a policy, the simulator and the dispatcher know of the fleet.

Indices are dense and global: models, pipelines, stages, workers, hosts. A model's pipelines, a pipeline's
stages and a stage's workers are each contiguous, so a ``*_first`` array of length n + 1 delimits them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

I64 = NDArray[np.int64]


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

    @property
    def n_models(self) -> int:
        """Number of models."""
        return len(self.slo_us)

    @property
    def n_workers(self) -> int:
        """Number of workers over all stages."""
        return len(self.worker_host)

    @property
    def n_hosts(self) -> int:
        """Number of hosts that hold a worker (hosts are numbered densely)."""
        return int(self.worker_host.max()) + 1
