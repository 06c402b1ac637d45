"""How much a model's pools must grow to hold more: in proportion nearby, less than that further off."""

from __future__ import annotations

import math

NEAR = 0.2
"""Rates are taken to follow devices in proportion up to this logarithm of their ratio."""

ECONOMY = 0.5
"""Beyond, devices are taken to grow with this power of the rate: a larger pool stands bursts better."""


def growth(ratio: float) -> float:
    """The factor on devices for ``ratio`` times the rate held."""
    x = math.log(ratio)
    return math.exp(x if abs(x) <= NEAR else math.copysign(NEAR + ECONOMY * (abs(x) - NEAR), x))
