"""Small random problems, and the optimum by trying every partition."""

from __future__ import annotations

from itertools import product

import numpy as np
from hypothesis import strategies as st

from penstock.partition.problem import PartitionProblem, TensorUse, make_problem


@st.composite
def problems(draw: st.DrawFn, most: int = 6, memory: bool = False) -> PartitionProblem:
    """Up to ``most`` operators with small whole numbers as times: ties and zeros are common."""
    n = draw(st.integers(1, most))
    numbers = st.integers(0, 5).map(float)
    tensors = []
    for maker in range(-1, n):
        users = draw(st.sets(st.integers(maker + 1, n - 1))) if maker + 1 < n else set()
        is_output = maker >= 0 and draw(st.booleans())
        tensors.append(TensorUse(maker, tuple(users), draw(numbers), is_output))
    limits = {}
    if memory:
        limits = {
            "parameter_time": np.array([draw(numbers) for _ in range(n)]),
            "activation_time": np.array([draw(numbers) for _ in range(n)]),
            "memory_time": draw(numbers),
        }
    work = [draw(numbers) for _ in range(n)]
    return make_problem("random", [f"op{i}" for i in range(n)], work, tensors, **limits)


def plain_cost(problem: PartitionProblem, members: set[int]) -> float:
    """The definition, word by word."""
    if not members:
        return 0.0
    cost = sum(float(problem.work[i]) for i in members)
    for tensor in range(problem.n_tensors):
        users = {int(user) for user in problem.users(tensor)}
        inside = int(problem.tensor_maker[tensor]) in members
        if inside and (users - members or problem.is_output[tensor]):
            cost += float(problem.tensor_time[tensor])
        if not inside and users & members:
            cost += float(problem.tensor_time[tensor])
    need = sum(problem.parameter_time[i] for i in members) + max(problem.activation_time[i] for i in members)
    return cost + max(0.0, float(need) - problem.memory_time)


def optimum(problem: PartitionProblem, k: int) -> float:
    """The least bottleneck of all k ** n assignments that keep every edge forward."""
    n = problem.n_operators
    edges = problem.edges().tolist()
    cost = {
        members: plain_cost(problem, set(members))
        for members in (tuple(i for i in range(n) if code >> i & 1) for code in range(2**n))
    }
    return min(
        max(cost[tuple(i for i in range(n) if block[i] == each)] for each in range(k))
        for block in product(range(k), repeat=n)
        if all(block[maker] <= block[user] for maker, user in edges)
    )
