"""Which devices each model gets, as NP's plan has it, the rest evenly: the first half of DART-r.

NP's plan has ties: a class that suits one model only may go to it whole or in part, at the same objective.
They are settled by the rate that the model is expected to serve (``estimated_rps``, by the published
definition the rate of NP's plan): devices beyond that, and beyond what NP's objective asks for, are left
over; a model below it takes what is free and runs it whole. The reference plans divide so.
"""

from __future__ import annotations

import math

import numpy as np

from penstock.plan.apportion import apportion
from penstock.plan.plan import Plan
from penstock.plan.templates import F64, I64

ESTIMATE_TOLERANCE = 1e-6
"""Estimates have passed through text and a solver: a device is not added for the last digit."""


def split_devices(np_plan: Plan, device_rps: F64) -> I64:
    """Devices of every model: int64, shape (models, classes), all devices of the cluster given out.

    ``device_rps`` (models, classes): the whole model on one whole device; 0 where it cannot run there.
    """
    classes = np_plan.scenario.cluster.device_classes
    weight = np.array([model.weight for model in np_plan.scenario.models])
    expected = np.array([model.estimated_rps or 0.0 for model in np_plan.models])
    goal = np.maximum(np_plan.objective * weight, expected * (1 - ESTIMATE_TOLERANCE))
    held = _held(np_plan, list(classes))
    for m, rates in enumerate(device_rps):
        _release(held[m], rates, goal[m])
    free = np.array([spec.count for spec in classes.values()]) - held.sum(axis=0)
    for m, rates in enumerate(device_rps):
        _take(held[m], rates, goal[m], free)
    served = (held * device_rps).sum(axis=1) / weight
    rest = [apportion(int(count), np.ones(len(weight)), served) for count in free]
    split: I64 = held + np.stack(rest, axis=1)
    return split


def _held(np_plan: Plan, classes: list[str]) -> I64:
    """Devices of every model in NP's plan, which are its workers: (models, classes)."""
    held = np.zeros((len(np_plan.models), len(classes)), dtype=np.int64)
    for m, model in enumerate(np_plan.models):
        for pipeline in model.pipelines:
            [stage] = pipeline.stages
            held[m, classes.index(stage.device_class)] += stage.workers
    return held


def _release(held: I64, device_rps: F64, goal_rps: float) -> None:
    """Take from ``held`` (classes,) what the goal does not need, the slowest devices first."""
    for c in np.argsort(device_rps, kind="stable").tolist():
        spare_rps = float(held @ device_rps) - goal_rps
        if held[c] and spare_rps > 0:
            held[c] -= min(int(held[c]), math.floor(spare_rps / device_rps[c] + 1e-9))


def _take(held: I64, device_rps: F64, goal_rps: float, free: I64) -> None:
    """Move from ``free`` (classes,) what ``held`` (classes,) lacks to its goal, the fastest devices first."""
    for c in np.argsort(-device_rps, kind="stable").tolist():
        lacking_rps = goal_rps - float(held @ device_rps)
        if device_rps[c] > 0 and lacking_rps > 0:
            moved = min(int(free[c]), math.ceil(lacking_rps / device_rps[c] - 1e-9))
            held[c] += moved
            free[c] -= moved
