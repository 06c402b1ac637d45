"""A chain of operators with only the bytes across each boundary known, the input of pre-partitioning.

Each boundary p is one tensor from operator p - 1 to operator p. Tensors of skip connections cross several boundaries.
A middle block must forward such a tensor even if it does not use it. The data describes this, and a
pipeline that forwards pays for it. Cuts follow only the given order.
"""

from __future__ import annotations

from collections.abc import Sequence

from penstock.arrays import F64, I64
from penstock.errors import BadInputError
from penstock.partition.formats.graph_file import GraphFile
from penstock.partition.problem import TensorUse, make_problem
from penstock.units import transfer_us


def chain_problem(
    name: str,
    operator_us: F64,
    boundary_bytes: Sequence[int] | I64,
    bandwidth_gbps: float,
    names: Sequence[str] | None = None,
) -> GraphFile:
    """The problem in microseconds, from the result of :func:`penstock.ppipe.profiles.read_operator_costs`.

    ``operator_us`` (n,) is for one device class. ``boundary_bytes`` (n + 1,): the first is the model's input, the
    last its output.
    ``names`` (n,) are numbers by default. Raises :class:`BadInputError` if the lengths do not match.
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
