"""A small record written by hand, shared by the report's tests."""

from __future__ import annotations

import numpy as np

from penstock.record import Batches, Outcome, Record, Requests


def column(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


def toy_record() -> Record:
    """Four requests in 3 s: met after 10 ms and 20 ms, late after 60 ms, dropped. SLO 50 ms."""
    arrival = column(0, 1_000_000, 2_000_000, 2_999_999)
    requests = Requests(
        model=column(0, 0, 0, 0),
        request=column(0, 1, 2, 3),
        arrival_us=arrival,
        deadline_us=arrival + 50_000,
        pipeline=column(0, 0, 0, -1),
        batch=column(0, 1, 2, -1),
        finish_us=column(10_000, 1_020_000, 2_060_000, -1),
        outcome=column(Outcome.MET, Outcome.MET, Outcome.LATE, Outcome.DROPPED_EARLY),
    )
    batches = Batches(
        batch=column(0, 1, 2),
        model=column(0, 0, 0),
        pipeline=column(0, 0, 0),
        stage=column(0, 0, 0),
        worker=column(0, 1, 0),
        size=column(1, 1, 1),
        queued_us=column(0, 1_000_000, 2_000_000),
        start_us=column(0, 1_000_000, 2_000_000),
        end_us=column(10_000, 1_020_000, 2_060_000),
        transfer_us=column(0, 0, 0),
    )
    return Record(models=("toy",), requests=requests, batches=batches, source="simulated")
