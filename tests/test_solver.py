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
