"""Bounds derived by hand, and what happens at the edges."""

from __future__ import annotations

from math import inf

import numpy as np
import pytest

from penstock.errors import BadInputError
from penstock.partition.bounds.anytime import lower_bounds
from penstock.partition.bounds.bottleneck import solve_bottleneck
from penstock.partition.bounds.closures import Closures
from penstock.partition.bounds.contraction import induced, merged
from penstock.partition.bounds.holding import holding_bound
from penstock.partition.bounds.probing import merge_for_target
from penstock.partition.bounds.programs.bound_program import Program, Solved, enclose, minimise
from penstock.partition.bounds.programs.solver_pool import in_order_of_ending
from penstock.partition.bounds.simple import heaviest_operator, simple_bound
from penstock.partition.bounds.superblocks import three_widths
from penstock.partition.budget import Deadline
from penstock.partition.problem import PartitionProblem, TensorUse, block_costs, make_problem


def chain(work: list[float], time: list[float]) -> PartitionProblem:
    """Operators in a row; tensor i from operator i to i + 1."""
    tensors = [TensorUse(i, (i + 1,), each) for i, each in enumerate(time)]
    return make_problem("chain", [f"op{i}" for i in range(len(work))], work, tensors)


def test_simple_bound_counts_transfers_that_cannot_be_avoided() -> None:
    # The block of b moves its input (3) or holds a (1 < 3); it moves its output (2) or holds c (5 > 2).
    problem = chain([1, 10, 5], [3, 2])
    assert heaviest_operator(problem) == 10 + 1 + 2
    assert simple_bound(problem, 3) == 13
    assert simple_bound(problem, 1) == 16


def test_holding_bound_goes_past_the_neighbours() -> None:
    # Block of b: a and c cost less than their tensors (9), so they come along; then the tensors of 1 are moved.
    problem = chain([4, 1, 10, 1, 4], [1, 9, 9, 1])
    assert holding_bound(problem, lambda: False) == pytest.approx(1 + 10 + 1 + 1 + 1, rel=1e-5)


def test_bottleneck_bound_is_the_cheapest_block_with_its_share() -> None:
    # Total 12, k = 3: work >= 4 is one inner operator and both its tensors (6), or the first or last alone (4 + 1).
    problem = chain([4, 4, 4], [1, 1])
    solved = solve_bottleneck(problem, 3, cutoff=6.0, closures=Closures.of(problem), time_limit_s=5)
    assert solved.bound == pytest.approx(5, rel=1e-5)
    result = lower_bounds(problem, 3, best_known=6.0, time_limit_s=5, workers=1)
    assert result.complete
    assert result.bound <= 6.0


def test_operators_around_a_dear_tensor_are_merged() -> None:
    problem = chain([1, 1, 1, 1], [1, 9, 1])
    small = merge_for_target(problem, 5.0, lambda: False)
    assert not small.is_impossible
    # Cutting the tensor of 9 costs each side at least 9; the other cuts cost 2 or 3.
    assert sorted(small.problem.work.tolist()) == [1.0, 1.0, 2.0]
    assert merge_for_target(problem, 3.0, lambda: False).is_impossible  # the block of b and c costs 2 + 1


def test_merging_closes_cycles_of_groups() -> None:
    # a -> b -> c and a, c together: b must join them.
    problem = chain([1, 2, 3, 4], [1, 1, 1])
    small, place = merged(problem, np.array([0, 1, 0, 2]))
    assert small.work.tolist() == [6.0, 4.0]
    assert place.tolist() == [0, 0, 0, 1]


def test_leaving_operators_out_never_raises_a_cost() -> None:
    problem = make_problem(
        "fan", list("abcd"), [1, 2, 3, 4], [TensorUse(-1, (0, 2), 2.0), TensorUse(0, (1, 2, 3), 5.0, True)]
    )
    small, names = induced(problem, np.array([True, False, True, True]))
    assert names.tolist() == [0, 2, 3]
    block = np.array([0, 0, 1, 1])
    whole, part = block_costs(problem, block, 2).total, block_costs(small, block[names], 2).total
    assert (part <= whole).all()
    assert part.tolist() == [1 + 2 + 5, 3 + 4 + 5 + 2]


def test_direct_edges_are_those_that_no_path_implies() -> None:
    problem = make_problem(
        "triangle", list("abc"), [1, 2, 4], [TensorUse(0, (1, 2), 1.0), TensorUse(1, (2,), 1.0)]
    )
    closures = Closures.of(problem)
    assert closures.direct_edges.tolist() == [[0, 1], [1, 2]]
    assert closures.ancestor_work.tolist() == [1, 3, 7]
    assert closures.descendant_work.tolist() == [7, 6, 4]


def test_three_superblocks_have_no_empty_segment() -> None:
    assert [three_widths(4, b) for b in (1, 2, 3, 4)] == [(1, 3), (1, 1, 2), (2, 1, 1), (3, 1)]
    assert three_widths(1, 1) == (1,)


def test_a_claim_of_infeasibility_proves_nothing() -> None:
    program = Program()
    column = program.columns(1, upper=1.0, cost=1.0, integer=True)
    program.row([(column, 1.0)], low=2.0)
    solved = minimise(program, time_limit_s=1)
    assert solved.claims_infeasible
    assert enclose(solved, 7.0).bound == 0.0


def test_a_dual_bound_gives_the_slack_away_and_ends_at_the_cutoff() -> None:
    program = Program()
    column = program.columns(1, cost=1.0)
    program.row([(column, 1.0)], low=0.5)
    solved = minimise(program, time_limit_s=1)
    assert solved.bound == pytest.approx(0.5 - 1e-6, abs=1e-9)
    beyond = Solved(bound=2.0, objective=2.0, solution=None, claims_infeasible=False, is_optimal=True)
    assert enclose(beyond, 3.0).bound == 3.0


@pytest.mark.parametrize("workers", [1, 2])
def test_every_task_is_answered(workers: int) -> None:
    answers = in_order_of_ending(abs, [-3, 2, -1], workers, Deadline(60.0))
    assert sorted(answers) == [1, 2, 3]


def test_time_that_is_up_ends_the_tasks() -> None:
    seconds = iter([0.0, 0.0, 5.0])
    deadline = Deadline(1.0, clock=lambda: next(seconds))
    # One look at the clock at the start, one after each task.
    assert list(in_order_of_ending(abs, [-3, 2, -1], 1, deadline)) == [3, 2]


def test_edges_of_the_input() -> None:
    problem = chain([1, 1], [1])
    assert lower_bounds(problem, 1, best_known=inf, time_limit_s=5).bound == pytest.approx(2, rel=1e-5)
    nothing = chain([0, 0], [0])
    assert lower_bounds(nothing, 2, best_known=0.0, time_limit_s=5).complete
    assert lower_bounds(problem, 2, best_known=2.0, time_limit_s=0.0).bound == 2.0
    with pytest.raises(BadInputError, match="k is 3"):
        lower_bounds(problem, 3, best_known=2.0, time_limit_s=5)
    with pytest.raises(BadInputError, match="best_known is -1"):
        lower_bounds(problem, 2, best_known=-1.0, time_limit_s=5)
