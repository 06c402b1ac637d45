"""What a load is to the bounds: sample paths of arrivals, the same ones that plans are judged on."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from penstock.arrays import F64

Path = Sequence[F64]
"""The sorted times in seconds of one run's arrivals that count, an array for each model."""

Paths = Callable[[Sequence[float]], Sequence[Path]]
"""One path for each run, at the given rates (models,) in requests per second."""
