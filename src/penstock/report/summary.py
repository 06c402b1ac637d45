"""The figures of a record: rates, attainment, goodput, latency quantiles, utilisation.

Attainment counts every request that arrived and whose client stayed. A drop and an error count as missed, so dropping
requests improves nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from penstock.record import Outcome, Record, is_judged
from penstock.units import US_PER_S


@dataclass(frozen=True)
class ModelSummary:
    """One model over a window. ``judged``: the requests that the attainment is of.

    Latencies are those of answered requests (met or late). -1 if there is none.
    """

    name: str
    requests: int
    judged: int
    offered_rps: float
    attainment: float
    goodput_rps: float
    mean_us: float
    p50_us: float
    p99_us: float
    outcomes: Mapping[str, int]


def summarise(
    record: Record, *, start_us: int | None = None, stop_us: int | None = None
) -> list[ModelSummary]:
    """Summaries of every model over arrivals in ``[start_us, stop_us)``. The default is all arrivals.

    Rates are divided by the window's length. If a side is open, they are divided by the span of all arrivals.
    """
    arrival = record.requests.arrival_us
    start = int(arrival.min()) if start_us is None and arrival.size else (start_us or 0)
    stop = int(arrival.max()) + 1 if stop_us is None and arrival.size else (stop_us or start + 1)
    seconds = max(stop - start, 1) / US_PER_S
    inside = (arrival >= start) & (arrival < stop)
    return [
        _summarise_model(record, index, name, inside & (record.requests.model == index), seconds)
        for index, name in enumerate(record.models)
    ]


def _summarise_model(
    record: Record, index: int, name: str, rows: NDArray[np.bool_], seconds: float
) -> ModelSummary:
    requests = record.requests
    outcome = requests.outcome[rows]
    answered = (outcome == Outcome.MET) | (outcome == Outcome.LATE)
    latency = (requests.finish_us - requests.arrival_us)[rows][answered]
    total = int(rows.sum())
    judged = int(is_judged(outcome).sum())
    met = int((outcome == Outcome.MET).sum())
    return ModelSummary(
        name=name,
        requests=total,
        judged=judged,
        offered_rps=total / seconds,
        attainment=met / judged if judged else 1.0,
        goodput_rps=met / seconds,
        mean_us=float(latency.mean()) if latency.size else -1.0,
        p50_us=float(np.quantile(latency, 0.5)) if latency.size else -1.0,
        p99_us=float(np.quantile(latency, 0.99)) if latency.size else -1.0,
        outcomes={o.text: int((outcome == o).sum()) for o in Outcome},
    )
