"""No policy holds more with the pools of a given plan: arrivals matched to the capacity of each pipeline.

A pipeline serves at most the rate of its slowest stage, whatever the sizes of its batches, and this capacity at time t
can only serve requests that arrived within the window before t: those that still meet their SLO if they pass the other
stages without waiting. Links are left out. Pools that are shared by stages are not covered: there, capacity of
one model is taken by another.
"""

from __future__ import annotations

import numpy as np

from penstock.arrays import F64
from penstock.plan.goodput_bound.paths import Paths
from penstock.plan.goodput_bound.static_mix import PRECISION
from penstock.plan.goodput_bound.token_bucket_kernels import serve_from_pipelines
from penstock.schedule.table import DispatchTable
from penstock.units import US_PER_S

MOST_RATES = 40


def pools_bound(table: DispatchTable, first_rps: list[float], paths: Paths, target: float) -> list[float]:
    """For each model the least rate found that no policy holds with the pools of ``table``.

    ``first_rps`` (models,): where the search starts. All models are drawn at once, so their brackets share the draws.
    """
    assert not table.shares_pools
    assert not table.lends
    pipelines = [pipeline_windows(table, m) for m in range(table.n_models)]
    low, high = [0.0] * table.n_models, [np.inf] * table.n_models
    asked, step = list(first_rps), [0.01] * table.n_models
    for _ in range(MOST_RATES):
        drawn = paths(asked)
        for m, (rate, window) in enumerate(pipelines):
            free = np.zeros(len(rate))
            served = sum(serve_from_pipelines(path[m], rate, window, free) for path in drawn)
            if served >= target * sum(len(path[m]) for path in drawn):
                low[m] = max(low[m], asked[m])
            else:
                high[m] = min(high[m], asked[m])
            low[m] = min(low[m], high[m] * (1 - PRECISION / 2))
            if np.isfinite(high[m]) and low[m] > 0:
                asked[m] = 0.5 * (low[m] + high[m])
            else:
                asked[m] = low[m] * (1 + step[m]) if low[m] > 0 else high[m] / (1 + step[m])
                step[m] *= 2
        if all(b <= a * (1 + PRECISION) for a, b in zip(low, high, strict=True)):
            break
    return [float(each) for each in high]


def pipeline_windows(table: DispatchTable, m: int) -> tuple[F64, F64]:
    """The rate of every pipeline of a model in requests per second, and the window of its slowest stage in seconds."""
    rates, windows = [], []
    workers = np.diff(table.worker_offsets)
    for p in range(table.pipeline_offsets[m], table.pipeline_offsets[m + 1]):
        batch = np.arange(1, table.pipeline_batch[p] + 1)
        stages = range(table.stage_offsets[p], table.stage_offsets[p + 1])
        rows = np.arange(stages.start, stages.stop)[:, None]
        pieces = -(-batch // table.piece_batch[rows])
        piece = -(-batch // pieces)
        latency_us = table.latency_us[rows, piece].astype(np.float64)
        # The largest transfer between the pieces of two stages has so many rows at least.
        pairs = np.vstack([pieces[:1], pieces[:-1] + pieces[1:] - 1])
        moves_us = table.transfer_us[rows, -(-batch // pairs)].astype(np.float64)
        rate = workers[stages.start : stages.stop] * (piece / latency_us).max(axis=1) * US_PER_S
        slowest = int(rate.argmin())
        other_us = latency_us.sum(axis=0) + moves_us.sum(axis=0) - latency_us[slowest]
        rates.append(float(rate[slowest]))
        windows.append(float(table.slo_us[m] - other_us.min()) / US_PER_S)
    return np.array(rates), np.array(windows)
