"""Run a plan against arrivals: all models at once, links shared per host, noise and costs on request."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from penstock.arrays import I64
from penstock.errors import BadInputError
from penstock.record import Record
from penstock.schedule.checks import checked_column
from penstock.schedule.facts import make_facts, make_state
from penstock.schedule.mechanism.in_flight_kernels import has_room
from penstock.schedule.mechanism.pool_tournament import build
from penstock.schedule.rule_numbers import DEFAULT_POLICY, RULES
from penstock.schedule.state.arrays import grow_flights, grow_queues, make_reservations
from penstock.schedule.table import DispatchTable
from penstock.simulate.logs import (
    grow_batch_log,
    make_batch_log,
    make_record,
    make_request_log,
    rows_to_begin_with,
)
from penstock.simulate.noise import noise_sigma, noise_source
from penstock.simulate.routed import event_loop as loop
from penstock.simulate.world import World
from penstock.traffic.arrivals import Arrivals
from penstock.units import LATEST_US

POLICIES = tuple(RULES)
"""Policies that the compiled loop drives."""


def simulate(
    table: DispatchTable,
    arrivals: Arrivals,
    *,
    model_names: Sequence[str],
    seed: int,
    noise: bool = False,
    dispatch_us: int = 0,
    overhead_us: int = 0,
    policy: str = DEFAULT_POLICY,
    max_queue_delay_us: int | None = None,
    free_us: I64 | None = None,
) -> Record:
    """What happens when ``arrivals`` meet ``table`` under ``policy``; the same seed gives the same record.

    ``noise`` draws each latency from the profile's median and 99th percentile (:mod:`penstock.simulate.noise`);
    without it latencies are the medians. ``dispatch_us`` passes between a decision and the start on an idle
    worker, ``overhead_us`` is added to each request's finish; the policy knows both. No
    head waits longer than ``max_queue_delay_us`` for company, if that is set. ``free_us`` (workers,): when each worker
    begins to serve, as the policy knows; None: at once. Every request that arrives
    is answered or dropped before the simulation ends. Raises :class:`BadInputError` for an unknown policy, a
    negative cost, or arrivals and names that do not fit the table.
    """
    if policy not in POLICIES:
        raise BadInputError(f"policy {policy!r} is unknown. Use one of: {', '.join(POLICIES)}.")
    # This checks the table too.
    facts = make_facts(
        table, dispatch_us=dispatch_us, overhead_us=overhead_us, max_queue_delay_us=max_queue_delay_us
    )
    state = make_state(table, facts, rule=RULES[policy], rows=1)
    held = make_reservations(table)
    if free_us is not None:
        held.worker_free_us[:] = state.reservations.worker_free_us[:] = _checked_free(free_us, table)
        build(facts, state.reservations)
    requests = make_request_log(table, arrivals, model_names)
    sigma = noise_sigma(table, noise=noise)
    # Without noise completions tell the policy nothing that it has not predicted.
    informed = bool(sigma.any())
    rng = noise_source(seed) if informed else None
    world = World(held, sigma, dispatch_us, overhead_us)
    log = make_batch_log(rows_to_begin_with(table, arrivals), state.actions.worker.shape[1], rng)
    heap = np.zeros((256, 4), np.int64)
    cursor = np.zeros(4, np.int64)
    while (status := loop.run(state, world, log, requests, heap, cursor, informed)) != loop.DONE:
        if status == loop.LOG_FULL:
            log = grow_batch_log(log, rng)
        elif status == loop.QUEUE_FULL:
            state = state._replace(queues=grow_queues(state.queues))
        elif status == loop.FLIGHTS_FULL:
            flights = grow_flights(state.flights)
            while not has_room(flights, int(state.counter[0])):
                flights = grow_flights(flights)
            state = state._replace(flights=flights)
        else:
            heap = np.concatenate([heap, np.zeros_like(heap)])
    return make_record(table, model_names, requests, log, int(state.counter[0]))


def _checked_free(free_us: I64, table: DispatchTable) -> I64:
    if len(free_us) != table.n_workers:
        raise BadInputError(
            f"free_us has {len(free_us)} rows: give one for each of {table.n_workers} workers."
        )
    checked_column("free_us", free_us, LATEST_US, "count from the start of the run")
    return free_us
