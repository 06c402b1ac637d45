"""One epoch at the dispatcher: the plan's policy, its table, and where its workers listen."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import final

import numpy as np

from penstock.schedule.policy import Policy
from penstock.schedule.table import DispatchTable
from penstock.serve.messages import Readiness, RouteStep
from penstock.units import NEVER_US


@final
class ServedPlan:
    """All workers are down until :meth:`up`; they are numbered from ``first_worker``, and from 0 to the policy."""

    def __init__(
        self, epoch: int, policy: Policy, table: DispatchTable, now_us: int, *, first_worker: int = 0
    ) -> None:
        self.epoch = epoch
        self.policy = policy
        self.table = table
        self.wake_us = NEVER_US
        self.waiting = 0
        self.has_links = table.n_hosts > 1
        self._first = first_worker
        self._endpoints: list[str | None] = [None] * table.n_workers
        self._stages = np.diff(table.stage_offsets).tolist()
        for worker in range(table.n_workers):
            policy.worker_down(now_us, worker)

    @property
    def workers(self) -> range:
        """The numbers of its workers."""
        return range(self._first, self._first + self.table.n_workers)

    def up(self, now_us: int, worker: int, endpoint: str) -> None:
        """``worker`` listens at ``endpoint`` and is idle."""
        self._endpoints[worker - self._first] = endpoint
        self.policy.worker_up(now_us, worker - self._first)

    def down(self, now_us: int, worker: int) -> tuple[int, ...]:
        """``worker`` gets nothing more. The policy's batches that are lost with it."""
        self._endpoints[worker - self._first] = None
        return self.policy.worker_down(now_us, worker - self._first)

    def endpoint(self, worker: int) -> str | None:
        """Where ``worker`` listens; None if it is down."""
        return self._endpoints[worker - self._first]

    def is_alone(self, worker: int) -> bool:
        """Whether no other worker of its pool is up."""
        pools = self.table.pool_of_worker
        others = np.flatnonzero(pools == pools[worker - self._first])
        return not any(
            self._endpoints[other] is not None for other in others if other != worker - self._first
        )

    def stages_of(self, pipeline: int) -> int:
        """How many stages ``pipeline`` has."""
        stages: int = self._stages[pipeline]
        return stages

    def route(self, workers: Sequence[int]) -> tuple[RouteStep, ...]:
        """The steps of a route that the policy chose."""
        steps = []
        for worker in workers:
            endpoint = self._endpoints[worker]
            assert endpoint is not None, f"the policy chose worker {worker}, which is down"
            steps.append(RouteStep(self._first + worker, endpoint))
        return tuple(steps)

    def readiness(self, dispatcher: int) -> Readiness:
        """What ``dispatcher`` tells gateways.

        A model is ready when each stage of one of its pipelines has a worker in its pool.
        """
        table = self.table
        up = [endpoint is not None for endpoint in self._endpoints]
        stages = np.bincount(table.pool_of_worker, weights=up)[table.pool_of_stage]
        whole = [all(stages[a:b]) for a, b in pairwise(table.stage_offsets.tolist())]
        models = [any(whole[a:b]) for a, b in pairwise(table.pipeline_offsets.tolist())]
        return Readiness(dispatcher, self.epoch, tuple(models))
