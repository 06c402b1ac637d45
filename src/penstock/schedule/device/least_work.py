"""Which of several devices that take turns gets a request: the one that would finish it first, at once.

A routed policy for plans whose devices each run every model under a device policy. Nothing is gained by holding a
request back, because the device's own policy orders what waits there; so each goes out when it arrives, alone, to the
worker with the least outstanding work plus the request's own time on that class. Work counts whole until a job is
reported done, so an error of a profile never adds up. Ties go to the lowest number.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import final

from penstock.errors import BadInputError
from penstock.record import Outcome
from penstock.schedule.policy import Decision, Dispatch
from penstock.schedule.table import DispatchTable
from penstock.units import NEVER_US


@dataclass(slots=True)
class _Waiting:
    model: int
    request: int
    deadline_us: int


@dataclass(slots=True)
class _Worker:
    is_up: bool = True
    work_us: int = 0
    batches: dict[int, int] = field(default_factory=dict)


@final
class LeastWorkPolicy:
    """Implements :class:`~penstock.schedule.policy.Policy`.

    Raises :class:`BadInputError` for a table with pipelines of several stages. A request waits only if no worker of its
    model is up, and is dropped at its deadline.
    """

    def __init__(self, table: DispatchTable) -> None:
        stages, pipelines = int(table.stage_offsets[-1]), len(table.pipeline_batch)
        if stages != pipelines:
            raise BadInputError(
                f"{stages} stages in {pipelines} pipelines: devices that take turns run whole models, so every "
                f"pipeline must have one stage."
            )
        pools = table.pool_of_worker.tolist()
        self._pipelines = [
            range(first, last)
            for first, last in zip(
                table.pipeline_offsets[:-1].tolist(), table.pipeline_offsets[1:].tolist(), strict=True
            )
        ]
        self._own_us = table.latency_us[:, 1].tolist()
        self._pool = [
            [worker for worker, pool in enumerate(pools) if pool == mine]
            for mine in table.pool_of_stage.tolist()
        ]
        self._workers = [_Worker() for _ in pools]
        self._worker_of: dict[int, int] = {}
        self._waiting: dict[int, _Waiting] = {}
        self._next_batch = 0

    def arrive(self, now_us: int, model: int, request: int, deadline_us: int) -> None:
        """Note ``request``; :meth:`decide` sends it."""
        if not 0 <= model < len(self._pipelines):
            raise BadInputError(f"model (={model}) must be one of 0 to {len(self._pipelines) - 1}.")
        if request in self._waiting:
            raise BadInputError(f"request {request} waits already: use a number that is free.")
        self._waiting[request] = _Waiting(model, request, deadline_us)

    def decide(self, now_us: int) -> Decision:
        """Send all that has a worker; drop what missed its deadline without one."""
        dispatches, drops = [], []
        for one in list(self._waiting.values()):
            best = min(self._choices(one.model), default=None)
            if best is not None:
                dispatches.append(self._send(now_us, one, *best))
            elif now_us > one.deadline_us:
                drops.append((one.request, int(Outcome.DROPPED_DEADLINE)))
            else:
                continue
            del self._waiting[one.request]
        wake_us = min((one.deadline_us + 1 for one in self._waiting.values()), default=NEVER_US)
        return Decision(tuple(dispatches), tuple(drops), wake_us)

    def complete(self, now_us: int, batch: int, stage: int, piece: int = 0) -> None:
        """The batch is done."""
        self._forget(batch)

    def transferred(self, now_us: int, batch: int, stage: int, transfer_us: int) -> None:
        """Nothing: one device has no links."""

    def abandon(self, now_us: int, batch: int) -> tuple[int, ...]:
        """The batch goes no further. Return it, or nothing if it is not in flight."""
        return (batch,) if self._forget(batch) else ()

    @property
    def in_flight(self) -> int:
        """Batches that were dispatched and are neither finished nor abandoned."""
        return len(self._worker_of)

    def cancel(self, request: int) -> bool:
        """Take a request that has no worker yet out."""
        return self._waiting.pop(request, None) is not None

    def worker_down(self, now_us: int, worker: int) -> tuple[int, ...]:
        """Forget the batches that it held, and return them."""
        gone = self._worker(worker)
        lost = tuple(gone.batches)
        for batch in lost:
            self._forget(batch)
        gone.is_up = False
        return lost

    def worker_up(self, now_us: int, worker: int) -> None:
        """It may get work again."""
        self._worker(worker).is_up = True

    def _worker(self, worker: int) -> _Worker:
        if not 0 <= worker < len(self._workers):
            raise BadInputError(f"worker (={worker}) must be one of 0 to {len(self._workers) - 1}.")
        return self._workers[worker]

    def _choices(self, model: int) -> list[tuple[int, int, int]]:
        """(outstanding work with this job, worker, pipeline) of every worker that could take it."""
        return [
            (self._workers[worker].work_us + self._own_us[pipeline], worker, pipeline)
            for pipeline in self._pipelines[model]
            for worker in self._pool[pipeline]
            if self._workers[worker].is_up
        ]

    def _send(self, now_us: int, one: _Waiting, work_us: int, worker: int, pipeline: int) -> Dispatch:
        batch = self._next_batch
        self._next_batch += 1
        taken = self._workers[worker]
        taken.work_us = work_us
        taken.batches[batch] = self._own_us[pipeline]
        self._worker_of[batch] = worker
        start_us = now_us + work_us - self._own_us[pipeline]
        return Dispatch(
            batch, one.model, pipeline, (one.request,), (worker,), (start_us,), (now_us + work_us,)
        )

    def _forget(self, batch: int) -> bool:
        """Whether ``batch`` was in flight."""
        worker = self._worker_of.pop(batch, None)
        if worker is None:
            return False
        taken = self._workers[worker]
        taken.work_us -= taken.batches.pop(batch)
        return True
