"""One program to solve, in a form that can be sent to a process."""

from __future__ import annotations

from dataclasses import dataclass, replace

from penstock.partition.bounds.bottleneck import solve_bottleneck
from penstock.partition.bounds.closures import Closures
from penstock.partition.bounds.programs.bound_program import Enclosed
from penstock.partition.bounds.superblocks import plain_windows, solve_superblocks
from penstock.partition.budget import Deadline
from penstock.partition.problem import PartitionProblem


@dataclass(frozen=True)
class Task:
    """``widths`` of the program's segments, or None for the bottleneck bound. ``cutoff``: a cost already reached."""

    problem: PartitionProblem
    k: int
    widths: tuple[int, ...] | None
    cutoff: float
    gap: float
    time_limit_s: float = 0.0

    @property
    def is_exact(self) -> bool:
        """Whether every block is its own segment."""
        return self.widths == (1,) * self.k

    @property
    def method(self) -> str:
        """The name under which its bound is stored."""
        if self.widths is None:
            return "bottleneck"
        return "exact" if self.is_exact else "superblocks"

    def within(self, time_limit_s: float) -> Task:
        """The same task with another time limit."""
        return replace(self, time_limit_s=time_limit_s)

    def solve(self, *, relaxed: bool = False) -> Enclosed:
        """Run the solver, or only its linear relaxation (not for the bottleneck bound)."""
        closures = Closures.of(self.problem)
        if self.widths is None:
            return solve_bottleneck(
                self.problem,
                self.k,
                cutoff=self.cutoff,
                closures=closures,
                time_limit_s=self.time_limit_s,
                gap=self.gap,
            )
        return solve_superblocks(
            self.problem,
            self.widths,
            cutoff=self.cutoff,
            closures=closures,
            windows=plain_windows(self.problem, self.k, self.cutoff),
            time_limit_s=self.time_limit_s,
            gap=self.gap,
            relaxed=relaxed,
        )


def solve_timed(task: Task) -> tuple[str, float, float]:
    """(method, bound, seconds) of ``task``. It is a function of the module, because processes need that."""
    watch = Deadline(task.time_limit_s)
    bound = task.solve().bound
    return task.method, bound, watch.elapsed_s()
