"""How much a model's pools must grow to hold a higher rate: in proportion for small changes, less for large ones."""

from __future__ import annotations

import math

NEAR = 0.2
"""Up to this logarithm of their ratio, rates are assumed to be proportional to devices."""

ECONOMY = 0.5
"""For larger ratios, devices are assumed to grow with this power of the rate: a larger pool handles bursts better."""


def growth(ratio: float) -> float:
    """The factor on devices that gives ``ratio`` times the held rate."""
    x = math.log(ratio)
    return math.exp(x if abs(x) <= NEAR else math.copysign(NEAR + ECONOMY * (abs(x) - NEAR), x))
