"""HiGHS for bounds: a program built from arrays of rows, minimised, and a dual bound that can be trusted.

A solver works to tolerances, so what it calls a bound is lowered by :data:`SLACK` before anyone may rely on it, and a
status is never believed alone: see :func:`proven_minimum`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf, isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

# Relative and absolute, in programs scaled so that their objective is near 1: ten times the solver's own tolerances.
SLACK = 1e-6
TOLERANCE = 1e-7


@dataclass
class Program:
    """Minimise ``cost @ x`` under rows ``low <= A x <= high`` and bounds on columns, some of them integer."""

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
        """``count`` new columns; their indices, shape (count,)."""
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

        ``terms`` are (columns, coefficient) with columns of one length, or a single column in every row.
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
        """One row over many columns; ``terms`` are (columns, coefficients)."""
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
    """How a run ended: the dual bound (lowered by the slack; -inf where none), and the solution where found."""

    bound: float
    objective: float
    solution: F64 | None
    claims_infeasible: bool
    is_optimal: bool


def _compressed(program: Program) -> tuple[I64, I64, F64]:
    """Row starts, columns and values; duplicate entries of a row are summed, as HiGHS wants each column once."""
    rows, columns, values = (np.concatenate(parts) for parts in zip(*program.entries, strict=True))
    keys, place = np.unique(rows * program.n_columns + columns, return_inverse=True)
    total = np.bincount(place, values, len(keys))
    starts = np.searchsorted(keys // program.n_columns, np.arange(program.n_rows + 1))
    return starts.astype(np.int64), (keys % program.n_columns).astype(np.int64), total.astype(np.float64)


def _load(program: Program, *, relaxed: bool) -> Any:  # highspy ships no types
    import highspy

    lp = highspy.HighsLp()
    lp.num_col_, lp.num_row_ = program.n_columns, program.n_rows
    lp.col_cost_ = np.concatenate(program.cost)
    lp.col_lower_, lp.col_upper_ = np.concatenate(program.lower), np.concatenate(program.upper)
    lp.row_lower_, lp.row_upper_ = np.concatenate(program.row_low), np.concatenate(program.row_high)
    lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    lp.a_matrix_.start_, lp.a_matrix_.index_, lp.a_matrix_.value_ = _compressed(program)
    integer = np.concatenate(program.integer)
    if integer.any() and not relaxed:
        kinds = (highspy.HighsVarType.kContinuous, highspy.HighsVarType.kInteger)
        lp.integrality_ = [kinds[int(flag)] for flag in integer]
    return lp


def _solver(program: Program, options: dict[str, Any], *, relaxed: bool) -> Any:  # highspy ships no types
    import highspy

    highs = highspy.Highs()
    repeatable = {
        "output_flag": False,
        "threads": 1,
        "random_seed": 0,
        "mip_feasibility_tolerance": TOLERANCE,
        "primal_feasibility_tolerance": TOLERANCE,
        "dual_feasibility_tolerance": TOLERANCE,
    }
    for name, value in {**repeatable, **options}.items():
        highs.setOptionValue(name, value)
    if highs.passModel(_load(program, relaxed=relaxed)) == highspy.HighsStatus.kError:
        raise RuntimeError("HiGHS refused the program: it is malformed")
    return highs


def lowered(dual: float) -> float:
    """A dual bound less the slack; -inf where the solver has none."""
    return dual - SLACK * max(1.0, abs(dual)) if isfinite(dual) else -inf


@dataclass(frozen=True)
class Enclosed:
    """A program's minimum, in the problem's unit, is within [``bound``, ``ceiling``]; only ``bound`` is a proof."""

    bound: float
    ceiling: float


def enclose(solved: Solved, cutoff: float) -> Enclosed:
    """From a run on a program scaled by ``cutoff``; its rows hold within the cutoff only, so its bound ends there."""
    return Enclosed(max(0.0, min(1.0, solved.bound)) * cutoff, solved.objective * cutoff)


def minimise(program: Program, *, time_limit_s: float, gap: float = 0.0, relaxed: bool = False) -> Solved:
    """Run HiGHS, silently and repeatably, for at most ``time_limit_s``; ``relaxed`` drops the integers.

    The program's objective should be near 1, as :data:`SLACK` is both absolute and relative. A linear program that is
    interrupted has no bound: the point it stands at may not be dual feasible.
    """
    import highspy

    options = {"time_limit": max(time_limit_s, 0.01), "mip_rel_gap": gap, "mip_abs_gap": 0.0}
    highs = _solver(program, options, relaxed=relaxed)
    highs.run()
    status, info = highs.getModelStatus(), highs.getInfo()
    optimal = status == highspy.HighsModelStatus.kOptimal
    is_mip = bool(np.concatenate(program.integer).any()) and not relaxed
    dual = info.mip_dual_bound if is_mip else (info.objective_function_value if optimal else -inf)
    found = info.primal_solution_status == highspy.SolutionStatus.kSolutionStatusFeasible
    return Solved(
        bound=lowered(float(dual)),
        objective=float(info.objective_function_value) if found else inf,
        solution=np.asarray(highs.getSolution().col_value) if found else None,
        claims_infeasible=status == highspy.HighsModelStatus.kInfeasible,
        is_optimal=optimal,
    )


class LinearProbe:
    """The linear relaxation of a program, solved again and again with some columns fixed; each run starts warm."""

    def __init__(self, program: Program) -> None:
        self._highs = _solver(program, {"presolve": "off", "time_limit": 1e9}, relaxed=True)
        self._lower, self._upper = np.concatenate(program.lower), np.concatenate(program.upper)

    def minimum(self, fixed: dict[int, float]) -> float:
        """A lower bound on the minimum with the columns ``fixed``; -inf where the solver found no optimum."""
        import highspy

        for column, value in fixed.items():
            self._highs.changeColBounds(column, value, value)
        self._highs.run()
        optimal = self._highs.getModelStatus() == highspy.HighsModelStatus.kOptimal
        value = float(self._highs.getInfo().objective_function_value) if optimal else -inf
        for column in fixed:
            self._highs.changeColBounds(column, float(self._lower[column]), float(self._upper[column]))
        return lowered(value)
