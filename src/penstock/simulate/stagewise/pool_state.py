"""The arrays of the event loop of stage-wise policies: the fleet as sites and links, and their state."""

from __future__ import annotations

from typing import NamedTuple

from penstock.arrays import F64, I64
from penstock.schedule.state.arrays import Links, Queues


class PoolWorld(NamedTuple):
    """The fleet as sites and links. ``downlink`` is -1 for a site that never waits to receive.

    ``model_of`` (pipelines,), ``site_offsets`` (stages + 1,), ``site_stage``, ``site_workers``, ``downlink`` (sites,),
    ``worker_site``, ``uplink`` (workers,), ``pipeline_of`` (stages,), ``transfer_us`` (stages, max batch + 1),
    ``sigma`` of the same shape: the noise.
    """

    model_of: I64
    site_offsets: I64
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
    """What changes, apart from the batches. ``sent`` (pipelines,), ``load`` (sites,): see the policy.

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
    """Batches that run or are sent. ``free`` (slots,): a stack of free slots; the other columns have a row for each
    slot.

    ``heap`` (slots, 4): one event for each batch, see :mod:`penstock.simulate.routed.heap`; ``deadline_us``,
    ``request`` (slots, max batch).
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
