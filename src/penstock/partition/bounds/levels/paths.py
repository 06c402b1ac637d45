"""Paths of levels: chains of blocks from nothing to everything, by what is known about the blocks between levels."""

from __future__ import annotations

import numpy as np

from penstock.arrays import F64, I64
from penstock.kernels import compiled

Step = tuple[int, int, int]
"""A device class, the level where the block begins, the level where it ends."""


def least_bottleneck(cost: F64, states: I64) -> float:
    """The least, over all paths, of the largest ``cost`` (classes, levels, levels) on the path.

    Level 0 is nothing, the last is everything. ``states`` (s, classes): the state before a stage of a class, -1 if
    there is none; state 0 has used no stage. Stages may stay unused.
    """
    return float(_least_bottleneck(np.ascontiguousarray(cost), np.ascontiguousarray(states)))


def lightest_path(cost: F64, load: I64, target: float, states: I64) -> list[Step]:
    """The path on which every cost is under ``target`` and the ``load`` (classes, levels, levels) is the least in all.

    From its last step to its first. Empty if there is none.
    """
    found, device_of, from_ = _lightest(
        np.ascontiguousarray(cost), load, target, np.ascontiguousarray(states)
    )
    if not found:
        return []
    steps: list[Step] = []
    state, level = len(states) - 1, cost.shape[1] - 1
    while level > 0:
        device, earlier = int(device_of[state, level]), int(from_[state, level])
        if device < 0:
            state = earlier
            continue
        steps.append((device, earlier, level))
        state, level = int(states[state, device]), earlier
    return steps


@compiled
def _least_bottleneck(cost, states):  # type: ignore[no-untyped-def]
    n = cost.shape[1]
    reach = np.full((len(states), n), np.inf)
    reach[:, 0] = 0.0
    for state in range(1, len(states)):
        for device in range(len(cost)):
            if states[state, device] >= 0:
                _step(reach[states[state, device]], reach[state], cost[device])
    return reach[len(states) - 1, n - 1]


@compiled
def _step(earlier, reach, cost):  # type: ignore[no-untyped-def]
    """Improve ``reach`` by one step, or by none, from ``earlier``."""
    for one in range(len(reach)):
        if earlier[one] < np.inf:
            reach[one] = min(reach[one], earlier[one])
            for two in range(1, len(reach)):
                reach[two] = min(reach[two], max(earlier[one], cost[one, two]))


@compiled
def _lightest(cost, load, target, states):  # type: ignore[no-untyped-def]
    """Whether there is a path; the class of the last step to each (state, level), and the level where it began.

    Class -1 is no step: then the second is the state before.
    """
    n = cost.shape[1]
    never = np.iinfo(np.int64).max // 2
    total = np.full((len(states), n), never, np.int64)
    device_of = np.full((len(states), n), -1, np.int64)
    from_ = np.zeros((len(states), n), np.int64)
    total[:, 0] = 0
    for state in range(1, len(states)):
        for device in range(len(cost)):
            earlier = states[state, device]
            if earlier < 0:
                continue
            for one in range(n):
                start = total[earlier, one]
                if start >= never:
                    continue
                if start < total[state, one]:
                    total[state, one], device_of[state, one], from_[state, one] = start, -1, earlier
                for two in range(1, n):
                    if cost[device, one, two] < target and start + load[device, one, two] < total[state, two]:
                        total[state, two] = start + load[device, one, two]
                        device_of[state, two], from_[state, two] = device, one
    return total[len(states) - 1, n - 1] < never, device_of, from_
