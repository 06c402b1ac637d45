"""Consecutive groups of blocks as a mixed-integer program: the common part of the bounds that use a solver.

Cut the blocks 1..k of a partition into consecutive *segments*. Segment j has a width of s_j blocks. If a segment as a
whole receives or sends a tensor, at least one of its blocks receives or sends it. So

    work(segment) + transfers(segment) <= sum of its blocks' costs <= s_j * t,    t = the slowest block's cost,

and the least t under these rows is a lower bound. Widths (1, ..., 1) give the problem itself, (b - 1, 1, k - b) give
three superblocks. The size depends on the number of segments, not on k (Archer et al., ICML 2024, sections 4 and 5).

Variables: p[j, v] = 1 if operator v is in one of the first j segments (closed under predecessors, grows with j),
and z[j, e] >= 1 if segment j moves tensor e. Let d[j] = p[j, maker] - p[j, user] for a use of e. It is 1 if
the tensor is between maker and user after segment j. Segment j moves it if and only if d changes there:
z[j, e] >= |d[j] - d[j - 1]|. The maker of a model input comes before every segment, the user of a model output after.

All times are divided by the cutoff (the cost of a known partition), so that t is near 1. Rows that hold
for every partition within the cutoff may be added. The bound is then the smaller of cutoff and minimum.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

import numpy as np

from penstock.arrays import F64, I64
from penstock.partition.bounds.closures import Closures
from penstock.partition.bounds.programs.bound_program import SLACK, Program
from penstock.partition.problem import PartitionProblem


@dataclass(frozen=True)
class Uses:
    """One row for each use of a tensor that takes time: (tensor, maker, user) as operators.

    Maker -1: before everything. User -1: after everything. ``time`` holds the transfer of each tensor kept, and
    ``tensor`` is an index into it.
    """

    tensor: I64
    maker: I64
    user: I64
    time: F64

    @classmethod
    def of(cls, problem: PartitionProblem) -> Uses:
        """The uses of ``problem``. An output of the model is one more use."""
        kept = np.flatnonzero(problem.tensor_time > 0)
        label = np.full(problem.n_tensors, -1)
        label[kept] = np.arange(len(kept))
        every = np.repeat(np.arange(problem.n_tensors), np.diff(problem.use_first))
        out = np.flatnonzero(problem.is_output)
        tensor = np.concatenate([every, out])
        user = np.concatenate([problem.uses, np.full(len(out), -1)])
        moves = (problem.tensor_time[tensor] > 0) & ~((problem.tensor_maker[tensor] < 0) & (user < 0))
        tensor, user = tensor[moves], user[moves]
        return cls(label[tensor], problem.tensor_maker[tensor], user, problem.tensor_time[kept])


@dataclass(frozen=True)
class Window:
    """Limits on the work before a boundary, ``low <= work <= high``. All partitions within the cutoff obey them."""

    low: float
    high: float


class SegmentProgram:
    """The program above: :attr:`program` to solve, with its columns by meaning.

    ``inside`` (boundaries, n): columns p[j] for the boundary after segment j. ``slowest``: the column t.
    A width of ``None`` does not limit a segment's cost. With ``at_most_cutoff``, t exceeds the cutoff by at most the
    slack.
    """

    def __init__(
        self,
        problem: PartitionProblem,
        widths: Sequence[int | None],
        *,
        cutoff: float,
        closures: Closures,
        at_most_cutoff: bool = True,
    ) -> None:
        self.problem, self.widths, self.cutoff, self.closures = problem, tuple(widths), cutoff, closures
        self.work = problem.work / cutoff
        self.program = Program()
        self.slowest = int(self.program.columns(1, upper=1.0 + SLACK if at_most_cutoff else inf, cost=1.0)[0])
        boundaries, n = len(self.widths) - 1, problem.n_operators
        self.inside = self.program.columns(boundaries * n, upper=1.0, integer=True).reshape(boundaries, n)
        self._order_rows()
        uses = Uses.of(problem)
        for segment, width in enumerate(self.widths):
            if width is not None:
                moved = self._transfer_rows(segment, uses)
                self._cost_row(segment, width, moved, uses.time / cutoff)

    def _order_rows(self) -> None:
        edges = self.closures.direct_edges
        for boundary in self.inside:
            if len(edges):
                self.program.rows([(boundary[edges[:, 0]], 1.0), (boundary[edges[:, 1]], -1.0)], low=0.0)
        for earlier, later in zip(self.inside[:-1], self.inside[1:], strict=True):
            self.program.rows([(later, 1.0), (earlier, -1.0)], low=0.0)

    def _under_way(self, boundary: int, uses: Uses) -> tuple[list[tuple[I64, F64]], F64]:
        """d at ``boundary`` (0: before all segments) for every use: terms (columns or -1, signs) and a constant."""
        if boundary == 0:
            return [], (uses.maker < 0).astype(float)
        if boundary == len(self.widths):
            return [], (uses.user < 0).astype(float)
        columns = self.inside[boundary - 1]
        terms = [
            (np.where(uses.maker >= 0, columns[uses.maker], -1), np.ones(len(uses.maker))),
            (np.where(uses.user >= 0, columns[uses.user], -1), -np.ones(len(uses.user))),
        ]
        return terms, (uses.maker < 0).astype(float)

    def _transfer_rows(self, segment: int, uses: Uses) -> I64:
        """Columns z of ``segment``, and their rows z >= d[j] - d[j - 1] and z >= d[j - 1] - d[j]."""
        moved = self.program.columns(len(uses.time), upper=1.0)
        after, after_constant = self._under_way(segment + 1, uses)
        before, before_constant = self._under_way(segment, uses)
        rises, falls = bool(after) or segment + 1 == len(self.widths), bool(before) or segment == 0
        for sign, wanted in ((1.0, rises), (-1.0, falls)):
            if wanted and len(uses.tensor):
                constant = sign * (after_constant - before_constant)
                entries = [(columns, -sign * signs) for columns, signs in after]
                entries += [(columns, sign * signs) for columns, signs in before]
                self._rows_at_least(moved[uses.tensor], entries, constant)
        return moved

    def _rows_at_least(self, moved: I64, entries: list[tuple[I64, F64]], constant: F64) -> None:
        program = self.program
        rows = program.n_rows + np.arange(len(moved))
        program.rows([(moved, 1.0)], low=constant)
        for columns, values in entries:
            real = columns >= 0
            program.entries.append((rows[real], columns[real], values[real]))

    def _cost_row(self, segment: int, width: int, moved: I64, time: F64) -> None:
        terms = [*self.work_terms(segment), (moved, time), (self.slowest, -float(width))]
        self.program.row(terms, high=-self.fixed_work(segment))

    def work_terms(self, segment: int) -> list[tuple[I64 | int, float | F64]]:
        """The work of ``segment`` as terms. :meth:`fixed_work` is the constant that belongs to them."""
        terms: list[tuple[I64 | int, float | F64]] = []
        if segment < len(self.inside):
            terms.append((self.inside[segment], self.work))
        if segment > 0:
            terms.append((self.inside[segment - 1], -self.work))
        return terms

    def fixed_work(self, segment: int) -> float:
        """The constant of the work of ``segment``. The last segment holds what the others do not."""
        return float(self.work.sum()) if segment == len(self.inside) else 0.0

    def keep_within(self, boundary: int, window: Window) -> None:
        """Limit the work before ``boundary`` (1 for the first), and fix operators that are then on one side of it.

        If the work of an operator and its predecessors exceeds ``high``, it comes after. If the work of an operator
        and its successors leaves less than ``low`` to the others, it comes before.
        """
        columns, total = self.inside[boundary - 1], float(self.problem.work.sum())
        margin = SLACK * max(total, 1e-300)
        after = self.closures.ancestor_work > window.high + margin
        before = total - self.closures.descendant_work < window.low - margin
        fixed = np.full(len(columns), np.nan)
        fixed[after], fixed[before] = 0.0, 1.0
        known = ~np.isnan(fixed)
        if known.any():
            self.program.rows([(columns[known], 1.0)], low=fixed[known], high=fixed[known])
        scaled = (window.low - margin) / self.cutoff, (window.high + margin) / self.cutoff
        self.program.row([(columns, self.work)], low=scaled[0], high=scaled[1])
