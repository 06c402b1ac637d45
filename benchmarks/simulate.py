"""Simulator speed: requests a second of the compiled loop, and the time of a decision at 100 workers.

Beside the figures of the published simulator: 64,000-223,000 simulated requests a second of its inner
loop, decisions of under 9 us a batch at 100 devices (PPipe, USENIX ATC 2025, and a rerun of its artifact).
The work done (batches, events) is printed too: a faster run that does other work is no gain.
"""

from __future__ import annotations

import heapq
import time

import numpy as np

from penstock.record import Record
from penstock.report.summary import summarise
from penstock.schedule.reservation import ReservationPolicy
from penstock.schedule.table import DispatchTable
from penstock.simulate.simulator import simulate
from penstock.traffic.arrivals import Arrivals, draw_arrivals
from penstock.traffic.renewal import poisson

WORKERS = (25, 75)
BATCH = 8
PLANNED_RPS = 20_000.0


def two_stages(p99_ratio: float = 1.0) -> DispatchTable:
    """One model, two pools of 25 and 75 devices, 4 and 2 devices a host, batch 8."""
    batches = np.arange(BATCH + 1)
    latency = np.array([2_000 + 950 * batches, 4_000 + 3_050 * batches], np.int64)
    transfer = np.array([0 * batches, 40 * batches], np.int64)
    hosts = np.concatenate([np.arange(25) // 4, 7 + np.arange(75) // 2])
    return DispatchTable(
        slo_us=np.array([80_000]),
        pipeline_first=np.array([0, 1]),
        stage_first=np.array([0, 2]),
        worker_first=np.array([0, WORKERS[0], sum(WORKERS)]),
        pipeline_batch=np.array([BATCH]),
        latency_us=latency,
        p99_us=(latency * p99_ratio).astype(np.int64),
        transfer_us=transfer,
        worker_host=hosts,
        worker_device=np.arange(sum(WORKERS)),
    )


def timed(table: DispatchTable, arrivals: Arrivals, noise: bool) -> tuple[float, Record]:
    """The best of three runs, compilation left out."""
    simulate(
        table, Arrivals(arrivals.arrival_us[:50], arrivals.model[:50]), model_names=["m"], seed=0, noise=noise
    )
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        record = simulate(table, arrivals, model_names=["m"], seed=0, noise=noise)
        seconds.append(time.perf_counter() - start)
    return min(seconds), record


def decision_times_us(table: DispatchTable, arrivals: Arrivals) -> np.ndarray:
    """Wall time of each ``decide`` of the policy object that dispatched exactly one batch, completions fed back."""
    policy = ReservationPolicy(table)
    times, running = [], []
    for request, now_us in enumerate(arrivals.arrival_us.tolist()):
        while running and running[0][0] <= now_us:
            policy.complete(*heapq.heappop(running))
        policy.arrive(now_us, 0, request, now_us + int(table.slo_us[0]))
        start = time.perf_counter_ns()
        decision = policy.decide(now_us)
        elapsed = time.perf_counter_ns() - start
        if len(decision.dispatches) == 1:
            times.append(elapsed / 1e3)
        for dispatch in decision.dispatches:
            for stage, end_us in enumerate(dispatch.end_us):
                heapq.heappush(running, (end_us, dispatch.batch, stage))
    return np.array(times)


def main() -> None:
    start = time.perf_counter()
    simulate(two_stages(), Arrivals(np.zeros(1, np.int64), np.zeros(1, np.int64)), model_names=["m"], seed=0)
    print(f"first call (compile, or load the cache): {time.perf_counter() - start:.1f} s")
    for name, table, noise in (
        ("deterministic", two_stages(), False),
        ("noisy, corrected by completions", two_stages(1.2), True),
    ):
        for load in (0.5, 0.9, 1.1):
            arrivals = draw_arrivals(poisson, [load * PLANNED_RPS], 10.0, np.random.default_rng(7))
            seconds, record = timed(table, arrivals, noise)
            summary = summarise(record)[0]
            n_batches = len(record.batches.batch) // 2
            dropped = int((record.requests.batch < 0).sum())
            print(
                f"{name}, load {load}: {len(arrivals) / seconds:,.0f} requests/s "
                f"= {seconds / n_batches * 1e6:.1f} us a batch, all its probes and requests included "
                f"({len(arrivals)} requests, {n_batches} batches, {dropped} drops in {seconds:.3f} s), "
                f"attainment {summary.attainment:.4f}   [published inner loop: 64,000-223,000 requests/s]"
            )
    arrivals = draw_arrivals(poisson, [0.9 * PLANNED_RPS], 2.0, np.random.default_rng(7))
    times = decision_times_us(two_stages(), arrivals)
    print(
        f"decision of a batch at {sum(WORKERS)} workers, through the policy object: median {np.median(times):.1f} us, "
        f"p99 {np.quantile(times, 0.99):.1f} us over {len(times)} batches   [published: < 9 us]"
    )


if __name__ == "__main__":
    main()
