"""The ``published`` mode: each model alone with its arrivals, and the published simulator's simplifications.

Latencies are the medians, starting a batch costs nothing, and there are no other models. A transfer waits only for
the uplink of its sender's host. Requests that finish late are counted as late. The original does not count them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import TypeVar

import numpy as np

from penstock.arrays import I64
from penstock.errors import BadInputError
from penstock.plan.documents.plan import Plan
from penstock.ppipe.simulator.fleet import only_model
from penstock.ppipe.simulator.network import Flaws, uplinks
from penstock.ppipe.simulator.runs import ReservationRun, reactive_run, request_log
from penstock.record import Batches, Outcome, Record, Requests
from penstock.schedule.checks import refuse_split
from penstock.schedule.table import DispatchTable
from penstock.simulate.logs import make_record
from penstock.simulate.stagewise.pool_run import PoolRun
from penstock.traffic.arrivals import Arrivals

T = TypeVar("T", Requests, Batches)

_STARTS: dict[str, Callable[..., ReservationRun | PoolRun]] = {
    "reservation": ReservationRun,
    "reactive": reactive_run,
}
POLICIES = tuple(_STARTS)
"""Policies of the published mode."""


@dataclass(frozen=True)
class Tally:
    """The result of a run. ``outcomes`` by :class:`Outcome`. ``busy_us`` (stages,) of all workers of a stage."""

    outcomes: I64
    busy_us: I64
    batches: int

    @property
    def requests(self) -> int:
        """The number of requests that arrived. It is also the number that ended."""
        return int(self.outcomes.sum())

    @property
    def attainment(self) -> float:
        """The share of all requests that met their deadline. 1 if there was none."""
        return int(self.outcomes[Outcome.MET]) / self.requests if self.requests else 1.0


def tally(table: DispatchTable, uplink: I64, chunks: Iterable[I64], *, policy: str = "reservation") -> Tally:
    """Run the one model of ``table`` with sorted arrival times in ``chunks``. Memory is needed only for one chunk.

    ``uplink`` (workers,): the interface through which each worker sends. Raises :class:`BadInputError` for an
    unknown policy.
    """
    run = _start(policy, table, uplink, recorded=False)
    slo_us = int(table.slo_us[0])
    waiting = np.zeros(0, np.int64)
    for chunk in chunks:
        run.add(request_log(waiting, slo_us, recorded=False), last=False)
        waiting = chunk
    run.add(request_log(waiting, slo_us, recorded=False), last=True)
    return Tally(run.outcomes, run.busy_us, run.n_batches)


def record_one(
    table: DispatchTable, uplink: I64, arrival_us: I64, *, model_name: str, policy: str = "reservation"
) -> Record:
    """As :func:`tally`, but everything that happened is recorded."""
    run = _start(policy, table, uplink, recorded=True)
    requests = request_log(arrival_us, int(table.slo_us[0]), recorded=True)
    run.add(requests, last=True)
    return make_record(table, [model_name], requests, run.log, run.n_batches)


def simulate_published(
    plan: Plan,
    table: DispatchTable,
    arrivals: Arrivals,
    *,
    policy: str = "reservation",
    flaws: Flaws = Flaws(),  # noqa: B008  (frozen)
) -> Record:
    """Every model of ``plan`` alone, in one record, with the plan's numbers of requests and workers.

    ``table`` is the plan's dispatch table. Raises :class:`BadInputError` for an unknown policy, and for requests
    with their own SLOs, because here a model has only one.
    """
    if arrivals.slo_us is not None:
        raise BadInputError("the published mode knows one SLO per model: leave out the requests' own.")
    refuse_split(table, "the published simulator")
    parts: list[Record] = []
    for index, model in enumerate(plan.models):
        arrival_us = arrivals.arrival_us[arrivals.model == index]
        own = only_model(table, index)
        parts.append(
            record_one(own, uplinks(plan, index, flaws), arrival_us, model_name=model.name, policy=policy)
        )
    return _joined(parts, table, arrivals)


def _joined(parts: Sequence[Record], table: DispatchTable, arrivals: Arrivals) -> Record:
    """One record of all models: batches are numbered through, workers are numbered over the plan."""
    first_worker = table.worker_offsets[table.stage_offsets[table.pipeline_offsets]]
    requests, batches, before = [], [], 0
    for model, part in enumerate(parts):
        own = part.requests
        requests.append(
            replace(own, model=own.model + model, batch=np.where(own.batch < 0, -1, own.batch + before))
        )
        shifted = replace(part.batches, model=part.batches.model + model, batch=part.batches.batch + before)
        batches.append(replace(shifted, worker=shifted.worker + first_worker[model]))
        before += int(part.batches.batch.max(initial=-1)) + 1
    # The parts are joined by model. The inverse permutation puts every request back at its position.
    order = np.argsort(np.argsort(arrivals.model, kind="stable"), kind="stable")
    joined = _concatenated(Requests, requests)
    placed = {field.name: getattr(joined, field.name)[order] for field in fields(Requests)}
    return Record(
        models=tuple(name for part in parts for name in part.models),
        requests=Requests(**placed | {"request": np.arange(len(arrivals), dtype=np.int64)}),
        batches=_concatenated(Batches, batches),
        source="simulated",
    )


def _concatenated(kind: type[T], tables: Sequence[T]) -> T:
    columns = {f.name: np.concatenate([getattr(table, f.name) for table in tables]) for f in fields(kind)}
    return kind(**columns)


def _start(policy: str, table: DispatchTable, uplink: I64, *, recorded: bool) -> ReservationRun | PoolRun:
    if policy not in _STARTS:
        raise BadInputError(
            f"the published mode does not know policy {policy!r}. Use one of: {', '.join(POLICIES)}."
        )
    return _STARTS[policy](table, uplink, recorded=recorded)
