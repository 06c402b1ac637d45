"""Stage-wise policies on the whole fleet: all models at once, shared links, noise and costs on request.

Data that was received is on one host, and to move it again would take another transfer. So if a pool receives data,
each of its hosts is a site with its own queue. A first pool is one site, because clients reach every host equally.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from penstock.arrays import I64
from penstock.errors import BadInputError
from penstock.record import Record
from penstock.schedule.rules.reactive import make_reactive_facts
from penstock.schedule.table import DispatchTable
from penstock.simulate.logs import make_batch_log, make_record, make_request_log, rows_to_begin_with
from penstock.simulate.noise import noise_sigma, noise_source
from penstock.simulate.stagewise.pool_run import PoolRun, pool_world
from penstock.traffic.arrivals import Arrivals

POLICIES = ("reactive",)
"""Policies that decide stage by stage."""


def simulate_stagewise(
    table: DispatchTable,
    arrivals: Arrivals,
    *,
    model_names: Sequence[str],
    seed: int,
    noise: bool = False,
    dispatch_us: int = 0,
    overhead_us: int = 0,
    policy: str = "reactive",
) -> Record:
    """As :func:`penstock.simulate.routed.routed_simulator.simulate`, for a policy that decides stage by stage.

    A record's batch is a batch of one stage; a request names the last one it was in. ``dispatch_us`` passes
    before every stage. Raises :class:`BadInputError` likewise.
    """
    return run_stagewise(
        table,
        arrivals,
        model_names=model_names,
        seed=seed,
        noise=noise,
        dispatch_us=dispatch_us,
        overhead_us=overhead_us,
        policy=policy,
    )[1]


def run_stagewise(
    table: DispatchTable,
    arrivals: Arrivals,
    *,
    model_names: Sequence[str],
    seed: int,
    noise: bool = False,
    dispatch_us: int = 0,
    overhead_us: int = 0,
    policy: str = "reactive",
) -> tuple[PoolRun, Record]:
    """The record of :func:`simulate_stagewise`, and the run with what the record does not hold: the transfers."""
    if policy not in POLICIES:
        raise BadInputError(f"policy {policy!r} is unknown here. Use one of: {', '.join(POLICIES)}.")
    # This checks the table too.
    facts = make_reactive_facts(table, dispatch_us=dispatch_us, overhead_us=overhead_us)
    requests = make_request_log(table, arrivals, model_names)
    sigma = noise_sigma(table, noise=noise)
    worker_site, site_offsets, downlink = _sites(table)
    world = pool_world(
        table,
        worker_site=worker_site,
        site_offsets=site_offsets,
        downlink=downlink,
        uplink=table.worker_host,
        sigma=sigma,
        dispatch_us=dispatch_us,
        overhead_us=overhead_us,
    )
    rng = noise_source(seed) if sigma.any() else None
    rows = rows_to_begin_with(table, arrivals, by_stage=True)
    log = make_batch_log(rows, int(np.diff(table.stage_offsets).max()), rng)
    run = PoolRun(facts, world, log, recorded=True, rng=rng)
    run.add(requests, last=True)
    return run, make_record(table, model_names, requests, run.log, run.n_batches)


def _sites(table: DispatchTable) -> tuple[I64, I64, I64]:
    """The site of every worker, the offsets of each stage's sites, and the host at which each site receives."""
    worker_site = np.zeros(table.n_workers, np.int64)
    site_offsets, downlink = [0], []
    for stage, (first, stop) in enumerate(
        zip(table.worker_offsets[:-1], table.worker_offsets[1:], strict=True)
    ):
        hosts, site = np.unique(table.worker_host[first:stop], return_inverse=True)
        if stage in table.stage_offsets:
            hosts, site = np.array([-1]), np.zeros(stop - first, np.int64)
        worker_site[first:stop] = site_offsets[-1] + site
        site_offsets.append(site_offsets[-1] + len(hosts))
        downlink.extend(hosts.tolist())
    return worker_site, np.array(site_offsets, np.int64), np.array(downlink, np.int64)
