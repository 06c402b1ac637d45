"""The graph of a problem as flat arrays for kernels: from an operator to the tensors that it uses and makes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from penstock.partition.problem import PartitionProblem

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]


class Incidence(NamedTuple):
    """Operator i uses tensors ``used[used_first[i]:used_first[i + 1]]`` and makes ``made[...]`` likewise.

    ``n_users`` (m,) counts the uses of each tensor, an output's use outside among them.
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
        # What no block can reach costs the kernels nothing: infinity switches the term off.
        memory_time=problem.memory_time if problem.has_memory else np.inf,
    )


def _first(owner: I64, n: int) -> I64:
    """Where the items of each owner begin once sorted; int64, shape (n + 1,)."""
    return np.concatenate([[0], np.cumsum(np.bincount(owner[owner >= 0], minlength=n))]).astype(np.int64)
