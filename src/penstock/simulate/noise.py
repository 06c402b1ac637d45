"""Latency noise from a profile's median and 99th percentile.

A batch takes ``median * exp(sigma * z)``, z standard normal: the lognormal distribution whose median and 99th
percentile are the profile's, with ``sigma = ln(p99 / median) / 2.326``. Batches and stages are independent.
"""

from __future__ import annotations

import numpy as np

from penstock.arrays import F64
from penstock.errors import BadInputError
from penstock.schedule.table import DispatchTable

_Z99 = 2.3263478740408408
"""The 99th percentile of the standard normal."""
_STREAM = 1
"""With this number, noise is independent of traffic that is drawn with the same seed."""


def noise_sigma(table: DispatchTable, *, noise: bool) -> F64:
    """Sigma by (stage, batch), shape of ``table.latency_us``; all 0 without noise."""
    if not noise:
        return np.zeros(table.latency_us.shape)
    median = np.maximum(table.latency_us, 1)
    return np.ascontiguousarray(np.log(np.maximum(table.p99_us, median) / median) / _Z99)


def noise_source(seed: int) -> np.random.Generator:
    """The generator of the z values, row by row: one row a batch, one column a stage.

    Raises :class:`BadInputError` for a negative seed.
    """
    if seed < 0:
        raise BadInputError(f"seed (={seed}) must be >= 0: choose another.")
    return np.random.default_rng((seed, _STREAM))
