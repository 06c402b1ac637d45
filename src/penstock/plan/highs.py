"""HiGHS behind one small door: a program is built row by row and run, silently and repeatably."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
        """A new variable >= 0; its index."""
        self.cost.append(cost)
        self.upper.append(upper)
        self.integer.append(integer)
        return len(self.cost) - 1

    def row(
        self, entries: Sequence[tuple[int, float]], *, lower: float = -INFINITY, upper: float = INFINITY
    ) -> None:
        """A new constraint ``lower <= sum of coefficient * variable <= upper``."""
        self.entries.append(entries)
        self.row_lower.append(lower)
        self.row_upper.append(upper)


PATIENCE_NODES = 500
"""After so many nodes of its search tree an integer program may stop at the gap that is near enough."""

FINE = 0.02
"""Part of that gap which is aimed at until then: the first plan that is near enough is often the second best."""


@dataclass(frozen=True)
class Effort:
    """How long an integer program runs: until the relative ``gap`` is proven, for ``time_limit_s`` at most."""

    gap: float
    time_limit_s: float


def run(
    rows: Rows,
    effort: Effort | None = None,
    start: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None,
) -> Any:  # highspy ships no types
    """HiGHS after running on ``rows``, repeatably and silently.

    ``start``: columns and their values in a known solution.
    """
    import highspy

    program = highspy.HighsLp()
    program.num_col_, program.num_row_ = len(rows.cost), len(rows.entries)
    program.sense_ = highspy.ObjSense.kMaximize
    program.col_cost_, program.col_upper_ = np.array(rows.cost), np.array(rows.upper)
    program.col_lower_ = np.zeros(len(rows.cost))
    program.row_lower_, program.row_upper_ = np.array(rows.row_lower), np.array(rows.row_upper)
    program.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    program.a_matrix_.start_ = np.cumsum([0, *(len(entries) for entries in rows.entries)])
    program.a_matrix_.index_ = np.array([column for entries in rows.entries for column, _ in entries])
    program.a_matrix_.value_ = np.array(
        [value for entries in rows.entries for _, value in entries], dtype=float
    )
    if any(rows.integer):
        kinds = (highspy.HighsVarType.kContinuous, highspy.HighsVarType.kInteger)
        program.integrality_ = [kinds[integer] for integer in rows.integer]
    highs = highspy.Highs()
    for name, value in {"output_flag": False, "threads": 1, "random_seed": 0}.items():
        highs.setOptionValue(name, value)
    if effort is not None:
        highs.setOptionValue("time_limit", max(effort.time_limit_s, 0.01))
        highs.setOptionValue("mip_rel_gap", FINE * effort.gap)
        _stop_when_near_enough(highs, effort.gap)
    if highs.passModel(program) == highspy.HighsStatus.kError:
        raise RuntimeError("HiGHS refused the program: it is malformed")
    if start is not None:
        columns, values = start
        highs.setSolution(len(columns), columns.astype(np.int32), values.astype(np.float64))
    highs.run()
    return highs


def _stop_when_near_enough(highs: Any, gap: float) -> None:
    """Counted in nodes, not in seconds, so that a plan does not depend on the machine."""
    from highspy import cb

    def check(_kind: object, _message: str, state: Any, reply: Any, _data: object) -> None:
        distance = abs(state.mip_dual_bound - state.mip_primal_bound)
        is_near = distance <= gap * abs(state.mip_primal_bound) < INFINITY
        reply.user_interrupt = is_near and state.mip_node_count >= PATIENCE_NODES

    highs.setCallback(check, None)
    highs.startCallback(cb.HighsCallbackType.kCallbackMipInterrupt)


def values(highs: Any, columns: int) -> NDArray[np.float64]:
    """The values of the first ``columns`` variables in the solution found; zeros where none was found."""
    from highspy import SolutionStatus

    if highs.getInfo().primal_solution_status != SolutionStatus.kSolutionStatusFeasible:
        return np.zeros(columns)
    return np.array(highs.getSolution().col_value[:columns])


def is_infeasible(highs: Any) -> bool:
    """Whether HiGHS proved that the program has no solution."""
    from highspy import HighsModelStatus

    # Every variable of ours is bounded by rows or by its cost, so "unbounded or infeasible" is the latter.
    return highs.getModelStatus() in (HighsModelStatus.kInfeasible, HighsModelStatus.kUnboundedOrInfeasible)


def has_solution(highs: Any) -> bool:
    """Whether HiGHS found a point that meets every constraint."""
    from highspy import SolutionStatus

    return bool(highs.getInfo().primal_solution_status == SolutionStatus.kSolutionStatusFeasible)
