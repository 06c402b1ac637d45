"""Renewal arrivals of one model in chunks, so that memory does not grow with the length of a run."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from penstock.arrays import I64
from penstock.errors import BadInputError
from penstock.units import US_PER_S

CHUNK = 1 << 16


def renewal_chunks(
    rate_rps: float,
    seconds: float,
    rng: np.random.Generator,
    *,
    cv: float = 1.0,
    whole_gaps: bool = False,
) -> Iterator[I64]:
    """Sorted arrival times in microseconds below ``seconds``, with gamma gaps. They are Poisson at ``cv`` 1.

    As :func:`penstock.traffic.processes.renewal.gamma`, one chunk at a time. ``whole_gaps`` cuts every gap to whole
    microseconds, a flaw of the published simulator. Raises :class:`BadInputError` for a value that is not above 0.
    """
    if not (rate_rps > 0 and seconds > 0 and cv > 0):
        raise BadInputError(f"rate_rps (={rate_rps:g}), seconds (={seconds:g}), cv (={cv:g}) must be > 0.")
    shape = 1.0 / (cv * cv)
    scale_us = US_PER_S / (rate_rps * shape)
    time_us = rng.random() * rng.gamma(shape + 1.0, scale_us)
    gaps = np.zeros(1)
    while time_us < seconds * US_PER_S:
        times = time_us + np.cumsum(gaps)
        yield np.rint(times[times < seconds * US_PER_S]).astype(np.int64)
        time_us = float(times[-1])
        gaps = rng.gamma(shape, scale_us, CHUNK)
        if whole_gaps:
            gaps = np.floor(gaps)
