"""Means over seeds with their confidence intervals, by Student's t."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from penstock.errors import BadInputError


@dataclass(frozen=True)
class Interval:
    """``mean`` plus and minus ``half_width``; infinite for a single value, which says nothing of its spread."""

    mean: float
    half_width: float

    @property
    def low(self) -> float:
        """The lower end."""
        return self.mean - self.half_width

    @property
    def high(self) -> float:
        """The upper end."""
        return self.mean + self.half_width


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """The mean of independent ``values`` and its two-sided interval.

    Raises :class:`BadInputError` where there are none, or for a confidence outside (0, 1).
    """
    if not values or not 0 < confidence < 1:
        raise BadInputError(
            f"values (={len(values)} of them) must be at least one and confidence (={confidence:g}) in (0, 1)."
        )
    if len(values) == 1:
        return Interval(float(values[0]), math.inf)
    quantile = student_quantile(confidence, len(values) - 1)
    return Interval(fmean(values), quantile * stdev(values) / math.sqrt(len(values)))


def student_quantile(confidence: float, freedom: int) -> float:
    """The t with P(-t < T < t) = ``confidence`` for ``freedom`` degrees of freedom, by bisection."""
    low, high = 0.0, 1.0
    while _central(high, freedom) < confidence:
        low, high = high, 2 * high
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _central(middle, freedom) < confidence else (low, middle)
    return high


def _central(t: float, freedom: int) -> float:
    """P(-t < T < t): Abramowitz and Stegun, 26.7.3 and 26.7.4, exact for whole degrees of freedom."""
    angle = math.atan(t / math.sqrt(freedom))
    cosine, odd = math.cos(angle), freedom % 2
    term = cosine if odd else 1.0
    total = term if freedom > 1 else 0.0
    for k in range(2 + odd, freedom - 1, 2):
        term *= (k - 1) / k * cosine * cosine
        total += term
    return 2 / math.pi * (angle + math.sin(angle) * total) if odd else math.sin(angle) * total
