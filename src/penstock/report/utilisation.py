"""How busy workers and devices were over a window of time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from penstock.arrays import F64
from penstock.record import Record


def utilisation(
    record: Record, n_workers: int, *, start_us: int | None = None, stop_us: int | None = None
) -> F64:
    """The busy share of each worker over ``[start_us, stop_us)``, shape (n_workers,).

    By default the window is from the first arrival to the end of the last batch. If a batch crosses an end of
    the window, only the part inside counts.
    """
    batches, arrival_us = record.batches, record.requests.arrival_us
    if start_us is None:
        start_us = int(arrival_us.min()) if arrival_us.size else 0
    if stop_us is None:
        stop_us = int(batches.end_us.max()) if batches.end_us.size else start_us + 1
    inside_us = np.minimum(batches.end_us, stop_us) - np.maximum(batches.start_us, start_us)
    busy_us = np.bincount(batches.worker, weights=np.maximum(inside_us, 0), minlength=n_workers)
    return busy_us / max(stop_us - start_us, 1)


def busy_by_turns(record: Record, devices: int, start_us: int, stop_us: int) -> F64:
    """The busy share of each device over ``[start_us, stop_us)`` if models take turns on it: (devices,).

    The workers of such a record are devices. From a job's first segment to its end the device always runs some job, so
    it is busy in the union of these times.
    """
    batches = record.batches
    order = np.argsort(batches.start_us, kind="stable")
    device = batches.worker[order]
    begins_us = np.clip(batches.start_us[order], start_us, stop_us)
    ends_us = np.clip(batches.end_us[order], start_us, stop_us)
    busy_us = np.zeros(devices)
    for one in range(devices):
        mine = device == one
        begun, ended = begins_us[mine], np.maximum.accumulate(ends_us[mine])
        before = np.concatenate([[start_us], ended[:-1]]) if len(ended) else ended
        busy_us[one] = np.maximum(ended - np.maximum(begun, before), 0).sum()
    return busy_us / max(stop_us - start_us, 1)


def utilisation_by_class(
    busy: F64,
    worker_class: Sequence[str],
    worker_share: Sequence[int],
    devices: Mapping[str, int],
) -> dict[str, float]:
    """The busy share of each device class. A worker on 1/n of a device counts 1/n. Idle devices count 0.

    ``busy``: the result of :func:`utilisation`. ``devices``: how many each class has. Classes without any are left
    out.
    """
    total = {name: 0.0 for name, count in devices.items() if count}
    for share_busy, name, share in zip(busy, worker_class, worker_share, strict=True):
        total[name] += float(share_busy) / share
    return {name: value / devices[name] for name, value in total.items()}
