"""Which requests of a record count. The report and the command line count the same."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from penstock.record import Record


def counted_window(record: Record) -> tuple[int, int]:
    """The arrivals that count, ``[start, stop)`` in us: the record's own window, else all arrivals."""
    if record.window_us is not None:
        return record.window_us
    arrival_us = record.requests.arrival_us
    if not arrival_us.size:
        return 0, 1
    return int(arrival_us.min()), int(arrival_us.max()) + 1


def counted_rows(record: Record, model: int | None = None) -> NDArray[np.bool_]:
    """The requests that count, (requests,), of one model or of all."""
    start_us, stop_us = counted_window(record)
    arrival_us = record.requests.arrival_us
    rows: NDArray[np.bool_] = (arrival_us >= start_us) & (arrival_us < stop_us)
    return rows if model is None else rows & (record.requests.model == model)
