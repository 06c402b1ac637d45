"""A bound for every plan on a cluster: the fleet has a limited device time per second.

A request of a model needs each of its blocks once. A block costs at least ``latency / (batch * share)``
device microseconds on a class. Give a device second of class ``c`` any price ``p_c >= 0``. A plan that serves
``z * weight`` of every model spends at least ``z * sum(weight * min_c p_c * cost)`` and at most
``sum(p_c * count_c)``. So the quotient is a bound on ``z`` (weak duality of the assignment of blocks to classes).

Latencies, transfers and rounding are left out. So the bound is valid for every planner, but it is loose.
"""

from __future__ import annotations

import numpy as np

from penstock.arrays import F64
from penstock.plan.planning_question import PlanningQuestion
from penstock.profile.table import Profile
from penstock.units import US_PER_S


def work_bound_rps(question: PlanningQuestion) -> float:
    """An upper bound on the least rate / weight over the models of a scenario, in requests per second.

    Every profile must cover every class with devices, as :func:`penstock.plan.documents.scenario.load_profiles` checks.
    With the prices tried, one block costs the same on all classes. With two classes, one of these prices gives the
    least bound, because the slope of the bound changes only at these prices.
    """
    scenario, profiles = question.scenario, question.profiles
    classes = {name: spec for name, spec in scenario.cluster.device_classes.items() if spec.available}
    counts = np.array([spec.available for spec in classes.values()], dtype=np.float64)
    cost_us = np.concatenate(
        [
            model.weight
            * np.stack(
                [_cost_us(profiles[model.name], name, spec.max_share) for name, spec in classes.items()],
                axis=1,
            )
            for model in scenario.models
        ]
    )  # (blocks of all models, classes)
    prices = 1.0 / np.maximum(cost_us, 1e-9)
    spent = np.array([np.min(cost_us * price, axis=1).sum() for price in prices])
    return float(np.min((prices @ counts) * US_PER_S / np.maximum(spent, 1e-9)))


def _cost_us(profile: Profile, device_class: str, max_share: int) -> F64:
    """Least device time of one request on each block: float64, shape (blocks,)."""
    shares = [share for share in profile.shares_of(device_class) if share <= max_share]
    best = np.full(len(profile.blocks), np.inf)
    for share in shares:
        table = profile.table(device_class, share)
        batch = np.arange(1, table.max_batch + 1)
        best = np.minimum(best, np.min(table.latency_us / (batch * share), axis=1))
    return best
