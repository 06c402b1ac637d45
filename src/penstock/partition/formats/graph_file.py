"""The result of a reader of graphs."""

from __future__ import annotations

from dataclasses import dataclass

from penstock.partition.problem import PartitionProblem


@dataclass(frozen=True)
class GraphFile:
    """``problem`` in ``unit`` of time. ``shipped_k``: the number of blocks that the file asks for, or None."""

    problem: PartitionProblem
    unit: str
    shipped_k: int | None = None
