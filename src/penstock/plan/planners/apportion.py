"""Apportionment: whole devices for models, by a rule that needs no solver."""

from __future__ import annotations

import numpy as np

from penstock.arrays import F64, I64


def apportion(count: int, weight: F64, served: F64) -> I64:
    """``count`` devices in proportion to ``weight`` (models,), rounded down: int64, shape (models,).

    The devices left by rounding go, one each, to the models of least ``served`` (models,). Of equals, the first wins.
    """
    devices: I64 = np.floor(count * (weight / weight.sum()) + 1e-9).astype(np.int64)
    left = count - int(devices.sum())
    devices[np.argsort(served, kind="stable")[:left]] += 1
    return devices
