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


def run(
    rows: Rows, options: dict[str, float], start: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None
) -> Any:  # highspy ships no types
    """HiGHS after running on ``rows``, deterministic and silent."""
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
    for name, value in {"output_flag": False, "threads": 1, "random_seed": 0, **options}.items():
        highs.setOptionValue(name, value)
    if highs.passModel(program) == highspy.HighsStatus.kError:
        raise RuntimeError("HiGHS refused the program: it is malformed")
    if start is not None:
        columns, values = start
        highs.setSolution(len(columns), columns.astype(np.int32), values.astype(np.float64))
    highs.run()
    return highs
