"""Partitions over unlike devices: a stage's work depends on the device class that runs it.

For one topological order the best slicing is a dynamic program over (prefix, how many stages of each class are used):
with the order of classes free, a state's last stage may be of any class used, so one program covers every
order of the classes; with the order given, the states are its prefixes. Transfers do not depend on the class, so
each column of :func:`penstock.partition.slicing.advance_column` serves all classes, and their work comes from prefix
sums. O(n^2 states classes) time, O(n states) memory: for few stages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numba import njit

from penstock.errors import BadInputError
from penstock.partition.checker import check_partition
from penstock.partition.incidence import Incidence, incidence
from penstock.partition.orders import (
    breadth_first_order,
    depth_first_order,
    late_order,
    natural_order,
    random_orders,
)
from penstock.partition.problem import F64, I64, PartitionProblem
from penstock.partition.slicing import advance_column, positions

MOST_STATES = 4096
"""Twelve stages of two classes make 49 states, eight each of its own class 256."""


@dataclass(frozen=True)
class HeterogeneousPartition:
    """``block`` (n,): the stage of each operator; ``classes``: the device class of each stage, in order."""

    bottleneck: float
    block: I64
    classes: tuple[str, ...]


def partition_unlike(
    problem: PartitionProblem,
    class_work: Mapping[str, F64],
    stages: Sequence[str] | Mapping[str, int],
    *,
    random_tries: int = 20,
    seed: int = 0,
) -> HeterogeneousPartition:
    """The best partition over the known and ``random_tries`` random orders; each order is cut optimally.

    ``class_work``: work (n,) of each operator by device class, in the order of ``problem``, whose own ``work`` is not
    read. ``stages``: the classes in pipeline order, or how many of each, their order chosen. Stages may stay
    unused.

    Raises :class:`BadInputError` for a class without work, for no stages, for more than :data:`MOST_STATES` states and
    for a problem with a limit on memory, which unlike devices do not share.
    """
    names, states = _states(stages)
    _check(problem, class_work, names, states)
    works = np.stack([np.asarray(class_work[name], np.float64) for name in names])
    graph = incidence(problem)._replace(work=np.zeros(problem.n_operators), memory_time=np.inf)
    orders = [make(graph) for make in (natural_order, depth_first_order, breadth_first_order, late_order)]
    randoms = random_orders(graph, np.random.default_rng(seed))
    orders += [next(randoms) for _ in range(random_tries)]
    found = [_slice(graph, works, order, states) for order in orders]
    best = min(range(len(found)), key=lambda index: found[index][0])
    value, ends, chosen = found[best]
    block = np.empty(problem.n_operators, np.int64)
    block[orders[best]] = np.searchsorted(ends, np.arange(problem.n_operators), side="right")
    classes = tuple(names[index] for index in chosen)
    _recheck(problem, class_work, block, classes, value)
    return HeterogeneousPartition(value, block, classes)


def _states(stages: Sequence[str] | Mapping[str, int]) -> tuple[list[str], I64]:
    """Class names, and for each state and class the state it came from by a stage of that class; -1 where none.

    Every state stands after those it may come from; state 0 uses no stage.
    """
    if not isinstance(stages, Mapping):
        names = sorted(set(stages))
        before = np.full((len(stages) + 1, len(names)), -1, np.int64)
        for index, name in enumerate(stages):
            before[index + 1, names.index(name)] = index
        return names, before
    names = sorted(name for name, count in stages.items() if count > 0)
    total = int(np.prod([stages[name] + 1 for name in names], dtype=np.float64))
    if total > MOST_STATES:
        raise BadInputError(
            f"stages {dict(stages)} make {total} combinations, but at most {MOST_STATES} are searched. Ask for fewer "
            f"stages or classes, or give their order."
        )
    counts = list(product(*(range(stages[name] + 1) for name in names)))
    place_of = {each: at for at, each in enumerate(counts)}
    before = np.full((len(counts), len(names)), -1, np.int64)
    for each, at in place_of.items():
        for place in range(len(names)):
            if each[place] > 0:
                before[at, place] = place_of[(*each[:place], each[place] - 1, *each[place + 1 :])]
    return names, before


def _check(problem: PartitionProblem, class_work: Mapping[str, F64], names: list[str], states: I64) -> None:
    if len(states) < 2:
        raise BadInputError("no stages are asked for. Give at least one device class.")
    if problem.has_memory:
        raise BadInputError(
            f"{problem.name}: has a limit on memory, which unlike devices do not share. Leave it out."
        )
    for name in names:
        if name not in class_work:
            known = ", ".join(sorted(class_work)) or "none"
            raise BadInputError(f"device class {name!r} has no work (known: {known}). Give its times.")
        work = np.asarray(class_work[name])
        if work.shape != (problem.n_operators,) or not np.all(np.isfinite(work) & (work >= 0)):
            raise BadInputError(
                f"work on {name!r} must be {problem.n_operators} finite numbers >= 0, one an operator. Correct it."
            )


def _recheck(
    problem: PartitionProblem,
    class_work: Mapping[str, F64],
    block: I64,
    classes: tuple[str, ...],
    value: float,
) -> None:
    """By the checker: with each operator's work on the class of its stage it is an ordinary partition."""
    rows = np.stack([np.asarray(class_work[name], np.float64) for name in classes])
    own = PartitionProblem(
        problem.name, problem.operators, rows[block, np.arange(problem.n_operators)], problem.tensor_time,
        problem.tensor_maker, problem.use_first, problem.uses, problem.is_output,
    )  # fmt: skip
    check_partition(own, block.tolist(), len(classes), value)


def _slice(graph: Incidence, works: F64, order: I64, states: I64) -> tuple[float, I64, list[int]]:
    """The optimum of one order: bottleneck, ends of the stages, and the class of each."""
    prefix = np.zeros((len(works), len(order) + 1))
    prefix[:, 1:] = np.cumsum(works[:, order], axis=1)
    reach, from_start, from_class = _reach(graph, order, prefix, states)
    last = int(np.argmin(reach[-1]))
    value, at, ends, classes = float(reach[-1, last]), len(order), [], []
    while at > 0:
        ends.append(at)
        classes.append(int(from_class[at, last]))
        at, last = int(from_start[at, last]), int(states[last, classes[-1]])
    return value, np.array(ends[::-1], np.int64), classes[::-1]


@njit(cache=True)
def _reach(graph, order, prefix, states):  # type: ignore[no-untyped-def]
    """Least bottleneck of each prefix in each state, with the start and the class of its last stage."""
    n = len(order)
    n_states, n_classes = states.shape
    reach = np.full((n + 1, n_states), np.inf)
    reach[0, 0] = 0.0
    from_start = np.zeros((n + 1, n_states), np.int64)
    from_class = np.zeros((n + 1, n_states), np.int64)
    column, change = np.zeros(n), np.zeros(n)
    touched = np.full(len(graph.time), -1, np.int64)
    waiting = graph.n_users.copy()
    position = positions(order)
    for r in range(n):
        advance_column(graph, order, position, r, 0, column, change, touched, waiting)
        for start in range(r, -1, -1):
            for each in range(n_classes):
                cost = column[start] + prefix[each, r + 1] - prefix[each, start]
                for state in range(1, n_states):
                    if states[state, each] >= 0:
                        value = max(cost, reach[start, states[state, each]])
                        if value < reach[r + 1, state]:
                            reach[r + 1, state] = value
                            from_start[r + 1, state] = start
                            from_class[r + 1, state] = each
    return reach, from_start, from_class
