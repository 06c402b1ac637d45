"""Which devices each model gets: as in NP's plan, the rest evenly. This is the first half of DART-r.

NP's plan is not unique: a class that suits only one model may be given to it whole or in part, at the same objective.
The rate that the model is expected to serve decides (``estimated_rps``, by the published definition the rate of NP's
plan). Devices beyond that rate, and beyond what NP's objective asks for, are left over. A model below that rate
takes what is free and runs it whole. The reference plans divide devices in this way.
"""

from __future__ import annotations

import math

import numpy as np

from penstock.arrays import F64, I64
from penstock.plan.documents.plan import Plan
from penstock.plan.planners.apportion import apportion
from penstock.plan.templates.table import whole_workers

ESTIMATE_TOLERANCE = 1e-6
"""Estimates were rounded in text and by a solver. No device is added for a difference in the last digit."""


def split_devices(np_plan: Plan, device_rps: F64, device_counts: I64) -> I64:
    """Devices of every model: int64, shape (models, classes). All of ``device_counts`` (classes,) are given out.

    ``device_rps`` (models, classes): the rate of the whole model on one whole device. 0 if it cannot run there.
    """
    classes = np_plan.scenario.cluster.device_classes
    weight = np.array([model.weight for model in np_plan.scenario.models])
    expected = np.array([model.estimated_rps or 0.0 for model in np_plan.models])
    goal = np.maximum(np_plan.objective * weight, expected * (1 - ESTIMATE_TOLERANCE))
    held = _held(np_plan, list(classes))
    for m, rates in enumerate(device_rps):
        _release(held[m], rates, goal[m])
    free = device_counts - held.sum(axis=0)
    for m, rates in enumerate(device_rps):
        _take(held[m], rates, goal[m], free)
    served = (held * device_rps).sum(axis=1) / weight
    rest = [apportion(int(count), np.ones(len(weight)), served) for count in free]
    split: I64 = held + np.stack(rest, axis=1)
    return split


def _held(np_plan: Plan, classes: list[str]) -> I64:
    """Devices of every model in NP's plan: (models, classes). Each worker is one device."""
    held = np.zeros((len(np_plan.models), len(classes)), dtype=np.int64)
    for m, model in enumerate(np_plan.models):
        for pipeline in model.pipelines:
            [stage] = pipeline.stages
            held[m, classes.index(stage.device_class)] += stage.workers
    return held


def _release(held: I64, device_rps: F64, goal_rps: float) -> None:
    """Remove from ``held`` (classes,) what the goal does not need, the slowest devices first."""
    for c in np.argsort(device_rps, kind="stable").tolist():
        spare_rps = float(held @ device_rps) - goal_rps
        if held[c] and spare_rps > 0:
            held[c] -= min(int(held[c]), math.floor(spare_rps / device_rps[c] + 1e-9))


def _take(held: I64, device_rps: F64, goal_rps: float, free: I64) -> None:
    """Move devices from ``free`` (classes,) to ``held`` (classes,) until it reaches its goal, the fastest first."""
    for c in np.argsort(-device_rps, kind="stable").tolist():
        lacking_rps = goal_rps - float(held @ device_rps)
        if device_rps[c] > 0 and lacking_rps > 0:
            moved = min(int(free[c]), int(whole_workers(lacking_rps, device_rps[c])))
            held[c] += moved
            free[c] -= moved
