"""HiGHS for bounds: a program built from arrays of rows, minimised, and a reliable dual bound.

Its bounds are those of :class:`penstock.solver.Solver`, lowered by the solver's slack. If the solver claims that a
program is infeasible, that is never used as a proof.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf

import numpy as np
from numpy.typing import NDArray

from penstock.arrays import F64, I64
from penstock.solver import SLACK, TOLERANCE, Effort, Matrix, Solver

__all__ = ["SLACK", "Enclosed", "LinearProbe", "Program", "Solved", "enclose", "minimise"]


@dataclass
class Program:
    """Minimise ``cost @ x`` under rows ``low <= A x <= high`` and bounds on columns. Some columns are integer."""

    lower: list[F64] = field(default_factory=list)
    upper: list[F64] = field(default_factory=list)
    cost: list[F64] = field(default_factory=list)
    integer: list[NDArray[np.bool_]] = field(default_factory=list)
    row_low: list[F64] = field(default_factory=list)
    row_high: list[F64] = field(default_factory=list)
    entries: list[tuple[I64, I64, F64]] = field(default_factory=list)
    n_columns: int = 0
    n_rows: int = 0

    def columns(
        self,
        count: int,
        *,
        lower: float | F64 = 0.0,
        upper: float | F64 = inf,
        cost: float = 0.0,
        integer: bool = False,
    ) -> I64:
        """Add ``count`` columns and return their indices, shape (count,)."""
        self.lower.append(np.broadcast_to(np.asarray(lower, float), count))
        self.upper.append(np.broadcast_to(np.asarray(upper, float), count))
        self.cost.append(np.full(count, cost))
        self.integer.append(np.full(count, integer))
        self.n_columns += count
        return np.arange(self.n_columns - count, self.n_columns)

    def rows(
        self,
        terms: list[tuple[I64 | int, float]],
        *,
        low: float | F64 = -inf,
        high: float | F64 = inf,
    ) -> None:
        """One row for each index i: ``low[i] <= sum of coefficient * x[columns[i]] <= high[i]``.

        ``terms`` are (columns, coefficient). Columns have one length, or one column is in every row.
        """
        count = max(np.size(columns) for columns, _ in terms)
        rows = np.arange(self.n_rows, self.n_rows + count)
        for columns, coefficient in terms:
            where = np.broadcast_to(np.asarray(columns, np.int64), count)
            self.entries.append((rows, where, np.full(count, coefficient)))
        self._limits(count, low, high)

    def row(
        self, terms: list[tuple[I64 | int, float | F64]], *, low: float = -inf, high: float = inf
    ) -> None:
        """One row over many columns. ``terms`` are (columns, coefficients)."""
        for columns, coefficients in terms:
            where = np.atleast_1d(np.asarray(columns, np.int64))
            values = np.broadcast_to(np.asarray(coefficients, float), where.shape)
            self.entries.append((np.full(len(where), self.n_rows), where, values))
        self._limits(1, low, high)

    def _limits(self, count: int, low: float | F64, high: float | F64) -> None:
        self.row_low.append(np.broadcast_to(np.asarray(low, float), count))
        self.row_high.append(np.broadcast_to(np.asarray(high, float), count))
        self.n_rows += count


@dataclass(frozen=True)
class Solved:
    """How a run ended: the dual bound (lowered by the slack, -inf if none), and the solution if one was found."""

    bound: float
    objective: float
    solution: F64 | None
    claims_infeasible: bool
    is_optimal: bool


def _compressed(program: Program) -> Matrix:
    """The entries. Duplicate entries of a row are summed, because HiGHS needs each column only once."""
    rows, columns, values = (np.concatenate(parts) for parts in zip(*program.entries, strict=True))
    keys, place = np.unique(rows * program.n_columns + columns, return_inverse=True)
    total = np.bincount(place, values, len(keys))
    starts = np.searchsorted(keys // program.n_columns, np.arange(program.n_rows + 1))
    return Matrix(
        starts.astype(np.int64), (keys % program.n_columns).astype(np.int64), total.astype(np.float64)
    )


def _solver(program: Program, *, relaxed: bool, presolve: bool = True) -> Solver:
    solver = Solver(maximise=False, presolve=presolve, integrality=TOLERANCE)
    integer = np.concatenate(program.integer)
    solver.load(
        cost=np.concatenate(program.cost),
        lower=np.concatenate(program.lower),
        upper=np.concatenate(program.upper),
        integer=np.zeros_like(integer) if relaxed else integer,
        row_lower=np.concatenate(program.row_low),
        row_upper=np.concatenate(program.row_high),
        matrix=_compressed(program),
    )
    return solver


@dataclass(frozen=True)
class Enclosed:
    """A program's minimum, in the problem's unit, is in [``bound``, ``ceiling``]. Only ``bound`` is a proof."""

    bound: float
    ceiling: float


def enclose(solved: Solved, cutoff: float) -> Enclosed:
    """The result of a program scaled by ``cutoff``. Its rows hold only within the cutoff. That limits the bound."""
    return Enclosed(max(0.0, min(1.0, solved.bound)) * cutoff, solved.objective * cutoff)


def minimise(program: Program, *, time_limit_s: float, gap: float = 0.0, relaxed: bool = False) -> Solved:
    """Run HiGHS, without output and repeatably, for at most ``time_limit_s``. ``relaxed`` ignores integrality.

    The program's objective should be near 1, because :data:`SLACK` is both absolute and relative. A linear program
    that is interrupted has no bound, because its current point may not be dual feasible.
    """
    solver = _solver(program, relaxed=relaxed)
    solver.run(Effort(gap, time_limit_s, patience=False))
    return Solved(
        bound=solver.bound,
        objective=solver.objective if solver.has_solution else inf,
        solution=solver.values if solver.has_solution else None,
        claims_infeasible=solver.claims_infeasible,
        is_optimal=solver.is_optimal,
    )


class LinearProbe:
    """The linear relaxation of a program, solved repeatedly with some columns fixed. Runs reuse the last result."""

    def __init__(self, program: Program) -> None:
        self._solver = _solver(program, relaxed=True, presolve=False)
        self._lower, self._upper = np.concatenate(program.lower), np.concatenate(program.upper)

    def minimum(self, fixed: dict[int, float]) -> float:
        """A lower bound on the minimum with the columns ``fixed``. -inf if the solver found no optimum."""
        for column, value in fixed.items():
            self._solver.set_bounds(column, value, value)
        self._solver.run()
        bound = self._solver.bound
        for column in fixed:
            self._solver.set_bounds(column, float(self._lower[column]), float(self._upper[column]))
        return bound
