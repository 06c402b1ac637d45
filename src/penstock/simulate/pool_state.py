"""What the event loop of stage-wise policies works on: the fleet as sites and links, and what changes there."""

from __future__ import annotations

from typing import NamedTuple

from penstock.schedule.state import Links, Queues
from penstock.schedule.table import I64
from penstock.simulate.noise import F64


class PoolWorld(NamedTuple):
    """The fleet as sites and links. ``downlink`` is -1 where receivers never wait.

    ``model_of`` (pipelines,), ``site_first`` (stages + 1,), ``site_stage``, ``site_workers``, ``downlink`` (sites,),
    ``worker_site``, ``uplink`` (workers,), ``pipeline_of`` (stages,), ``transfer_us`` (stages, max batch + 1),
    ``sigma`` of the same shape: the noise.
    """

    model_of: I64
    site_first: I64
    site_stage: I64
    site_workers: I64
    downlink: I64
    worker_site: I64
    uplink: I64
    pipeline_of: I64
    transfer_us: I64
    sigma: F64
    dispatch_us: int
    overhead_us: int


class PoolState(NamedTuple):
    """What changes, but for the batches. ``sent`` (pipelines,), ``load`` (sites,): see the policy.

    ``idle`` (sites, most workers), ``idle_first``, ``idle_count`` (sites,): rings of idle workers, longest idle first.
    ``counts`` (outcomes,) of requests, ``busy_us`` (stages,) of workers.
    """

    queues: Queues
    uplinks: Links
    downlinks: Links
    sent: I64
    load: I64
    idle: I64
    idle_first: I64
    idle_count: I64
    counts: I64
    busy_us: I64


class Slots(NamedTuple):
    """Batches that run or travel. ``free`` (slots,): a stack of free slots; the other columns one row a slot.

    ``heap`` (slots, 4): one event a batch, see :mod:`penstock.simulate.heap`; ``deadline_us``, ``request`` (slots,
    max batch).
    """

    heap: I64
    free: I64
    batch: I64
    stage: I64
    worker: I64
    site: I64
    size: I64
    deadline_us: I64
    request: I64


class TransferLog(NamedTuple):
    """The transfer of each batch to the next stage (batches,): links and times, -1 for none."""

    uplink: I64
    downlink: I64
    sent_us: I64
    received_us: I64
