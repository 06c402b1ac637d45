"""A program to maximise, built row by row, and the call that runs it in :mod:`penstock.solver`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from penstock.arrays import F64, I64
from penstock.solver import Effort, Matrix, Solver

__all__ = ["INFINITY", "Effort", "Rows", "run", "values"]

INFINITY = float("inf")


@dataclass
class Rows:
    """A program under construction: columns with bounds, rows with entries."""

    cost: list[float] = field(default_factory=list)
    upper: list[float] = field(default_factory=list)
    integer: list[bool] = field(default_factory=list)
    row_lower: list[float] = field(default_factory=list)
    row_upper: list[float] = field(default_factory=list)
    entries: list[Sequence[tuple[int, float]]] = field(default_factory=list)

    def column(self, *, cost: float = 0.0, upper: float = INFINITY, integer: bool = False) -> int:
        """Add a variable >= 0 and return its index."""
        self.cost.append(cost)
        self.upper.append(upper)
        self.integer.append(integer)
        return len(self.cost) - 1

    def row(
        self, entries: Sequence[tuple[int, float]], *, lower: float = -INFINITY, upper: float = INFINITY
    ) -> None:
        """Add a constraint ``lower <= sum of coefficient * variable <= upper``."""
        self.entries.append(entries)
        self.row_lower.append(lower)
        self.row_upper.append(upper)

    def matrix(self) -> Matrix:
        """The entries of all rows."""
        return Matrix(
            np.cumsum([0, *(len(entries) for entries in self.entries)]),
            np.array([column for entries in self.entries for column, _ in entries], dtype=np.int64),
            np.array([value for entries in self.entries for _, value in entries], dtype=float),
        )


def run(
    rows: Rows,
    effort: Effort | None = None,
    start: tuple[I64, I64] | None = None,
) -> Solver:
    """The solver after running on ``rows``.

    ``start``: columns and their values in a known solution.
    """
    solver = Solver(maximise=True)
    solver.load(
        cost=np.array(rows.cost),
        lower=np.zeros(len(rows.cost)),
        upper=np.array(rows.upper),
        integer=np.array(rows.integer, dtype=bool),
        row_lower=np.array(rows.row_lower),
        row_upper=np.array(rows.row_upper),
        matrix=rows.matrix(),
    )
    if start is not None:
        solver.start_from(*start)
    solver.run(effort)
    return solver


def values(solver: Solver, columns: int) -> F64:
    """The values of the first ``columns`` variables in the solution found. Zeros if none was found."""
    return solver.values[:columns] if solver.has_solution else np.zeros(columns)
