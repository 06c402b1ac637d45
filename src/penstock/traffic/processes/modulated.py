"""Poisson arrivals whose rate is constant piece by piece, drawn exactly.

The number over the whole window is Poisson with the integral of the rate; given it, the times are independent,
each with the rate as its density. Drawing them uniform in the integral and mapping back through its inverse, which
is linear piece by piece, needs no rejection and no step size (Çinlar 1975, section 4.7).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from penstock.arrays import F64, I64
from penstock.traffic.arrivals import check_draw
from penstock.units import US_PER_S


def piecewise_poisson(edges_s: F64, rates_rps: F64, rng: np.random.Generator) -> I64:
    """Sorted times in microseconds: rate ``rates_rps[i]`` between ``edges_s[i]`` and ``edges_s[i + 1]``."""
    integral = np.concatenate([[0.0], np.cumsum(rates_rps * np.diff(edges_s))])
    count = rng.poisson(integral[-1])
    places = np.sort(rng.random(count)) * integral[-1]
    times_us: I64 = np.rint(np.interp(places, integral, edges_s) * US_PER_S).astype(np.int64)
    return times_us


@dataclass(frozen=True)
class SteppedShape:
    """An arrival process: Poisson whose rate follows ``weights``, ``bin_s`` each, around a circle.

    Only the shape of ``weights`` (>= 0, one at least > 0) counts: their mean becomes the rate asked for. A window
    longer than the circle goes round again. ``start_s`` is where windows begin; None draws a new place for each,
    uniform on the circle. That makes the process stationary and its mean rate exact over windows of any length.
    """

    weights: F64
    bin_s: float
    start_s: float | None = None

    def __call__(self, rate_rps: float, seconds: float, rng: np.random.Generator) -> I64:
        """Sorted times in microseconds within ``[0, seconds]``. Raises :class:`BadInputError` as ``check_draw``."""
        check_draw(rate_rps, seconds)
        circle_s = self.bin_s * len(self.weights)
        start_s = rng.random() * circle_s if self.start_s is None else self.start_s % circle_s
        bins = np.arange(int(start_s // self.bin_s), int((start_s + seconds) // self.bin_s) + 1)
        edges_s = np.clip(np.append(bins, bins[-1] + 1) * self.bin_s - start_s, 0.0, seconds)
        rates_rps = self.weights[bins % len(self.weights)] * (rate_rps / self.weights.mean())
        return piecewise_poisson(edges_s, rates_rps, rng)
