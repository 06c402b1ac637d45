"""The cheapest block between two levels of work: by the linear relaxation, or by the integer program.

The bound of the relaxation is computed again from its row multipliers (:func:`.pair_arrays.proven_minimum`), so it does
not depend on the solver's word. That of the integer program is the solver's, lowered by its slack.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

import numpy as np

from penstock.arrays import F64
from penstock.partition.bounds.levels.ancestry import Ancestry
from penstock.partition.bounds.levels.level import Level, Members
from penstock.partition.bounds.levels.pair_arrays import PairArrays, build_pair, proven_minimum
from penstock.partition.problem import PartitionProblem
from penstock.solver import TOLERANCE, Effort, Matrix, Solver

PENALTY = 50.0
"""What missing a window by one unit of the measure costs in the integer program. So it always has a solution."""


@dataclass(frozen=True)
class Found:
    """``bound``: no block of the pair is cheaper. ``before``: what is before each boundary of a block that is under the
    target, two arrays (n,), if one was found."""

    bound: float
    before: tuple[Members, Members] | None = None


class PairPrograms:
    """All pairs of levels of one problem. Costs are parts of ``scale``, a cost > 0, so that they are near 1."""

    def __init__(
        self, problem: PartitionProblem, works: F64, measure: F64, tree: Ancestry, scale: float
    ) -> None:
        self._problem, self._measure, self._tree = problem, np.ascontiguousarray(measure), tree
        self._works, self._time = works / scale, problem.tensor_time / scale
        self._room = PairArrays.room(problem, tree)
        self._solvers = [Solver(maximise=False), Solver(maximise=False, integrality=TOLERANCE)]

    def relaxed(self, one: Level, two: Level, device: int) -> float:
        """A lower bound on the cost of a block from ``one`` to ``two`` on class ``device``. inf: there is none."""
        columns, rows, constant, _ = self._build(one, two, device, 0.0)
        if columns <= 0:
            return inf if columns < 0 else constant
        solver = self._solvers[0]
        self._load(solver, columns, rows, 0)
        solver.run()
        return constant + float(proven_minimum(self._room, columns, rows, solver.row_dual[:rows]))

    def whole(self, one: Level, two: Level, device: int, target: float, time_limit_s: float) -> Found:
        """The same with whole operators. It ends as soon as it is decided whether a block is under ``target``."""
        columns, rows, constant, operators = self._build(one, two, device, PENALTY)
        if columns <= 0:
            return Found(inf if columns < 0 else constant, None)
        solver = self._solvers[1]
        self._load(solver, columns, rows, operators)
        solver.run(Effort(0.0, time_limit_s, patience=False, decides=target - constant))
        bound = constant + solver.bound
        if bound >= target or not solver.has_solution or solver.objective + constant >= target:
            return Found(bound, None)
        return Found(bound, self._before(one, two, solver.values))

    def _build(self, one: Level, two: Level, device: int, penalty: float) -> tuple[int, int, float, int]:
        problem, tree = self._problem, self._tree
        if np.any((one.sides == 1) & (two.sides == 0)):
            return -1, 0, 0.0, 0
        # What is before the first boundary is before the second, and what is after the second is after the first.
        side_1 = np.where(two.sides == 0, two.sides, one.sides)
        side_2 = np.where(one.sides == 1, one.sides, two.sides)
        columns, rows, constant, operators = build_pair(
            side_1, side_2, self._works[device], self._measure, tree.makers, tree.users,
            problem.use_first, problem.uses, problem.tensor_maker, self._time, problem.is_output,
            one.window, two.window, penalty, self._room,
        )  # fmt: skip
        return int(columns), int(rows), float(constant), int(operators)

    def _load(self, solver: Solver, columns: int, rows: int, whole: int) -> None:
        """``whole``: so many columns, the first ones, are whole numbers."""
        room = self._room
        entries = int(room.start[rows])
        solver.load(
            cost=room.cost[:columns],
            lower=room.lower[:columns],
            upper=room.upper[:columns],
            integer=np.arange(columns) < whole,
            row_lower=room.row_low[:rows],
            row_upper=room.row_high[:rows],
            matrix=Matrix(room.start[: rows + 1], room.column[:entries], room.value[:entries]),
        )

    def _before(self, one: Level, two: Level, values: F64) -> tuple[Members, Members]:
        """The operators before each boundary in a solution."""
        first = one.sides == 1
        second = (two.sides == 1) | (first & (two.sides != 0))
        room = self._room
        return (
            np.where(room.column_1 >= 0, values[room.column_1] > 0.5, first),
            np.where(room.column_2 >= 0, values[room.column_2] > 0.5, second),
        )
