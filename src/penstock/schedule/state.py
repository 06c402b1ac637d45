"""What the reservation policy holds, as arrays that numba kernels take as they are.

All arrays are int64 and made once; kernels allocate nothing. Where room can run out (a queue, the
batches in flight) a ``grow_*`` function copies into arrays twice the size, between kernel calls.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from penstock.schedule.table import I64, DispatchTable
from penstock.units import NEVER_US

_SPANS = 64
"""Room for the promised spans of a link; twice the most seen at saturation on 100 devices."""

PACE_OF_PROFILE = 2**20
"""The pace of a stage that is exactly as fast as profiled; fine enough for a small change to move it."""


class Facts(NamedTuple):
    """What decisions need of the dispatch table, as there, and what follows from it.

    ``work_us``, ``guard_us`` (pipelines, max batch + 1): a batch's time through the pipeline when nothing waits, and
    what a prediction must stay ahead of the deadline. ``least_us`` (models,): the least sum of the two over
    pipelines and batches. ``dispatch_us`` (1,): from decision to the start on an idle worker. ``worker_pool``,
    ``worker_rank`` (workers,): the pool, and the order in which equally idle workers are taken. The workers of
    pool p are ``pool_worker[pool_first[p] : pool_first[p + 1]]``, and ``worker_place`` (workers,) is where each is in
    there; those of host h are ``host_worker[host_first[h] : host_first[h + 1]]``.
    """

    pipeline_first: I64
    stage_first: I64
    stage_pool: I64
    pipeline_batch: I64
    latency_us: I64
    transfer_us: I64
    worker_host: I64
    worker_pool: I64
    worker_place: I64
    worker_rank: I64
    pool_first: I64
    pool_worker: I64
    host_first: I64
    host_worker: I64
    work_us: I64
    guard_us: I64
    dispatch_us: I64
    least_us: I64


class Queues(NamedTuple):
    """A ring a model, in order of (deadline, arrival); capacity is a power of two.

    ``deadline_us``, ``request``, ``judged`` (models, capacity): ``judged`` is 1 once the request passed the early
    drop as head of its queue. ``first``, ``length`` (models,) delimit the ring. ``wake_us`` (models,): the model
    is due for a decision from then on.
    """

    deadline_us: I64
    request: I64
    judged: I64
    first: I64
    length: I64
    wake_us: I64


class Links(NamedTuple):
    """One direction of every host's interface, as the spans in which it is promised.

    ``start_us``, ``end_us`` (hosts, room): sorted, disjoint, the first ``length`` (hosts,) in use.
    """

    start_us: I64
    end_us: I64
    length: I64


class Reservations(NamedTuple):
    """What is promised. ``worker_free_us`` (workers,): each worker is free from then on; links hold spans.

    ``soonest`` (2 x workers,): an index of the workers by the time they are free, see
    :mod:`penstock.schedule.pool_index`; ``path`` is room for its walks. ``pace`` (stages,): what a stage takes as
    against its profile, in units of ``1 / PACE_OF_PROFILE``.
    """

    worker_free_us: I64
    uplinks: Links
    downlinks: Links
    soonest: I64
    path: I64
    pace: I64


class Flights(NamedTuple):
    """Batches in flight, so that real completions can correct the reservations.

    A batch sits in slot ``batch mod slots`` (slots, a power of two); ``batch`` (slots,) is -1 where free;
    ``stage_first``, ``size`` (slots,): its pipeline's first stage and its requests. An
    *entry* ``batch * stages + stage`` names a batch at a stage. ``worker``, ``transfer_us``, ``ready_us``, ``work_us``,
    ``end_us``, ``following`` (slots, stages): the input's transfer and predicted arrival, the stage's duration and
    predicted end, and the next entry on the same worker. ``worker`` is -1 where the stage is over. ``head``,
    ``tail`` (workers,): the chain of entries of a worker, -1 if empty. ``done_us`` (workers,): the last real
    completion.
    """

    batch: I64
    model: I64
    stage_first: I64
    size: I64
    worker: I64
    transfer_us: I64
    ready_us: I64
    work_us: I64
    end_us: I64
    following: I64
    head: I64
    tail: I64
    done_us: I64


class Actions(NamedTuple):
    """What the kernel decided, one row an action.

    ``head`` (rows, 5): kind, model, pipeline, batch, size. ``request`` (rows, max batch). ``worker``, ``ready_us``,
    ``start_us``, ``end_us`` (rows, stages): the route; ``ready_us`` is when a stage's input arrives. Probes write their
    route into the row that the action will take. A drop uses ``request[row, 0]`` and keeps its cause in the
    column of the size.
    """

    head: I64
    request: I64
    worker: I64
    ready_us: I64
    start_us: I64
    end_us: I64


class PolicyState(NamedTuple):
    """All of it. ``counter`` (1,): the next batch. ``rule`` (1,): see :mod:`penstock.schedule.rules`."""

    facts: Facts
    queues: Queues
    reservations: Reservations
    flights: Flights
    actions: Actions
    counter: I64
    rule: I64


def make_reservations(table: DispatchTable) -> Reservations:
    """Every resource free since time 0."""
    return Reservations(
        worker_free_us=_zeros(table.n_workers),
        uplinks=make_links(table.n_hosts),
        downlinks=make_links(table.n_hosts),
        soonest=_zeros(2 * table.n_workers),
        path=_zeros(128),
        pace=np.full(len(table.latency_us), PACE_OF_PROFILE, np.int64),
    )


def grow_queues(queues: Queues) -> Queues:
    """The same queues in rings twice the size, each starting at index 0."""
    models, capacity = queues.request.shape
    wider = make_queues(models, 2 * capacity)
    for model in range(models):
        count = int(queues.length[model])
        at = (int(queues.first[model]) + np.arange(count)) % capacity
        wider.deadline_us[model, :count] = queues.deadline_us[model, at]
        wider.request[model, :count] = queues.request[model, at]
        wider.judged[model, :count] = queues.judged[model, at]
    wider.length[:] = queues.length
    wider.wake_us[:] = queues.wake_us
    return wider


def grow_flights(flights: Flights) -> Flights:
    """The same batches in twice the slots; entries name batches, not slots, so chains stay valid."""
    slots, stages = flights.worker.shape
    wider = make_flights(len(flights.head), stages, 2 * slots)
    used = np.flatnonzero(flights.batch >= 0)
    slot = flights.batch[used] % (2 * slots)
    for name in (
        "batch",
        "model",
        "stage_first",
        "size",
        "worker",
        "transfer_us",
        "ready_us",
        "work_us",
        "end_us",
        "following",
    ):
        getattr(wider, name)[slot] = getattr(flights, name)[used]
    for name in ("head", "tail", "done_us"):
        getattr(wider, name)[:] = getattr(flights, name)
    return wider


def make_links(hosts: int) -> Links:
    """Links of ``hosts`` hosts, all free."""
    shape = (hosts, _SPANS)
    return Links(_zeros(shape), _zeros(shape), _zeros(hosts))


def make_queues(models: int, capacity: int) -> Queues:
    """Empty rings; ``capacity`` must be a power of two."""
    shape = (models, capacity)
    never = np.full(models, NEVER_US, np.int64)
    return Queues(_zeros(shape), _zeros(shape), _zeros(shape), _zeros(models), _zeros(models), never)


def make_flights(workers: int, stages: int, slots: int) -> Flights:
    """No batch in flight."""
    shape = (slots, stages)
    return Flights(
        batch=_none(slots),
        model=_none(slots),
        stage_first=_none(slots),
        size=_zeros(slots),
        worker=_none(shape),
        transfer_us=_zeros(shape),
        ready_us=_zeros(shape),
        work_us=_zeros(shape),
        end_us=_zeros(shape),
        following=_none(shape),
        head=_none(workers),
        tail=_none(workers),
        done_us=_zeros(workers),
    )


def make_actions(rows: int, batch: int, stages: int) -> Actions:
    """Room for ``rows`` actions."""
    route = (rows, stages)
    return Actions(
        _zeros((rows, 5)), _zeros((rows, batch)), _zeros(route), _zeros(route), _zeros(route), _zeros(route)
    )


def _zeros(shape: int | tuple[int, int]) -> I64:
    return np.zeros(shape, np.int64)


def _none(shape: int | tuple[int, int]) -> I64:
    return np.full(shape, -1, np.int64)
