"""What a plan's devices cost, and what its requests cost."""

from __future__ import annotations

from penstock.plan.documents.plan import Plan, devices_of

SECONDS_PER_HOUR = 3600


def hourly_cost(plan: Plan) -> float | None:
    """The cost of an hour of the devices that hold a worker; None if one of them has no price."""
    classes = plan.scenario.cluster.device_classes
    total = 0.0
    for name, count in devices_of(plan).items():
        price = classes[name].hourly_cost
        if count and price is None:
            return None
        total += count * (price or 0.0)
    return total


def cost_per_million(hourly_cost: float, rate_rps: float) -> float:
    """What a million requests cost if devices of ``hourly_cost`` serve ``rate_rps`` without a pause."""
    return hourly_cost / SECONDS_PER_HOUR / rate_rps * 1e6
