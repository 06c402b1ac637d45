"""Time of a decision against the size of the fleet: 100, 1,000 and 10,000 workers, batches of the planned size.

Beside the published cost: under 9 us a batch at 100 devices (PPipe, USENIX ATC 2025). Inside the compiled loop the
figure is all of it, arrivals and requests and the simulated fleet included, over the batches; through the policy
object it is the call of ``decide`` that dispatched one batch, Python's way into the kernel included.
"""

from __future__ import annotations

import heapq
import time

import numpy as np

from penstock.schedule.reservation import ReservationPolicy
from penstock.schedule.rules import RULES
from penstock.schedule.table import DispatchTable
from penstock.simulate.simulator import simulate
from penstock.traffic.arrivals import Arrivals, draw_arrivals
from penstock.traffic.renewal import poisson

BATCH = 8
RATE_PER_WORKER_RPS = 200.0
LOAD = 0.9
BATCHES = 20_000


def fleet(workers: int) -> DispatchTable:
    """One model, a quarter of the workers for its first stage, 4 and 2 a host, and three quarters for its second."""
    batches = np.arange(BATCH + 1)
    first = workers // 4
    latency = np.array([2_000 + 950 * batches, 4_000 + 3_050 * batches], np.int64)
    return DispatchTable(
        slo_us=np.array([80_000]),
        pipeline_first=np.array([0, 1]),
        stage_first=np.array([0, 2]),
        worker_first=np.array([0, first, workers]),
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
    """Wall time a batch of the compiled loop, the best of three."""
    arrivals = traffic(workers, BATCHES)
    seconds, batches = [], 0
    for _ in range(3):
        start = time.perf_counter()
        record = simulate(table, arrivals, model_names=["m"], seed=0, policy=policy)
        seconds.append(time.perf_counter() - start)
        batches = len(record.batches.batch) // 2
    return min(seconds) / batches * 1e6


def outside_us(table: DispatchTable, workers: int, policy: str) -> np.ndarray:
    """Wall time of each ``decide`` that dispatched exactly one batch, completions fed back."""
    decider = ReservationPolicy(table, rule=policy)
    times, running = [], []
    for request, now_us in enumerate(traffic(workers, BATCHES // 4).arrival_us.tolist()):
        while running and running[0][0] <= now_us:
            decider.complete(*heapq.heappop(running))
        decider.arrive(now_us, 0, request, now_us + int(table.slo_us[0]))
        start = time.perf_counter_ns()
        decision = decider.decide(now_us)
        elapsed = time.perf_counter_ns() - start
        if len(decision.dispatches) == 1:
            times.append(elapsed / 1e3)
        for dispatch in decision.dispatches:
            for stage, end_us in enumerate(dispatch.end_us):
                heapq.heappush(running, (end_us, dispatch.batch, stage))
    return np.array(times)


def main() -> None:
    for policy in RULES:
        simulate(fleet(8), traffic(8, 10), model_names=["m"], seed=0, policy=policy)
        base = 0.0
        for workers in (100, 1_000, 10_000):
            table = fleet(workers)
            inside = inside_us(table, workers, policy)
            base = base or inside
            times = outside_us(table, workers, policy)
            print(
                f"{policy}, {workers} workers: {inside:.2f} us a batch inside the loop ({inside / base:.2f} x that "
                f"of 100 workers); decide of a batch through the object: median {np.median(times):.1f} us, p99 "
                f"{np.quantile(times, 0.99):.1f} us   [published at 100 devices: < 9 us]"
            )


if __name__ == "__main__":
    main()
