"""Run all programs: first relaxed, to see which indices are most promising, then each briefly, then in parallel.

If the best solution of a program is not above the proven bound, the program can prove nothing more and is dropped.
"""

from __future__ import annotations

from collections.abc import Sequence

from penstock.partition.bounds.ledger import Ledger
from penstock.partition.bounds.programs.exact_segments import is_within_reach
from penstock.partition.bounds.programs.program_tasks import Task, solve_timed
from penstock.partition.bounds.programs.solver_pool import in_order_of_ending
from penstock.partition.bounds.superblocks import three_widths
from penstock.partition.problem import PartitionProblem

QUICK_S = 0.5
"""Time of a first try of each program in this process. Most end within it. Starting a process takes about as long."""

MOST_OPERATORS = 3_000
"""For more, what must come before each operator takes n * n bytes, and a relaxation takes minutes."""

_MARGIN = 0.9
"""Share of the remaining time for the programs. Building a program and leaving the solver also take time."""


def run_programs(problem: PartitionProblem, k: int, cutoff: float, ledger: Ledger, workers: int) -> None:
    """Solve all programs until the ledger must stop. ``cutoff`` > 0 is the cost of a known partition.

    Problems of more than :data:`MOST_OPERATORS` are left alone.
    """
    if problem.n_operators > MOST_OPERATORS:
        return
    indices = [Task(problem, k, three_widths(k, b), cutoff, ledger.until_gap) for b in range(1, k + 1)]
    tasks = _promising_first(indices, ledger)
    if k > 3 and is_within_reach(problem, k):
        tasks.insert(0, Task(problem, k, (1,) * k, cutoff, ledger.until_gap))
    unsolved = _try_each(tasks, ledger)
    if not ledger.must_stop():
        bottleneck = Task(problem, k, None, cutoff, ledger.until_gap)
        _side_by_side([*unsolved, bottleneck], ledger, workers)


def _promising_first(tasks: Sequence[Task], ledger: Ledger) -> list[Task]:
    """``tasks`` sorted by the bounds of their linear relaxations, the best first."""
    proven = [0.0] * len(tasks)

    def relax(at: int) -> float:
        proven[at] = tasks[at].within(ledger.deadline.left_s()).solve(relaxed=True).bound
        return proven[at]

    for at in range(len(tasks)):
        ledger.run("relaxed", lambda at=at: relax(at))  # type: ignore[misc]
    return [tasks[at] for at in sorted(range(len(tasks)), key=lambda at: -proven[at])]


def _try_each(tasks: Sequence[Task], ledger: Ledger) -> list[Task]:
    """Run each for :data:`QUICK_S`. Return those that may prove more with more time."""
    ceilings: list[float] = []

    def attempt(task: Task) -> float:
        enclosed = task.within(min(QUICK_S, ledger.deadline.left_s())).solve()
        ceilings.append(enclosed.ceiling if enclosed.ceiling > enclosed.bound * (1 + 1e-4) else 0.0)
        return enclosed.bound

    for task in tasks:
        ledger.run(task.method, lambda task=task: attempt(task))  # type: ignore[misc]
    return [task for task, ceiling in zip(tasks, ceilings, strict=False) if ceiling > ledger.bound]


def _side_by_side(tasks: Sequence[Task], ledger: Ledger, workers: int) -> None:
    """The exact program gets all the remaining time, in its own process. The others share the rest."""
    left = ledger.deadline.left_s() * _MARGIN
    rounds = -(-len(tasks) // workers)
    timed = [task.within(left if task.is_exact and workers > 1 else left / rounds) for task in tasks]
    for method, bound, seconds in in_order_of_ending(solve_timed, timed, workers, ledger.deadline):
        ledger.note(method, bound, seconds)
        if ledger.must_stop():
            break
