"""Stage-wise policies in the simulator: the state their loop needs, and its growth."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from penstock.arrays import F64, I64
from penstock.record import Outcome
from penstock.schedule.rules.reactive import ReactiveFacts
from penstock.schedule.state.arrays import grow_queues, make_links, make_queues
from penstock.schedule.table import DispatchTable
from penstock.simulate.logs import doubled, grow_batch_log
from penstock.simulate.stagewise import pool_loop
from penstock.simulate.stagewise.pool_state import PoolState, PoolWorld, Slots, TransferLog
from penstock.simulate.world import BatchLog, RequestLog


@dataclass
class PoolRun:
    """One simulation; ``add`` requests in chunks, the last with ``last``."""

    facts: ReactiveFacts
    world: PoolWorld
    log: BatchLog
    recorded: bool = False
    rng: np.random.Generator | None = None
    transfers: TransferLog = field(init=False)
    state: PoolState = field(init=False)
    slots: Slots = field(init=False)
    cursor: I64 = field(init=False)

    def __post_init__(self) -> None:
        self.state = _make_state(self.facts, self.world)
        widest = self.facts.latency_us.shape[1]
        self.slots = _make_slots(256, widest)
        self.cursor = np.zeros(6, np.int64)
        self.cursor[pool_loop.FREE_SLOTS] = 256
        self.transfers = _make_transfers(len(self.log.size))

    def add(self, requests: RequestLog, *, last: bool) -> None:
        """Process the events up to the last of ``requests``, and the rest of them if it is the ``last`` chunk."""
        self.cursor[pool_loop.NEXT] = 0
        while status := pool_loop.run(
            self.facts,
            self.world,
            self.state,
            self.slots,
            requests,
            last,
            self.cursor,
            self.log,
            self.transfers,
            self.recorded,
        ):
            self._grow(status)

    @property
    def outcomes(self) -> I64:
        """Requests that ended so far, by outcome."""
        return self.state.counts

    @property
    def busy_us(self) -> I64:
        """The workers' busy time so far, by stage."""
        return self.state.busy_us

    @property
    def n_batches(self) -> int:
        """Batches dispatched so far."""
        return int(self.cursor[pool_loop.BATCH])

    def _grow(self, status: int) -> None:
        if status == pool_loop.LOG_FULL:
            self.log = grow_batch_log(self.log, self.rng)
            rows = len(self.transfers.uplink)
            self.transfers = TransferLog(*map(doubled, self.transfers))
            for column in self.transfers:
                column[rows:] = -1
        elif status == pool_loop.QUEUE_FULL:
            self.state = self.state._replace(queues=grow_queues(self.state.queues))
        else:
            count = len(self.slots.free)
            more_slots = _make_slots(count, self.slots.request.shape[1])
            more_slots.free[:] += count
            grown = Slots(*map(np.concatenate, zip(self.slots, more_slots, strict=True)))
            # All of the old slots are taken: the stack holds the new ones.
            grown.free[:count] = more_slots.free
            self.slots = grown
            self.cursor[pool_loop.FREE_SLOTS] = count


def pool_world(
    table: DispatchTable,
    *,
    worker_site: I64,
    site_offsets: I64,
    downlink: I64,
    uplink: I64,
    sigma: F64 | None = None,
    dispatch_us: int = 0,
    overhead_us: int = 0,
) -> PoolWorld:
    """The world of ``table`` with its workers at ``worker_site`` and its sites by stage in ``site_offsets``."""
    stages = len(table.latency_us)
    return PoolWorld(
        model_of=np.repeat(np.arange(table.n_models), np.diff(table.pipeline_offsets)),
        site_offsets=site_offsets,
        site_stage=np.repeat(np.arange(stages), np.diff(site_offsets)),
        site_workers=np.bincount(worker_site, minlength=int(site_offsets[-1])),
        downlink=downlink,
        worker_site=worker_site,
        uplink=np.ascontiguousarray(uplink),
        pipeline_of=np.repeat(np.arange(len(table.pipeline_batch)), np.diff(table.stage_offsets)),
        transfer_us=np.ascontiguousarray(table.transfer_us),
        sigma=np.zeros(table.latency_us.shape) if sigma is None else sigma,
        dispatch_us=dispatch_us,
        overhead_us=overhead_us,
    )


def _make_state(facts: ReactiveFacts, world: PoolWorld) -> PoolState:
    sites = len(world.site_stage)
    idle = np.full((sites, int(world.site_workers.max())), -1, np.int64)
    for site in range(sites):
        own = np.flatnonzero(world.worker_site == site)
        idle[site, : len(own)] = own
    links = max(int(world.uplink.max()), int(world.downlink.max())) + 1
    return PoolState(
        queues=make_queues(sites, 256),
        uplinks=make_links(links),
        downlinks=make_links(links),
        sent=np.zeros(len(facts.rate), np.int64),
        load=np.zeros(sites, np.int64),
        idle=idle,
        idle_first=np.zeros(sites, np.int64),
        idle_count=world.site_workers.copy(),
        counts=np.zeros(len(Outcome), np.int64),
        busy_us=np.zeros(len(facts.batch), np.int64),
    )


def _make_slots(count: int, widest: int) -> Slots:
    columns = [np.full(count, -1, np.int64) for _ in range(5)]
    wide = [np.full((count, widest), -1, np.int64) for _ in range(2)]
    return Slots(np.zeros((count, 4), np.int64), np.arange(count, dtype=np.int64), *columns, *wide)


def _make_transfers(rows: int) -> TransferLog:
    return TransferLog(*(np.full(rows, -1, np.int64) for _ in range(4)))
