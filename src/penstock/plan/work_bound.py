"""A bound that every plan on a cluster obeys: there is only so much device time in a second.

A request of a model needs each of its blocks once, and a block costs at least ``latency / (batch * share)``
device microseconds on a class. Give a device second of class ``c`` any price ``p_c >= 0``. A plan that serves
``z * weight`` of every model spends at least ``z * sum(weight * min_c p_c * cost)`` and no more than
``sum(p_c * count_c)``; so the quotient bounds ``z`` (weak duality of the assignment of blocks to classes).

Latencies, transfers and rounding are left out: the bound is valid for every planner, and loose.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from penstock.plan.scenario import Scenario
from penstock.profile.table import Profile
from penstock.units import US_PER_S


def work_bound_rps(scenario: Scenario, profiles: Mapping[str, Profile]) -> float:
    """An upper bound on the least rate / weight over the models of ``scenario``, in requests per second.

    Every profile must cover every class with devices, as :func:`penstock.plan.scenario.load_profiles` checks.
    The prices tried make one block equally dear on all classes; with two classes the least bound is
    among them, as the bound changes its slope only there.
    """
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


def _cost_us(profile: Profile, device_class: str, max_share: int) -> NDArray[np.float64]:
    """Least device time of one request on each block: float64, shape (blocks,)."""
    shares = [share for share in profile.shares_of(device_class) if share <= max_share]
    best = np.full(len(profile.blocks), np.inf)
    for share in shares:
        table = profile.table(device_class, share)
        batch = np.arange(1, table.max_batch + 1)
        best = np.minimum(best, np.min(table.latency_us / (batch * share), axis=1))
    return best
