"""The one door to HiGHS: quiet, repeatable, and one rule for what its answers are worth.

- *Quiet.* HiGHS prints a banner on descriptor 1 when the first solver of a process is made. Standard output is for
  documents, so that goes nowhere.
- *Repeatable.* One thread, one seed: the same program gives the same answer.
- *Tolerances.* HiGHS works to :data:`TOLERANCE`, so what it calls a bound may be wrong by about as much. Here a bound
  is moved away from the optimum by :data:`SLACK` before it counts, in the planner as in the partitioner: see
  :attr:`Solver.bound`. Programs must be scaled so that their objective is near 1 or above.

``highspy`` and ``ortools`` cannot be imported in one process: both bring a HiGHS of their own.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from math import inf, isfinite
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from penstock.arrays import F64, I64
from penstock.clock import SOLVING, solving_seconds
from penstock.progress import checkpoint, is_cancelled

TOLERANCE = 1e-7
"""How far HiGHS may break a row or a bound."""

INTEGRALITY = 1e-6
"""How far an integer may be from whole, HiGHS's own default. It makes a bound no tighter: what is nearly whole is
allowed too. At 1e-7 a published instance of the planner took 3,214 nodes instead of 233."""

SLACK = 1e-6
"""What is taken off a solver's bound, relative and absolute: ten times :data:`TOLERANCE`."""

NO_GAP = 5.0 * SLACK
"""Relative. A gap below this is none: a bound that a solver proved has been moved by about as much."""

PATIENCE_NODES = 500
"""After so many nodes of its search tree an integer program may stop at the gap that is near enough."""

FINE = 0.02
"""Part of that gap which is aimed at until then: the first plan that is near enough is often the second best."""

OVERTIME = 1.5
"""HiGHS's own clock is the wall's. On a busy machine its limit is that of the solving clock at the pace so far, times
this: the callback ends the run in time, unless it is in one long linear program."""

BUSY = 1.05
"""A pace above this means a busy machine."""

_REPEATABLE = {
    "output_flag": False,
    "threads": 1,
    "random_seed": 0,
    "primal_feasibility_tolerance": TOLERANCE,
    "dual_feasibility_tolerance": TOLERANCE,
}


@dataclass(frozen=True)
class Effort:
    """How long an integer program runs: until the relative ``gap`` is proven, for ``time_limit_s`` at most, by
    :func:`penstock.clock.solving_seconds`.

    With ``patience`` it aims at a finer gap for its first :data:`PATIENCE_NODES` nodes. With ``decides`` it ends as
    soon as it knows on which side of that value the optimum is: its bound has passed it, or a solution is better.
    """

    gap: float
    time_limit_s: float
    patience: bool = True
    decides: float | None = None


@dataclass(frozen=True)
class Matrix:
    """A sparse matrix by rows: row ``i`` has ``column`` and ``value`` from ``start[i]`` to ``start[i + 1]``."""

    start: I64
    column: I64
    value: F64


def loosened(bound: float, *, maximise: bool) -> float:
    """A solver's ``bound`` moved away from the optimum by :data:`SLACK`; infinite if the solver has none."""
    if not isfinite(bound):
        return inf if maximise else -inf
    slack = SLACK * max(1.0, abs(bound))
    return bound + slack if maximise else bound - slack


class Solver:
    """A program in HiGHS: given whole or grown, run, changed, and run again from where it stood."""

    def __init__(self, *, maximise: bool, presolve: bool = True, integrality: float = INTEGRALITY) -> None:
        import highspy

        self._highspy, self._maximise = highspy, maximise
        with _quiet():
            self._highs = highspy.Highs()
        for name, value in _REPEATABLE.items():
            self._highs.setOptionValue(name, value)
        self._highs.setOptionValue("mip_feasibility_tolerance", integrality)
        if not presolve:
            self._highs.setOptionValue("presolve", "off")
        self._highs.changeObjectiveSense(self._sense)
        self._is_integer = False
        self._gap = 0.0

    @property
    def _sense(self) -> Any:
        sense = self._highspy.ObjSense
        return sense.kMaximize if self._maximise else sense.kMinimize

    def load(
        self,
        *,
        cost: F64,
        lower: F64,
        upper: F64,
        integer: NDArray[np.bool_],
        row_lower: F64,
        row_upper: F64,
        matrix: Matrix,
    ) -> None:
        """Take a whole program: columns (n,) with bounds and costs, rows (m,) ``row_lower <= A x <= row_upper``."""
        highspy, program = self._highspy, self._highspy.HighsLp()
        program.num_col_, program.num_row_ = len(cost), len(row_lower)
        program.sense_ = self._sense
        program.col_cost_, program.col_lower_, program.col_upper_ = cost, lower, upper
        program.row_lower_, program.row_upper_ = row_lower, row_upper
        program.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
        program.a_matrix_.start_, program.a_matrix_.index_ = matrix.start, matrix.column
        program.a_matrix_.value_ = matrix.value
        self._is_integer = bool(integer.any())
        if self._is_integer:
            kinds = (highspy.HighsVarType.kContinuous, highspy.HighsVarType.kInteger)
            program.integrality_ = [kinds[flag] for flag in integer.astype(int).tolist()]
        if self._highs.passModel(program) == highspy.HighsStatus.kError:
            raise RuntimeError("HiGHS refused the program: it is malformed")

    def add_rows(self, lower: ArrayLike, upper: ArrayLike) -> None:
        """Rows without entries; columns that are added later bring theirs."""
        for low, high in zip(np.atleast_1d(lower).tolist(), np.atleast_1d(upper).tolist(), strict=True):
            self._highs.addRow(low, high, 0, np.zeros(0, np.int32), np.zeros(0))

    def add_columns(self, cost: F64, upper: F64, entries: F64) -> None:
        """Columns from 0 to ``upper`` (n,), with their ``entries`` (n, rows)."""
        column, row = np.nonzero(entries)
        start = np.searchsorted(column, np.arange(len(cost))).astype(np.int32)
        self._highs.addCols(
            len(cost),
            cost,
            np.zeros(len(cost)),
            upper,
            len(row),
            start,
            row.astype(np.int32),
            entries[column, row],
        )

    def set_bounds(self, column: int, lower: float, upper: float) -> None:
        """Change the bounds of one column."""
        self._highs.changeColBounds(column, lower, upper)

    def start_from(self, columns: I64, values: NDArray[Any]) -> None:
        """A known solution, or the part of it in ``columns``."""
        self._highs.setSolution(len(columns), columns.astype(np.int32), values.astype(np.float64))

    def run(self, effort: Effort | None = None) -> None:
        """Solve, to the optimum or within ``effort``. A watch may stop it: see :mod:`penstock.progress`."""
        checkpoint()
        if effort is not None:
            limit_s = max(effort.time_limit_s, 0.01)
            pace = SOLVING.pace()
            by_wall = limit_s * pace * OVERTIME if pace > BUSY else limit_s
            self._highs.setOptionValue("time_limit", by_wall)
            self._highs.setOptionValue("mip_rel_gap", effort.gap * (FINE if effort.patience else 1.0))
            self._highs.setOptionValue("mip_abs_gap", 0.0)
            if self._is_integer:
                self._interrupt(self._may_stop(effort), solving_seconds() + limit_s)
        self._highs.run()
        checkpoint()
        if self._is_integer and self.has_solution and not self._is_consistent():
            # HiGHS 1.16 may take a known solution, presolve the program, and then report an optimum above the true one
            # without the point that has it (tests/test_solver.py has such a program). Its bound is too high then, so
            # nothing that was proven is wrong, but better solutions are lost.
            self._highs.clearSolver()
            self._highs.setOptionValue("presolve", "off")
            self._highs.run()
            checkpoint()

    def _is_consistent(self) -> bool:
        """Whether the point that HiGHS reports has the value that it reports."""
        value = float(np.dot(self._highs.getLp().col_cost_, self._highs.getSolution().col_value))
        return abs(value - self.objective) <= SLACK * max(1.0, abs(self.objective))

    def _may_stop(self, effort: Effort) -> Callable[[Any], bool]:
        """Whether the state of an integer program is all that ``effort`` asks for."""
        if effort.patience:
            return partial(_is_near_enough, effort.gap)
        if effort.decides is not None:
            return partial(_is_decided, effort.decides, self._maximise)
        return lambda state: False

    def _interrupt(self, may_stop: Callable[[Any], bool], deadline: float) -> None:
        def check(_kind: object, _message: str, state: Any, reply: Any, _data: object) -> None:
            reply.user_interrupt = may_stop(state) or solving_seconds() >= deadline or is_cancelled()

        self._highs.setCallback(check, None)
        self._highs.startCallback(self._highspy.cb.HighsCallbackType.kCallbackMipInterrupt)

    @property
    def is_optimal(self) -> bool:
        """Whether HiGHS says that it has found the optimum, or one within the gap."""
        return bool(self._highs.getModelStatus() == self._highspy.HighsModelStatus.kOptimal)

    @property
    def claims_infeasible(self) -> bool:
        """Whether HiGHS says that there is no solution; it says so within its tolerances only."""
        return bool(self._highs.getModelStatus() == self._highspy.HighsModelStatus.kInfeasible)

    @property
    def claims_infeasible_or_unbounded(self) -> bool:
        """As :attr:`claims_infeasible`, or that it is this or unbounded."""
        status = self._highspy.HighsModelStatus
        return self.claims_infeasible or self._highs.getModelStatus() == status.kUnboundedOrInfeasible

    @property
    def has_solution(self) -> bool:
        """Whether HiGHS found a point that meets every constraint."""
        feasible = self._highspy.SolutionStatus.kSolutionStatusFeasible
        return bool(self._highs.getInfo().primal_solution_status == feasible)

    @property
    def objective(self) -> float:
        """The value of the solution found."""
        return float(self._highs.getInfo().objective_function_value)

    @property
    def bound(self) -> float:
        """No solution's value passes this: what HiGHS proved, :func:`loosened`; infinite if it proved nothing.

        A linear program that was interrupted has no bound: the point it stands at may not be dual feasible.
        """
        if self._is_integer:
            proved = float(self._highs.getInfo().mip_dual_bound)
        else:
            proved = self.objective if self.is_optimal else inf
        return loosened(proved, maximise=self._maximise)

    @property
    def values(self) -> F64:
        """The solution found (columns,), or where HiGHS stands if it found none."""
        return np.array(self._highs.getSolution().col_value)

    @property
    def row_dual(self) -> F64:
        """The duals of the rows (rows,), in HiGHS's signs."""
        return np.array(self._highs.getSolution().row_dual)

    @property
    def column_dual(self) -> F64:
        """The reduced costs (columns,), in HiGHS's signs."""
        return np.array(self._highs.getSolution().col_dual)

    @property
    def nodes(self) -> int:
        """Nodes of the search tree; 0 for a linear program."""
        return max(int(self._highs.getInfo().mip_node_count), 0)


def _is_near_enough(gap: float, state: Any) -> bool:
    """Counted in nodes, not in seconds, so that a plan does not depend on the machine."""
    distance = abs(state.mip_dual_bound - state.mip_primal_bound)
    is_near = distance <= gap * abs(state.mip_primal_bound) < inf
    return bool(is_near and state.mip_node_count >= PATIENCE_NODES)


def _is_decided(value: float, maximise: bool, state: Any) -> bool:
    """A bound must pass ``value`` by more than :func:`loosened` takes off it."""
    passed = value + (-1.5 if maximise else 1.5) * SLACK * max(1.0, abs(value))
    bound, found = state.mip_dual_bound, state.mip_primal_bound
    return bool((bound < passed or found > value) if maximise else (bound > passed or found < value))


_MAKING = threading.Lock()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Descriptor 1 leads nowhere while a solver is made: its banner comes before any option can be set.

    C's own buffer is emptied before and after, or the banner would come out later.
    """
    with _MAKING:
        try:
            kept = os.dup(1)
        except OSError:  # a process without standard output
            yield
            return
        sys.stdout.flush()
        _flush_c_buffers()
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, 1)
            yield
        finally:
            _flush_c_buffers()
            os.dup2(kept, 1)
            os.close(kept)
            os.close(nowhere)


def _flush_c_buffers() -> None:
    library = ctypes.CDLL("ucrtbase" if os.name == "nt" else None)
    library.fflush(None)
