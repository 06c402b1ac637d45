"""A published-mode run of each policy, which gets arrivals in chunks."""

from __future__ import annotations

from typing import final

import numpy as np

from penstock.arrays import I64
from penstock.ppipe.simulator import reservation_loop as loop
from penstock.ppipe.simulator.fleet import make_fleet, make_pools
from penstock.record import Outcome
from penstock.schedule.checks import checked_hosts, checked_table
from penstock.schedule.rules.reactive import make_reactive_facts
from penstock.schedule.state.arrays import make_links
from penstock.schedule.table import DispatchTable
from penstock.simulate.logs import grow_batch_log, make_batch_log
from penstock.simulate.stagewise.pool_run import PoolRun, pool_world
from penstock.simulate.world import RequestLog

_ROWS = 1024


def request_log(arrival_us: I64, slo_us: int, *, recorded: bool) -> RequestLog:
    """Requests of one model. The other columns are written only if ``recorded``."""
    rows = len(arrival_us) if recorded else 0
    unknown = [np.full(rows, -1, np.int64) for _ in range(4)]
    model = np.zeros(len(arrival_us), np.int64)
    return RequestLog(arrival_us, model, arrival_us + slo_us, *unknown)


@final
class ReservationRun:
    """Reservations with adaptive batching. A recorded run takes its requests in one piece."""

    def __init__(self, table: DispatchTable, uplink: I64, *, recorded: bool = False) -> None:
        table, uplink = checked_table(table), checked_hosts("uplink", uplink, table.n_workers)
        self._fleet = make_fleet(table, uplink)
        self._pools = make_pools(self._fleet)
        self._uplinks = make_links(int(uplink.max()) + 1)
        self._cursor = np.zeros(loop.CURSOR, np.int64)
        self._queued = np.zeros(0, np.int64)
        self._recorded = recorded
        self.outcomes = np.zeros(len(Outcome), np.int64)
        self.busy_us = np.zeros(len(table.latency_us), np.int64)
        self.log = make_batch_log(_ROWS if recorded else 0, int(np.diff(table.stage_offsets).max()), None)

    def add(self, requests: RequestLog, *, last: bool) -> None:
        """Process the events up to the last of ``requests``. If it is the ``last`` chunk, process the rest too."""
        cursor = self._cursor
        arrival_us = np.concatenate([self._queued, requests.arrival_us])
        cursor[loop.NEXT], cursor[loop.HEAD] = len(self._queued), 0
        while loop.run(
            self._fleet,
            self._pools,
            self._uplinks,
            arrival_us,
            last,
            cursor,
            self.outcomes,
            self.busy_us,
            self.log,
            requests,
            self._recorded,
        ):
            self.log = grow_batch_log(self.log, None)
        self._queued = arrival_us[cursor[loop.HEAD] :]

    @property
    def n_batches(self) -> int:
        """Batches dispatched so far."""
        return int(self._cursor[loop.BATCH])


def reactive_run(table: DispatchTable, uplink: I64, *, recorded: bool = False) -> PoolRun:
    """Pools that batch by themselves. Each pool is one site, and what arrives there waited only for the sender."""
    facts = make_reactive_facts(table)
    uplink = checked_hosts("uplink", uplink, table.n_workers)
    stages = len(table.latency_us)
    world = pool_world(
        table,
        worker_site=np.repeat(np.arange(stages), np.diff(table.worker_offsets)),
        site_offsets=np.arange(stages + 1),
        downlink=np.full(stages, -1, np.int64),
        uplink=uplink,
    )
    log = make_batch_log(_ROWS if recorded else 0, int(np.diff(table.stage_offsets).max()), None)
    return PoolRun(facts, world, log, recorded)
