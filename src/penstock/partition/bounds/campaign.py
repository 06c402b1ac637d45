"""The campaign of programs: relaxed to see which indices promise most, each for a moment, then side by side.

A program whose best solution is at or under the bound already proven can prove nothing more, and is dropped.
"""

from __future__ import annotations

from collections.abc import Sequence

from penstock.partition.bounds.exact import is_within_reach
from penstock.partition.bounds.ledger import Ledger
from penstock.partition.bounds.pool import in_order_of_ending
from penstock.partition.bounds.superblocks import three_widths
from penstock.partition.bounds.tasks import Task, solve_timed
from penstock.partition.problem import PartitionProblem

QUICK_S = 0.5
"""A first try of each program in this process: most end within it, and a spawned process costs about as much."""

_MARGIN = 0.9
"""Share of the time left that the programs get: building one and leaving the solver take time too."""


def run_programs(problem: PartitionProblem, k: int, cutoff: float, ledger: Ledger, workers: int) -> None:
    """Solve all programs until the ledger must stop; ``cutoff`` > 0 is the cost of a known partition."""
    indices = [Task(problem, k, three_widths(k, b), cutoff, ledger.until_gap) for b in range(1, k + 1)]
    tasks = _promising_first(indices, ledger)
    if k > 3 and is_within_reach(problem, k):
        tasks.insert(0, Task(problem, k, (1,) * k, cutoff, ledger.until_gap))
    unsolved = _try_each(tasks, ledger)
    if not ledger.must_stop():
        bottleneck = Task(problem, k, None, cutoff, ledger.until_gap)
        _side_by_side([*unsolved, bottleneck], ledger, workers)


def _promising_first(tasks: Sequence[Task], ledger: Ledger) -> list[Task]:
    """``tasks`` by what their linear relaxations prove, best first."""
    proven = [0.0] * len(tasks)

    def relax(at: int) -> float:
        proven[at] = tasks[at].within(ledger.deadline.left_s()).solve(relaxed=True).bound
        return proven[at]

    for at in range(len(tasks)):
        ledger.run("relaxed", lambda at=at: relax(at))  # type: ignore[misc]
    return [tasks[at] for at in sorted(range(len(tasks)), key=lambda at: -proven[at])]


def _try_each(tasks: Sequence[Task], ledger: Ledger) -> list[Task]:
    """Run each for :data:`QUICK_S`; those that may still prove more with more time."""
    ceilings: list[float] = []

    def attempt(task: Task) -> float:
        enclosed = task.within(min(QUICK_S, ledger.deadline.left_s())).solve()
        ceilings.append(enclosed.ceiling if enclosed.ceiling > enclosed.bound * (1 + 1e-4) else 0.0)
        return enclosed.bound

    for task in tasks:
        ledger.run(task.method, lambda task=task: attempt(task))  # type: ignore[misc]
    return [task for task, ceiling in zip(tasks, ceilings, strict=False) if ceiling > ledger.bound]


def _side_by_side(tasks: Sequence[Task], ledger: Ledger, workers: int) -> None:
    """The exact program gets all the time that is left, on a process of its own; the others share the rest."""
    left = ledger.deadline.left_s() * _MARGIN
    rounds = -(-len(tasks) // workers)
    timed = [task.within(left if task.is_exact and workers > 1 else left / rounds) for task in tasks]
    for method, bound, seconds in in_order_of_ending(solve_timed, timed, workers, ledger.deadline):
        ledger.note(method, bound, seconds)
        if ledger.must_stop():
            break
