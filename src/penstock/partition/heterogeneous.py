"""Partitions over different devices: a stage's work depends on the device class that runs it.

For one topological order, a dynamic program over (prefix, number of stages used of each class) finds the best
slicing. If the order of classes is free, the last stage of a state may be of any class used. So one program covers
every order of the classes. If the order is given, the states are its prefixes. Transfers do not depend on the class.
So each column of :func:`penstock.partition.search.slicing.advance_column` serves all classes, and their work comes
from prefix sums. It takes O(n^2 states classes) time and O(n states) memory, so it is for few stages. How far the best
split of all may be from this is proven apart (:mod:`penstock.partition.bounds.unlike`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from penstock.arrays import F64, I64
from penstock.errors import BadInputError
from penstock.kernels import compiled
from penstock.partition.bounds.unlike import UnlikeStages, unlike_bound
from penstock.partition.budget import Deadline
from penstock.partition.checker import check_partition
from penstock.partition.incidence import Incidence, incidence
from penstock.partition.problem import PartitionProblem
from penstock.partition.search.orders import (
    breadth_first_order,
    depth_first_order,
    late_order,
    natural_order,
    random_orders,
)
from penstock.partition.search.slicing import advance_column, positions
from penstock.result import Result, Status, relative_gap
from penstock.solver import NO_GAP

MOST_STATES = 4096
"""Twelve stages of two classes give 49 states. Eight stages, each of its own class, give 256."""


@dataclass(frozen=True)
class HeterogeneousPartition:
    """``block`` (n,): the stage of each operator. ``classes``: the device class of each stage, in order."""

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
    """The best partition over the known orders and ``random_tries`` random ones. Each order is cut optimally.

    ``class_work``: work (n,) of each operator by device class, in the order of ``problem``. The problem's own
    ``work`` is not used. ``stages``: the classes in pipeline order, or the number of stages of each class, in which
    case the order is chosen. Stages may stay unused.

    Raises :class:`BadInputError` if a class has no work, if there are no stages, if there are more than
    :data:`MOST_STATES` states, and if the problem has a limit on memory, because different devices have different
    memories.
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


def prove_unlike(
    problem: PartitionProblem,
    class_work: Mapping[str, F64],
    stages: Sequence[str] | Mapping[str, int],
    found: HeterogeneousPartition,
    *,
    time_limit_s: float = 60.0,
    until_gap: float = 0.0,
) -> Result[HeterogeneousPartition]:
    """``found`` with a proven lower bound: over these ``stages`` no split has a faster slowest stage.

    The arguments are those of :func:`partition_unlike`, which made ``found``. It ends if the bound is within the
    relative ``until_gap`` of the bottleneck, or soon after ``time_limit_s``.

    Raises :class:`BadInputError` as :func:`partition_unlike` does, and if a limit or a gap is below 0.
    """
    if not (time_limit_s >= 0 and until_gap >= 0):
        raise BadInputError(f"time limit {time_limit_s} s and gap {until_gap} must be >= 0. Correct them.")
    names, states = _states(stages)
    _check(problem, class_work, names, states)
    works = np.stack([np.asarray(class_work[name], np.float64) for name in names])
    counts = stages if isinstance(stages, Mapping) else Counter(stages)
    watch = Deadline(time_limit_s)
    proof = unlike_bound(
        problem,
        UnlikeStages(works, np.array([counts[name] for name in names], np.int64), states),
        best_known=found.bottleneck,
        time_limit_s=time_limit_s,
        until_gap=until_gap,
    )
    gap = relative_gap(found.bottleneck, proof.bound)
    status = Status.OPTIMAL if gap <= max(until_gap, NO_GAP) else Status.FEASIBLE
    stats: dict[str, float | int | str] = {"bound_by": proof.proven_by, "seconds": watch.elapsed_s()}
    stats |= {f"bound_{method}": bound for method, (bound, _) in proof.by_method.items()}
    return Result(found, status, found.bottleneck, proof.bound, gap, stats)


def _states(stages: Sequence[str] | Mapping[str, int]) -> tuple[list[str], I64]:
    """Class names, and for each state and class the state before a stage of that class. -1 if there is none.

    Every state comes after the states that may precede it. State 0 uses no stage.
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
            f"{problem.name}: has a limit on memory, but different devices have different memories. Leave it out."
        )
    for name in names:
        if name not in class_work:
            known = ", ".join(sorted(class_work)) or "none"
            raise BadInputError(f"device class {name!r} has no work (known: {known}). Give its times.")
        work = np.asarray(class_work[name])
        if work.shape != (problem.n_operators,) or not np.all(np.isfinite(work) & (work >= 0)):
            raise BadInputError(
                f"work on {name!r} must be {problem.n_operators} finite numbers >= 0, one per operator. Correct it."
            )


def _recheck(
    problem: PartitionProblem,
    class_work: Mapping[str, F64],
    block: I64,
    classes: tuple[str, ...],
    value: float,
) -> None:
    """Check with the checker. With each operator's work on the class of its stage, it is an ordinary partition."""
    rows = np.stack([np.asarray(class_work[name], np.float64) for name in classes])
    own = PartitionProblem(
        problem.name, problem.operators, rows[block, np.arange(problem.n_operators)], problem.tensor_time,
        problem.tensor_maker, problem.use_first, problem.uses, problem.is_output,
    )  # fmt: skip
    check_partition(own, block.tolist(), len(classes), value)


def _slice(graph: Incidence, works: F64, order: I64, states: I64) -> tuple[float, I64, list[int]]:
    """The optimum of one order: the bottleneck, the ends of the stages, and the class of each stage."""
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


@compiled
def _reach(graph, order, prefix, states):  # type: ignore[no-untyped-def]
    """The least bottleneck of each prefix in each state, with the start and the class of its last stage."""
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
