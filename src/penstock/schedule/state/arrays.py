"""The state of a routed policy, as arrays that numba kernels take as they are.

All arrays are int64 and contiguous. Kernels allocate nothing: if a queue or the batches in flight need more room, a
``grow_*`` function copies them into arrays of twice the size, between two calls of kernels.
"""

from __future__ import annotations

from typing import Annotated, NamedTuple

import numpy as np

from penstock.arrays import I64
from penstock.schedule.table import DispatchTable
from penstock.units import NEVER_US

Vector = Annotated[I64, 1]
"""An array of one dimension."""

Grid = Annotated[I64, 2]
"""An array of two dimensions."""

_SPANS = 64
"""Room for the promised spans of one link: twice the largest number seen on 100 devices at full load."""

PACE_OF_PROFILE = 2**20
"""The pace of a stage that is exactly as fast as its profile; large, so that small changes are not rounded away."""


class WholeStages(NamedTuple):
    """In place of :class:`SplitStages`: no stage is split. It has no fields: one more array made the loop slower."""


class SplitStages(NamedTuple):
    """What split stages need, and room for a probe of their routes, whose columns are pieces, stage by stage.

    ``piece_batch`` (stages,): the most requests of a batch that one worker of a stage gets. ``used`` (columns, 2): the
    workers that a probe holds, and from when each was free before. ``sent`` (transfers, 4): the transfers that the last
    probe found: host of the sender, host of the receiver (that of the sender if no link is needed), start, end.
    ``found`` (2,): how many of both. ``changed`` (columns,): the pieces that a correction has moved.
    """

    piece_batch: Vector
    used: Grid
    sent: Grid
    found: Vector
    changed: Vector


class Facts(NamedTuple):
    """Fields of the dispatch table that decisions need, and what is computed from them.

    ``work_us``, ``guard_us`` (pipelines, max batch + 1): the time of a batch through the pipeline if it waits
    nowhere, and by how much a predicted finish must be before the deadline. ``least_us`` (models,): the least sum of
    the two over pipelines and batches. ``dispatch_us`` (1,): from decision to the start on an idle worker.
    ``queue_delay_us`` (1,): the longest that a head waits for company.
    ``lender_pool[lender_offsets[s] : lender_offsets[s + 1]]``: the pools that stage s may borrow a worker from.
    ``pool_model`` (pools,): the first model that a pool serves. ``spare_us`` (models,): the SLO without what the
    slowest pipeline takes at its planned batch, guard included. ``split``: of another type if the fleet has split
    stages, so that kernels are compiled for it anew (:mod:`penstock.schedule.state.split_choice`).
    ``worker_pool``, ``worker_rank`` (workers,): the pool, and the order in which equally idle workers are taken. The
    workers of pool p are ``pool_worker[pool_offsets[p] : pool_offsets[p + 1]]``, and ``worker_place`` (workers,) is
    the place of each in that slice; those of host h are ``host_worker[host_offsets[h] : host_offsets[h + 1]]``.
    """

    pipeline_offsets: Vector
    stage_offsets: Vector
    stage_pool: Vector
    pipeline_batch: Vector
    latency_us: Grid
    transfer_us: Grid
    worker_host: Vector
    worker_pool: Vector
    worker_place: Vector
    worker_rank: Vector
    pool_offsets: Vector
    pool_worker: Vector
    host_offsets: Vector
    host_worker: Vector
    work_us: Grid
    guard_us: Grid
    dispatch_us: Vector
    queue_delay_us: Vector
    least_us: Vector
    lender_offsets: Vector
    lender_pool: Vector
    pool_model: Vector
    spare_us: Vector
    split: WholeStages | SplitStages


class Queues(NamedTuple):
    """A ring for each model, in order of (deadline, arrival); the capacity is a power of two.

    ``deadline_us``, ``request``, ``judged``, ``arrived_us`` (models, capacity): ``judged`` is 1 after the request, as
    head of its queue, was not dropped early. ``first``, ``length`` (models,) delimit the ring. ``wake_us`` (models,):
    the model is due for a decision from then on.
    """

    deadline_us: Grid
    request: Grid
    judged: Grid
    arrived_us: Grid
    first: Vector
    length: Vector
    wake_us: Vector


class Links(NamedTuple):
    """One direction of every host's interface, as the spans in which it is promised.

    ``start_us``, ``end_us`` (hosts, room): sorted, disjoint, the first ``length`` (hosts,) in use.
    """

    start_us: Grid
    end_us: Grid
    length: Vector


class Reservations(NamedTuple):
    """What is promised. ``worker_free_us`` (workers,): the time from which each worker is free; links keep spans.

    ``soonest`` (2 x workers,): an index of the workers by the time they are free, see
    :mod:`penstock.schedule.mechanism.pool_tournament`; ``path`` is room for a search in it. ``pace`` (stages,): the
    time that a stage takes divided by its profile's, in units of ``1 / PACE_OF_PROFILE``. ``credit`` (models,): what
    each has left of the requests that it may drop, see :mod:`penstock.schedule.rules.borrowing_kernels`.
    """

    worker_free_us: Vector
    uplinks: Links
    downlinks: Links
    soonest: Vector
    path: Vector
    pace: Vector
    credit: Vector


class Flights(NamedTuple):
    """Batches in flight, so that real completions can correct the reservations.

    A batch sits in slot ``batch mod slots`` (slots, a power of two); ``batch`` (slots,) is -1 if the slot is free;
    ``first_stage``, ``size`` (slots,): its pipeline's first stage and its requests. An
    *entry* ``batch * stages + stage`` names a batch at a stage. ``sender`` (slots,): the worker that finished the last
    stage that is over, -1 before the first. ``worker``, ``transfer_us``, ``ready_us``, ``work_us``,
    ``end_us``, ``following`` (slots, stages): the input's transfer and predicted arrival, the stage's duration and
    predicted end, and the next entry on the same worker. ``worker`` is -1 if the stage is over. ``head``,
    ``tail`` (workers,): the chain of entries of a worker, -1 if empty. ``done_us`` (workers,): the last real
    completion.

    In a fleet with split stages there is an entry for each piece, in place of one for each stage; ``sender`` and
    ``transfer_us`` are not used. ``done_by`` (slots, columns): the worker of a piece that is over, until all that get
    rows of it are over too; -1 else. ``sent_us`` (slots, transfers): when each transfer begins, stage by stage, then by
    receiver and sender. Without split stages both have no columns.
    """

    batch: Vector
    model: Vector
    first_stage: Vector
    size: Vector
    sender: Vector
    worker: Grid
    transfer_us: Grid
    ready_us: Grid
    work_us: Grid
    end_us: Grid
    following: Grid
    head: Vector
    tail: Vector
    done_us: Vector
    done_by: Grid
    sent_us: Grid


class Actions(NamedTuple):
    """What the kernel decided, one row for each action.

    ``head`` (rows, 5): kind, model, pipeline, batch, size. ``request`` (rows, max batch). ``worker``, ``ready_us``,
    ``start_us``, ``end_us`` (rows, stages): the route, or (rows, columns) if stages are split, see
    :class:`SplitStages`; ``ready_us`` is when the input of a stage arrives. The search
    for a route writes into the row of the next action. A drop uses ``request[row, 0]``, and has its cause in the
    column of the size.
    """

    head: Grid
    request: Grid
    worker: Grid
    ready_us: Grid
    start_us: Grid
    end_us: Grid


class PolicyState(NamedTuple):
    """The whole state. ``counter`` (1,): the next batch. ``rule`` (1,): see :mod:`penstock.schedule.rules`."""

    facts: Facts
    queues: Queues
    reservations: Reservations
    flights: Flights
    actions: Actions
    counter: Vector
    rule: Vector


def make_reservations(table: DispatchTable) -> Reservations:
    """Every resource free since time 0."""
    return Reservations(
        worker_free_us=_zeros(table.n_workers),
        uplinks=make_links(table.n_hosts),
        downlinks=make_links(table.n_hosts),
        soonest=_zeros(2 * table.n_workers),
        path=_zeros(128),
        pace=np.full(len(table.latency_us), PACE_OF_PROFILE, np.int64),
        credit=_zeros(table.n_models),
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
        wider.arrived_us[model, :count] = queues.arrived_us[model, at]
    wider.length[:] = queues.length
    wider.wake_us[:] = queues.wake_us
    return wider


def grow_flights(flights: Flights) -> Flights:
    """The same batches in twice the slots; entries name batches, not slots, so chains stay valid."""
    slots, stages = flights.worker.shape
    wider = make_flights(len(flights.head), stages, 2 * slots, flights.sent_us.shape[1])
    used = np.flatnonzero(flights.batch >= 0)
    slot = flights.batch[used] % (2 * slots)
    for name in (
        "batch",
        "model",
        "first_stage",
        "size",
        "sender",
        "worker",
        "transfer_us",
        "ready_us",
        "work_us",
        "end_us",
        "following",
        "done_by",
        "sent_us",
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
    grids = _zeros(shape), _zeros(shape), _zeros(shape), _zeros(shape)
    return Queues(*grids, _zeros(models), _zeros(models), never)


def make_flights(workers: int, stages: int, slots: int, transfers: int = 0) -> Flights:
    """No batch in flight. ``transfers``: the most of a batch if stages are split; then ``stages`` are columns."""
    shape = (slots, stages)
    return Flights(
        batch=_none(slots),
        model=_none(slots),
        first_stage=_none(slots),
        size=_zeros(slots),
        sender=_none(slots),
        worker=_none(shape),
        transfer_us=_zeros(shape),
        ready_us=_zeros(shape),
        work_us=_zeros(shape),
        end_us=_zeros(shape),
        following=_none(shape),
        head=_none(workers),
        tail=_none(workers),
        done_us=_zeros(workers),
        done_by=_none((slots, stages if transfers else 0)),
        sent_us=_zeros((slots, transfers)),
    )


def make_split_stages(piece_batch: I64, columns: int, transfers: int) -> SplitStages:
    """Nothing probed yet. ``columns`` and ``transfers``: the most of a route."""
    return SplitStages(piece_batch, _zeros((columns, 2)), _zeros((transfers, 4)), _zeros(2), _zeros(columns))


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
