"""No policy holds more, even one that gives every device new work at any moment: all requests in one bucket.

At any prices of devices and links, a request of model m costs at least ``price[m]``, the cheapest of its chains. The
requests that arrive within an interval of length T are served between its begin and the longest SLO after its end, when
the fleet is worth ``(T + SLO) * sum(price * count)``. If every model is served to the target, so is the
total price of all requests. So a bucket of prices, instead of requests, bounds every policy.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from penstock.arrays import F64
from penstock.plan.goodput_bound.chain_uses import ChainUses
from penstock.plan.goodput_bound.paths import Path, Paths
from penstock.plan.goodput_bound.static_mix import PRECISION, Demand
from penstock.plan.goodput_bound.token_bucket_kernels import serve_volumes

MOST_RATES = 24
"""Halvings of the bracket."""


def any_policy_bound(
    uses: ChainUses,
    weights: Sequence[float],
    paths: Paths,
    target: float,
    price: Demand,
    slo_s: float,
    start_rps: float,
) -> float:
    """The least rate / weight found that no policy holds, at the prices of ``price``.

    ``slo_s`` is the longest SLO, ``start_rps`` a first guess.
    """

    def holds(rate_rps: float) -> bool:
        served, arrived = most_served(uses, paths([rate_rps * weight for weight in weights]), price, slo_s)
        return served >= target * float(arrived.sum())

    low, high = (start_rps, np.inf) if holds(start_rps) else (0.0, start_rps)
    step = 0.01
    for _ in range(MOST_RATES):
        if high <= low * (1 + PRECISION):
            break
        if np.isfinite(high) and low > 0:
            middle = 0.5 * (low + high)
        else:
            middle = low * (1 + step) if low else high / (1 + step)
            step *= 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return float(high)


def most_served(uses: ChainUses, paths: Sequence[Path], price: Demand, slo_s: float) -> tuple[float, F64]:
    """The most that can be served of the arrivals on ``paths``, and what arrived of each model (models,), in prices."""
    cost = uses.device_s @ price.device_price + uses.link_s @ price.link_price
    request = np.array([cost[uses.model == m].min() for m in range(len(paths[0]))])
    fleet = float(price.device_price @ uses.devices + price.link_price @ uses.links)
    served = 0.0
    for path in paths:
        time_s, volume = _together(path, request)
        served += serve_volumes(time_s, volume, fleet, fleet * slo_s)
    arrived = np.array([sum(len(path[m]) for path in paths) for m in range(len(request))])
    return served, request * arrived


def _together(path: Path, request: F64) -> tuple[F64, F64]:
    """The arrivals of all models in order, and the price of each."""
    time_s = np.concatenate(list(path))
    volume = np.repeat(request, [len(times) for times in path])
    order = np.argsort(time_s, kind="stable")
    return time_s[order], volume[order]
