"""What a reader of graphs returns."""

from __future__ import annotations

from dataclasses import dataclass

from penstock.partition.problem import PartitionProblem


@dataclass(frozen=True)
class GraphFile:
    """``problem`` in ``unit`` of time; ``shipped_k`` where the file asks for a number of blocks, else None."""

    problem: PartitionProblem
    unit: str
    shipped_k: int | None = None
