"""What a decision costs at 1,000 queued jobs: CPU time of each call, the least of several replays of the same
calls."""

from __future__ import annotations

import gc
import random
import time
from dataclasses import replace

import numpy as np

from device_parts.rows import Table
from penstock.schedule.device import DevicePolicy
from penstock.simulate.device.mixes import cut_by_rule, eight_models
from penstock.simulate.device.setups import SETUPS, Setup

QUEUED = 1000
STEPS = 1500
REPLAYS = 9
LIMIT_US = 10.0


def run_cost() -> list[str]:
    table = Table(
        f"Decisions at {QUEUED} queued, us of CPU a call: least of {REPLAYS} replays, over {STEPS} calls"
    )
    gc.disable()
    try:
        for name in (
            "fifo",
            "srpt",
            "srpt-deficit",
            "edf-demote",
            "moore-hodgson",
            "moore-hodgson-budgets",
            "round-robin",
        ):
            decide = _costs(SETUPS[name])
            p50, p99 = np.percentile(decide, 50), np.percentile(decide, 99)
            table.claim(
                f"{name}: p99 of decide (median {p50:.1f})",
                float(p99),
                f"<= {LIMIT_US:g} us",
                p99 <= LIMIT_US,
            )
    finally:
        gc.enable()
    return table.failed


def _costs(setup: Setup) -> np.ndarray:
    least = np.full(STEPS, np.inf)
    for _ in range(REPLAYS):
        least = np.minimum(least, _replay(replace(setup, copies=24).policy(cut_by_rule(eight_models()))))
    return least / 1e3


def _replay(policy: DevicePolicy) -> np.ndarray:
    """One release a call, and a new job for each that ends: the queue stays at its length. Deadlines are far
    enough that late jobs are found one at a time, as they are in service.
    """
    rng = random.Random(1)
    now_us = job = 0

    def arrive() -> None:
        nonlocal job
        policy.arrive(now_us, job, rng.randrange(8), now_us + rng.randrange(1_000_000, 8_000_000))
        job += 1

    for _ in range(QUEUED):
        arrive()
    cost = np.zeros(STEPS)
    for step in range(STEPS):
        begin = time.thread_time_ns()
        decision = policy.decide(now_us)
        cost[step] = time.thread_time_ns() - begin
        (one,) = decision.releases
        now_us += 900
        policy.finished(now_us, one.job, one.stage)
        while policy.queued < QUEUED:
            arrive()
    return cost
