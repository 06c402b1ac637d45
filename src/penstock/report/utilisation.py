"""How busy workers and devices were over a window of time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from penstock.record import Record


def utilisation(
    record: Record, n_workers: int, *, start_us: int | None = None, stop_us: int | None = None
) -> NDArray[np.float64]:
    """The busy share of each worker over ``[start_us, stop_us)``, shape (n_workers,).

    By default the window runs from the first arrival to the last batch's end. A batch that crosses an end of
    the window counts with the part inside.
    """
    batches, arrival_us = record.batches, record.requests.arrival_us
    if start_us is None:
        start_us = int(arrival_us.min()) if arrival_us.size else 0
    if stop_us is None:
        stop_us = int(batches.end_us.max()) if batches.end_us.size else start_us + 1
    inside_us = np.minimum(batches.end_us, stop_us) - np.maximum(batches.start_us, start_us)
    busy_us = np.bincount(batches.worker, weights=np.maximum(inside_us, 0), minlength=n_workers)
    return busy_us / max(stop_us - start_us, 1)


def utilisation_by_class(
    busy: NDArray[np.float64],
    worker_class: Sequence[str],
    worker_share: Sequence[int],
    devices: Mapping[str, int],
) -> dict[str, float]:
    """The busy share of each device class: a worker on 1/n of a device counts 1/n; idle devices count 0.

    ``busy``: as :func:`utilisation` gives it; ``devices``: how many each class has. Classes without any are left out.
    """
    total = {name: 0.0 for name, count in devices.items() if count}
    for share_busy, name, share in zip(busy, worker_class, worker_share, strict=True):
        total[name] += float(share_busy) / share
    return {name: value / devices[name] for name, value in total.items()}
