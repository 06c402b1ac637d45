"""The second of a run in which most requests missed, and what the workers did in it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from penstock.arrays import I64
from penstock.record import Outcome, Record, is_judged
from penstock.report.findings.counted import counted_rows
from penstock.units import US_PER_S

MOST_WORKERS = 24
"""The most workers of the picture: the busiest ones."""


@dataclass(frozen=True)
class WorstSecond:
    """``[start_us, start_us + 1 s)``. ``rows``: its batches, of ``workers`` (the busiest of ``all_workers``)."""

    start_us: int
    missed: int
    arrived: int
    workers: I64
    all_workers: int
    rows: I64


def worst_second(record: Record) -> WorstSecond | None:
    """The second with the most misses; if none missed, the one with the most arrivals. None without batches."""
    requests, batches = record.requests, record.batches
    inside = counted_rows(record)
    arrival_us = requests.arrival_us[inside]
    if not arrival_us.size or not batches.start_us.size:
        return None
    missed_us = np.sort(
        arrival_us[(requests.outcome[inside] != Outcome.MET) & is_judged(requests.outcome[inside])]
    )
    moments = missed_us if missed_us.size else np.sort(arrival_us)
    ahead = np.searchsorted(moments, moments + US_PER_S) - np.arange(len(moments))
    start_us = int(moments[int(ahead.argmax())])
    stop_us = start_us + US_PER_S
    rows = np.flatnonzero((batches.end_us > start_us) & (batches.start_us < stop_us))
    busy_us = np.minimum(batches.end_us[rows], stop_us) - np.maximum(batches.start_us[rows], start_us)
    workers, inverse = np.unique(batches.worker[rows], return_inverse=True)
    total_us = np.bincount(inverse, weights=busy_us, minlength=len(workers))
    kept = np.sort(workers[np.argsort(-total_us, kind="stable")[:MOST_WORKERS]])
    return WorstSecond(
        start_us=start_us,
        missed=int(((missed_us >= start_us) & (missed_us < stop_us)).sum()),
        arrived=int(((arrival_us >= start_us) & (arrival_us < stop_us)).sum()),
        workers=kept,
        all_workers=len(workers),
        rows=rows[np.isin(batches.worker[rows], kept)],
    )
