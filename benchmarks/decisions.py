"""Time of a decision against the size of the fleet: 100, 1,000 and 10,000 workers, batches of the planned size.

Beside the published cost: under 9 us a batch at 100 devices (PPipe, USENIX ATC 2025). Inside the compiled loop the
figure is processor time of all of it, arrivals and requests and the simulated fleet included, over the batches, the
least of five runs. Through the policy object it is wall time of each call. The same calls are replayed and
each keeps its least time: the work is the same every time, so what is left out is what other jobs of the machine
took. The median and the 99th percentile are over calls.

Counts need no clock: the workers looked at in a probe of a route, and the probes a batch, from the same kernels run as
plain Python.
"""

from __future__ import annotations

import heapq
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import TypeVar
from unittest import mock

import numpy as np

from penstock.schedule.journal import Event, JournalingPolicy
from penstock.schedule.mechanism import route_kernels, routes
from penstock.schedule.routed_policy import ReservationPolicy
from penstock.schedule.rule_numbers import RULES
from penstock.schedule.rules import edf_kernels, reservation_kernels
from penstock.schedule.table import DispatchTable
from penstock.simulate.routed.routed_simulator import simulate
from penstock.traffic.arrivals import Arrivals, draw_arrivals
from penstock.traffic.processes.renewal import poisson

BATCH = 8
RATE_PER_WORKER_RPS = 200.0
LOAD = 0.9
BATCHES = 20_000
REPLAYS = 7
SIZES = (100, 1_000, 10_000)
LEAST_CALLS = 100
"""Kinds of calls that are rarer get no percentiles."""

T = TypeVar("T")


def fleet(workers: int) -> DispatchTable:
    """One model, a quarter of the workers for its first stage, 4 and 2 a host, and three quarters for its second."""
    batches = np.arange(BATCH + 1)
    first = workers // 4
    latency = np.array([2_000 + 950 * batches, 4_000 + 3_050 * batches], np.int64)
    return DispatchTable(
        slo_us=np.array([80_000]),
        pipeline_offsets=np.array([0, 1]),
        stage_offsets=np.array([0, 2]),
        worker_offsets=np.array([0, first, workers]),
        pipeline_batch=np.array([BATCH]),
        latency_us=latency,
        p99_us=latency,
        transfer_us=np.array([0 * batches, 40 * batches], np.int64),
        worker_host=np.concatenate([np.arange(first) // 4, -(-first // 4) + np.arange(workers - first) // 2]),
        worker_device=np.arange(workers),
    )


def traffic(workers: int, batches: int) -> Arrivals:
    rate_rps = LOAD * RATE_PER_WORKER_RPS * workers
    return draw_arrivals(poisson, [rate_rps], batches * BATCH / rate_rps, np.random.default_rng(7))


def inside_us(table: DispatchTable, workers: int, policy: str) -> float:
    """Processor time a batch of the compiled loop, the least of five runs."""
    arrivals = traffic(workers, BATCHES)
    seconds, batches = [], 0
    for _ in range(5):
        start = time.process_time()
        record = simulate(table, arrivals, model_names=["m"], seed=0, policy=policy)
        seconds.append(time.process_time() - start)
        batches = len(record.batches.batch) // 2
    return min(seconds) / batches * 1e6


def journal_of(table: DispatchTable, workers: int, policy: str) -> list[Event]:
    """What a driver tells the policy, one call an event: arrivals, completions as predicted, a decision after each."""
    decider, running = JournalingPolicy(ReservationPolicy(table, rule=policy)), []
    for request, now_us in enumerate(traffic(workers, BATCHES // 4).arrival_us.tolist()):
        while running and running[0][0] <= now_us:
            decider.complete(*heapq.heappop(running))
        decider.arrive(now_us, 0, request, now_us + int(table.slo_us[0]))
        for dispatch in decider.decide(now_us).dispatches:
            for stage, end_us in enumerate(dispatch.end_us):
                heapq.heappush(running, (end_us, dispatch.batch, stage))
    return decider.events


def call_times_us(table: DispatchTable, events: list[Event], policy: str) -> dict[str, np.ndarray]:
    """Wall time of each call by kind, the least of the replays; ``decide`` apart by what it found."""
    least, kinds = np.full(len(events), np.inf), []
    for _ in range(REPLAYS):
        decider, kinds = ReservationPolicy(table, rule=policy), []
        for at, (kind, *arguments) in enumerate(events):
            call = getattr(decider, kind)
            start = time.perf_counter_ns()
            result = call(*arguments)
            least[at] = min(least[at], (time.perf_counter_ns() - start) / 1e3)
            kinds.append(f"{kind} {len(result.dispatches)}" if kind == "decide" else kind)
    return {kind: least[np.array(kinds) == kind] for kind in sorted(set(kinds))}


def counts(table: DispatchTable, workers: int, policy: str) -> tuple[float, float, float, int]:
    """Probes a batch, and workers looked at in a probe, in the mean, p99 and most; needs NUMBA_DISABLE_JIT."""
    looked_at: list[int] = []

    def counted(kernel: Callable[..., T], count: Callable[[], None]) -> Callable[..., T]:
        def call(*arguments: object) -> T:
            count()
            return kernel(*arguments)

        return call

    def look() -> None:
        looked_at[-1] += 1

    probe = counted(route_kernels.probe, lambda: looked_at.append(0))
    with (
        mock.patch.object(route_kernels, "wins", counted(route_kernels.wins, look)),
        ExitStack() as patches,
    ):
        for module in (routes, reservation_kernels, edf_kernels):
            patches.enter_context(mock.patch.object(module, "probe", probe))
        record = simulate(table, traffic(workers, workers // 2), model_names=["m"], seed=0, policy=policy)
    batches = len(record.batches.batch) // 2
    p99 = float(np.quantile(looked_at, 0.99))
    return len(looked_at) / batches, float(np.mean(looked_at)), p99, max(looked_at)


def print_times(policy: str) -> None:
    simulate(fleet(8), traffic(8, 10), model_names=["m"], seed=0, policy=policy)
    base = 0.0
    for workers in SIZES:
        table = fleet(workers)
        inside = inside_us(table, workers, policy)
        base = base or inside
        print(
            f"{policy}, {workers} workers, inside the loop: {inside:.2f} us a batch ({inside / base:.2f} x that of "
            f"{SIZES[0]} workers)   [published at 100 devices: < 9 us]"
        )
        calls = call_times_us(table, journal_of(table, workers, policy), policy)
        for kind, times in calls.items():
            if len(times) >= LEAST_CALLS:
                print(
                    f"    {kind}: median {np.median(times):.2f} us, p99 {np.quantile(times, 0.99):.2f} us, "
                    f"most {times.max():.2f} us over {len(times)} calls"
                )


def print_counts() -> None:
    for policy in RULES:
        for workers in SIZES:
            probes, mean, p99, most = counts(fleet(workers), workers, policy)
            print(
                f"{policy}, {workers} workers: {probes:.2f} probes a batch [published: 3.58], workers looked at in a "
                f"probe of two stages: {mean:.2f} in the mean, p99 {p99:.0f}, {most} at most"
            )


def main() -> None:
    if os.environ.get("NUMBA_DISABLE_JIT"):
        print_counts()
        return
    for policy in RULES:
        print_times(policy)
    print(
        "Journal calls: `decide 0` found something due that had to wait, `decide 1` dispatched one batch.",
        flush=True,
    )
    subprocess.run([sys.executable, __file__], env=os.environ | {"NUMBA_DISABLE_JIT": "1"}, check=True)


if __name__ == "__main__":
    main()
