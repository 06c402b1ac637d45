"""The simple bound: the average block, and the heaviest operator with its unavoidable transfers.

Theorem 1. The works of at most k blocks add up to the total. So one block has work >= total / k. A block costs
at least its work (Archer et al., ICML 2024, section 4).

Theorem 2 (ours). Let v be an operator, and take a tensor that v uses or makes. Either the tensor is moved, or all
operators at its other end are in the block of v. A model input that v uses is always moved. So is a model output that
v makes. For a tensor made by u and used by v, the block of v pays its transfer or the work of u. The works of
different operators add up. If u makes several tensors for v, the block pays the smaller of u's work and the sum of
their transfers. On the other side: a tensor made by v is moved, or all its users' work is in the block. Tensors may
share users, so of the tensors made by v only the most expensive counts.
"""

from __future__ import annotations

import numpy as np

from penstock.arrays import F64
from penstock.partition.problem import PartitionProblem


def average_block(problem: PartitionProblem, k: int) -> float:
    """Total work divided by k: the first theorem above."""
    return float(problem.work.sum()) / k


def _receiving(problem: PartitionProblem) -> F64:
    """The least time that each operator's block spends on what the operator needs: shape (n,)."""
    users = problem.uses
    tensor = np.repeat(np.arange(problem.n_tensors), np.diff(problem.use_first))
    maker, time = problem.tensor_maker[tensor], problem.tensor_time[tensor]
    n = problem.n_operators
    least = np.zeros(n) + np.bincount(users[maker < 0], time[maker < 0], n)
    inside = maker >= 0
    pairs, place = np.unique(maker[inside] * n + users[inside], return_inverse=True)
    moved = np.bincount(place, time[inside], len(pairs))
    least += np.bincount(pairs % n, np.minimum(moved, problem.work[pairs // n]), n)
    return least


def _sending(problem: PartitionProblem) -> F64:
    """The least time that each operator's block spends on what the operator makes: shape (n,)."""
    always, dearest = np.zeros(problem.n_operators), np.zeros(problem.n_operators)
    for tensor in np.flatnonzero(problem.tensor_maker >= 0):
        maker, time = problem.tensor_maker[tensor], problem.tensor_time[tensor]
        if problem.is_output[tensor]:
            always[maker] += time
        else:
            users_work = float(problem.work[problem.users(int(tensor))].sum())
            dearest[maker] = max(dearest[maker], min(time, users_work))
    return always + dearest


def heaviest_operator(problem: PartitionProblem) -> float:
    """The heaviest operator with its unavoidable transfers: the second theorem above."""
    return float((problem.work + _receiving(problem) + _sending(problem)).max())


def simple_bound(problem: PartitionProblem, k: int) -> float:
    """The larger of both, in the problem's unit of time."""
    return max(average_block(problem, k), heaviest_operator(problem))
