"""The door to HiGHS: quiet, and its bounds are moved away from the optimum before they count."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from penstock import solver as door
from penstock.solver import SLACK, Effort, Matrix, Solver, loosened


def knapsack(*, maximise: bool, integer: bool) -> Solver:
    """2 x + y at most 3, both up to 1: the greatest 3 x + y is 4, and the least of its negative -4."""
    sign = 1.0 if maximise else -1.0
    solver = Solver(maximise=maximise)
    solver.load(
        cost=sign * np.array([3.0, 1.0]),
        lower=np.zeros(2),
        upper=np.ones(2),
        integer=np.full(2, integer),
        row_lower=np.array([-np.inf]),
        row_upper=np.array([3.0]),
        matrix=Matrix(np.array([0, 2]), np.array([0, 1]), np.array([2.0, 1.0])),
    )
    return solver


@pytest.mark.parametrize("integer", [False, True])
@pytest.mark.parametrize("maximise", [False, True])
def test_a_bound_is_moved_away_from_the_optimum(maximise: bool, integer: bool) -> None:
    solver = knapsack(maximise=maximise, integer=integer)
    solver.run(Effort(gap=0.0, time_limit_s=10.0))
    sign = 1.0 if maximise else -1.0
    assert solver.is_optimal
    assert solver.has_solution
    assert solver.values.tolist() == pytest.approx([1.0, 1.0])
    assert solver.objective == pytest.approx(sign * 4.0)
    # Relative above 1: 4e-6 further than the optimum, on the side where nothing can be.
    assert solver.bound == pytest.approx(sign * 4.0 * (1 + SLACK), abs=1e-9)


def test_slack_is_absolute_near_zero_and_nothing_stays_nothing() -> None:
    assert loosened(0.0, maximise=True) == SLACK
    assert loosened(0.0, maximise=False) == -SLACK
    assert loosened(-100.0, maximise=True) == pytest.approx(-100.0 + 100 * SLACK, abs=1e-12)
    assert loosened(np.inf, maximise=True) == np.inf
    assert loosened(-np.inf, maximise=False) == -np.inf
    assert loosened(np.nan, maximise=False) == -np.inf


def test_a_program_without_a_solution_has_no_bound_and_says_so() -> None:
    solver = knapsack(maximise=True, integer=False)
    solver.set_bounds(0, 1.0, 1.0)
    solver.set_bounds(1, 2.0, 2.0)
    solver.run()
    assert solver.claims_infeasible
    assert not solver.has_solution
    assert solver.bound == np.inf


def test_a_program_grows_and_runs_again() -> None:
    # One unit of a resource: first sold at 1, then also at 2.
    solver = Solver(maximise=True)
    solver.add_rows([-np.inf], [1.0])
    solver.add_columns(np.array([1.0]), np.array([np.inf]), np.array([[1.0]]))
    solver.run()
    assert solver.objective == pytest.approx(1.0)
    solver.add_columns(np.array([2.0]), np.array([np.inf]), np.array([[1.0]]))
    solver.run()
    assert solver.objective == pytest.approx(2.0)
    assert abs(solver.row_dual[0]) == pytest.approx(2.0)


def test_nothing_is_printed_on_either_stream() -> None:
    # In a process of its own: HiGHS prints its banner once a process.
    code = (
        "from penstock.solver import Solver\nprint('before')\nSolver(maximise=True).run()\nprint('after')\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "before\nafter\n"
    assert run.stderr == ""


def program(
    cost: list[float], upper: list[float], integer: list[bool], rows: list[dict[int, float]]
) -> Solver:
    """Maximise; every row is at most 0, but for the last two: at most 2 and 1."""
    solver = Solver(maximise=True)
    solver.load(
        cost=np.array(cost),
        lower=np.zeros(len(cost)),
        upper=np.array(upper),
        integer=np.array(integer),
        row_lower=np.full(len(rows), -np.inf),
        row_upper=np.array([0.0] * (len(rows) - 2) + [2.0, 1.0]),
        matrix=Matrix(
            np.cumsum([0, *map(len, rows)]),
            np.array([column for row in rows for column in row]),
            np.array([value for row in rows for value in row.values()]),
        ),
    )
    return solver


def test_a_known_solution_does_not_hide_a_better_one() -> None:
    """HiGHS 1.16 says 0.6111 here, and gives the known point, 0.2778: workers of two devices of one class, one of
    another, for templates of one and two stages. The best is 0.4722: 0.1389 by one device alone, and 0.3333 by two."""
    rate = [0, 1, 2, 3, 4]
    worker_rate = {6: (0, 5 / 36), 7: (1, 1 / 6), 8: (2, 5 / 6), 9: (2, 1 / 6)}
    worker_rate |= {10: (3, 5 / 6), 11: (3, 1 / 6), 12: (4, 5 / 12), 13: (4, 5 / 18)}
    rows: list[dict[int, float]] = [{5: 1.0, **dict.fromkeys(rate, -1.0)}]
    rows += [{template: 1.0, worker: -each} for worker, (template, each) in worker_rate.items()]
    rows += [{6: 1, 8: 1, 10: 1, 14: -1}, {7: 2, 12: 1, 15: -2}, {9: 1, 16: -1}, {11: 1, 13: 2, 17: -2}]
    rows += [{14: 1, 16: 1}, {15: 1, 17: 1}]
    most = [2, 1, 2, 2, 2, 2, 2, 1, 2, 1, 2, 1]
    solver = program(
        [0.0] * 5 + [1.0] + [0.0] * 12,
        [np.inf] * 6 + [float(n) for n in most],
        [False] * 6 + [True] * 12,
        rows,
    )
    known = np.array([2, 0, 0, 0, 0, 0, 0, 0])
    solver.start_from(np.arange(6, 14), known)
    solver.run(Effort(gap=0.018, time_limit_s=10.0))
    assert solver.objective == pytest.approx(17 / 36)
    assert solver.values[5] == pytest.approx(17 / 36)
    assert 17 / 36 <= solver.bound <= 17 / 36 * 1.02


def test_this_release_of_the_solver_has_no_known_wrong_optimum() -> None:
    """Two small programs of which HiGHS 1.14.0 reports a point that is not the best, as proven (ERGO-Code/HiGHS, issues
    3043 and 3094). A bound of a plan must not rest on such a release."""
    one = Solver(maximise=False)  # 2 x + 3 z, x + z at least 4.5, z whole
    one.load(
        cost=np.array([2.0, 3.0]),
        lower=np.zeros(2),
        upper=np.full(2, 10.0),
        integer=np.array([False, True]),
        row_lower=np.array([4.5]),
        row_upper=np.array([np.inf]),
        matrix=Matrix(np.array([0, 2]), np.array([0, 1]), np.ones(2)),
    )
    one.run()
    assert one.objective == pytest.approx(9.0, rel=1e-6)
    two = Solver(maximise=False)  # one of two: x0 or x1 takes its loss d down by z
    two.load(
        cost=np.array([0.0, 0.0, 0.0, 0.0, 10.0, 8.0]),
        lower=np.zeros(6),
        upper=np.array([1.0, 1.0, 1e3, 1e3, 1e3, 1e3]),
        integer=np.array([True, True, False, False, False, False]),
        row_lower=np.array([-np.inf, -np.inf, 1e3, 1e3, -np.inf]),
        row_upper=np.array([0.0, 0.0, 1e3, 1e3, 1.0]),
        matrix=Matrix(
            np.array([0, 2, 4, 6, 8, 10]),
            np.array([2, 0, 3, 1, 2, 4, 3, 5, 0, 1]),
            np.array([1.0, -1e3, 1.0, -1e3, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]),
        ),
    )
    two.run()
    assert two.objective == pytest.approx(8000.0)


def market_split(seed: int = 0) -> Solver:
    """Four equations over 25 binaries with coefficients below 100, with slack to be minimised: thousands of nodes."""
    rng = np.random.default_rng(seed)
    rows, items = 4, 25
    weight = rng.integers(0, 100, (rows, items)).astype(float)
    solver = Solver(maximise=False)
    entries = np.concatenate([weight, np.eye(rows), -np.eye(rows)], axis=1)
    row, column = np.nonzero(entries)
    solver.load(
        cost=np.concatenate([np.zeros(items), np.ones(2 * rows)]),
        lower=np.zeros(items + 2 * rows),
        upper=np.concatenate([np.ones(items), np.full(2 * rows, np.inf)]),
        integer=np.arange(items + 2 * rows) < items,
        row_lower=weight.sum(axis=1) // 2,
        row_upper=weight.sum(axis=1) // 2,
        matrix=Matrix(np.searchsorted(row, np.arange(rows + 1)), column, entries[row, column]),
    )
    return solver


def test_a_run_ends_by_the_clock_of_solving(monkeypatch: pytest.MonkeyPatch) -> None:
    """The wall's clock would allow an hour. By the clock of solving it is over at the 30th look, and a few follow."""
    looks = iter(range(10**9))
    monkeypatch.setattr(door, "solving_seconds", lambda: 120.0 * next(looks))
    solver = market_split()
    solver.run(Effort(gap=0.0, time_limit_s=3600.0, patience=False))
    assert 30 < next(looks) < 60
    assert not solver.is_optimal
    assert solver.bound < solver.objective


def test_on_a_busy_machine_the_walls_limit_is_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, object] = {}
    for pace, expected in ((1.0, 10.0), (4.0, 60.0)):
        solver = market_split()
        monkeypatch.setattr(door.SOLVING, "pace", lambda pace=pace: pace)
        monkeypatch.setattr(solver._highs, "setOptionValue", given.__setitem__)
        monkeypatch.setattr(solver._highs, "run", lambda: None)
        solver.run(Effort(gap=0.0, time_limit_s=10.0))
        assert given["time_limit"] == expected
