"""The graph of a problem as flat arrays for kernels: from an operator to the tensors that it uses and makes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from penstock.arrays import F64, I64
from penstock.partition.problem import PartitionProblem


class Incidence(NamedTuple):
    """Operator i uses tensors ``used[used_first[i]:used_first[i + 1]]``. ``made`` and ``made_first`` are alike.

    ``n_users`` (m,) counts the uses of each tensor. The use of an output outside the model counts too.
    """

    used_first: I64
    used: I64
    made_first: I64
    made: I64
    n_users: I64
    use_first: I64
    uses: I64
    maker: I64
    time: F64
    work: F64
    parameter_time: F64
    activation_time: F64
    memory_time: float


def incidence(problem: PartitionProblem) -> Incidence:
    """The arrays of ``problem``."""
    n = problem.n_operators
    counts = np.diff(problem.use_first)
    tensors = np.repeat(np.arange(problem.n_tensors), counts)
    made = np.argsort(problem.tensor_maker, kind="stable")
    return Incidence(
        used_first=_first(problem.uses, n),
        used=tensors[np.argsort(problem.uses, kind="stable")].astype(np.int64),
        made_first=_first(problem.tensor_maker, n),
        made=made[np.count_nonzero(problem.tensor_maker < 0) :].astype(np.int64),
        n_users=(counts + problem.is_output).astype(np.int64),
        use_first=problem.use_first,
        uses=problem.uses,
        maker=problem.tensor_maker,
        time=problem.tensor_time,
        work=problem.work,
        parameter_time=problem.parameter_time,
        activation_time=problem.activation_time,
        # If no block can reach the limit, the kernels need not compute the term: infinity disables it.
        memory_time=problem.memory_time if problem.has_memory else np.inf,
    )


def _first(owner: I64, n: int) -> I64:
    """The index at which the items of each owner begin after sorting: int64, shape (n + 1,)."""
    return np.concatenate([[0], np.cumsum(np.bincount(owner[owner >= 0], minlength=n))]).astype(np.int64)
