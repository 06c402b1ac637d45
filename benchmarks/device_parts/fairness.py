"""Theta against fairness, and where the time of a job goes."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np

from device_parts.rows import Table
from penstock.simulate.device.device_loop import Overheads
from penstock.simulate.device.interference import Interference
from penstock.simulate.device.mixes import cut_by_rule, draw_jobs, eight_models, equal_work, mean_own_us
from penstock.simulate.device.service_shares import ServiceShares
from penstock.simulate.device.setups import SETUPS

THETAS = (1000.0, 100.0, 30.0, 10.0, 3.0, 1.0)


def run_fairness(jobs: int) -> list[str]:
    table = Table(f"Theta sweep: eight models of equal work, load 0.95, {jobs} jobs, sigma 1.5")
    models = equal_work(cut_by_rule(eight_models()))
    arrivals = draw_jobs(models, 0.95e6 / mean_own_us(models), jobs, np.random.default_rng(1), sigma=1.5)
    indices = []
    for theta in THETAS:
        service = ServiceShares(len(models))
        setup = replace(SETUPS["srpt-deficit"], theta=theta)
        record = setup.run(models, arrivals, Interference(1.0), service=service)
        indices.append(service.jain())
        table.show(
            f"theta {theta:6g}: Jain of service to backlogged types {indices[-1]:.4f}, "
            f"mean {record.mean_us() / 1e3:.1f} ms"
        )
    rises = all(later >= earlier - 0.01 for earlier, later in pairwise(indices))
    table.claim(
        "fairness rises as theta falls",
        f"{indices[0]:.3f} to {indices[-1]:.3f}",
        "never falls by 0.01",
        rises,
    )
    return table.failed


def run_overheads(jobs: int) -> list[str]:
    table = Table("Overhead stack: srpt-deficit, window 4, load 0.7, decide 8 us, launch 12 us, notice 25 us")
    models = cut_by_rule(eight_models())
    arrivals = draw_jobs(models, 0.7e6 / mean_own_us(models), jobs, np.random.default_rng(1))
    setup = replace(SETUPS["srpt-deficit"], window=4)
    record = setup.run(models, arrivals, Interference(0.6), overheads=Overheads(8.0, 12.0, 25.0))
    parts = record.mean_parts_us()
    table.show(", ".join(f"{name} {us:.1f}" for name, us in parts.items()) + " us")
    total = sum(parts.values())
    table.claim(
        "parts sum to the mean latency",
        total,
        f"{record.mean_us():.4g} us",
        abs(total / record.mean_us() - 1) < 1e-9,
    )
    return table.failed
