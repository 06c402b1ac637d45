"""Apportionment: whole devices for models, by a rule that needs no solver."""

from __future__ import annotations

import numpy as np

from penstock.plan.templates import F64, I64


def apportion(count: int, weight: F64, served: F64) -> I64:
    """``count`` devices in proportion to ``weight`` (models,), rounded down: int64, shape (models,).

    What rounding leaves goes one each to the models of least ``served`` (models,); ties to the first.
    """
    devices: I64 = np.floor(count * (weight / weight.sum()) + 1e-9).astype(np.int64)
    left = count - int(devices.sum())
    devices[np.argsort(served, kind="stable")[:left]] += 1
    return devices
