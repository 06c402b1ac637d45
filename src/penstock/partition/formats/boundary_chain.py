"""A chain of operators of which only the bytes across each boundary are known, as pre-partitioning takes it.

Boundary p is carried as one tensor from operator p - 1 to operator p. With skip connections, whose tensors cross
several boundaries, a middle block hands on what it does not use: that is what such data describes, and what a
pipeline that forwards pays. Cuts are along the given order only.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from penstock.errors import BadInputError
from penstock.partition.formats.graph_file import GraphFile
from penstock.partition.problem import TensorUse, make_problem
from penstock.units import transfer_us


def chain_problem(
    name: str,
    operator_us: NDArray[np.float64],
    boundary_bytes: Sequence[int] | NDArray[np.int64],
    bandwidth_gbps: float,
    names: Sequence[str] | None = None,
) -> GraphFile:
    """The problem in microseconds, of what :func:`penstock.profile.ppipe.read_operator_costs` returns.

    ``operator_us`` (n,) for one device class, ``boundary_bytes`` (n + 1,): the first is the model's input, the last
    its output;
    ``names`` (n,) default to numbers. Raises :class:`BadInputError` where the lengths do not fit.
    """
    n = len(operator_us)
    if len(boundary_bytes) != n + 1:
        raise BadInputError(
            f"{name}: {len(boundary_bytes)} boundaries for {n} operators, but there must be {n + 1}, input and output "
            f"included. Give one entry for each."
        )
    times = [transfer_us(float(size), bandwidth_gbps) for size in boundary_bytes]
    tensors = [TensorUse(p - 1, (p,) if p < n else (), times[p], p == n) for p in range(n + 1)]
    return GraphFile(make_problem(name, names or [str(i) for i in range(n)], operator_us, tensors), "us")
