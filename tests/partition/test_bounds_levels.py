"""The bound by levels of work: against enumeration, by hand, and its parts against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from random_problems import plain_cost
from test_bounds_random import SOLVER, optimum, random_problem

from penstock.partition.bounds.levels import level_bound as level_bound_module
from penstock.partition.bounds.levels.ancestry import ancestry
from penstock.partition.bounds.levels.level import Level, LevelMaker
from penstock.partition.bounds.levels.level_bound import Stages, level_bound
from penstock.partition.bounds.levels.pair_program import PairPrograms
from penstock.partition.bounds.levels.paths import least_bottleneck, lightest_path
from penstock.partition.budget import Deadline
from penstock.partition.problem import TensorUse, bottleneck, make_problem
from penstock.partition.search.ideals import best_chain, enumerate_ideals


def bound(problem, k, cutoff, seconds=20.0):
    return level_bound(
        problem, Stages.alike(problem, k), cutoff=cutoff, goal=cutoff * (1 - 2e-6), deadline=Deadline(seconds)
    ).bound


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("above", [1.0, 1.7])
@pytest.mark.parametrize("levels", [1, 8])
def test_it_is_the_optimum_of_small_graphs_but_for_the_slack(seed, above, levels, monkeypatch):
    """A cutoff above the optimum shows a bound that is too high. One at the optimum shows one that is too low.

    One level at the start must be split again and again.
    """
    monkeypatch.setattr(level_bound_module, "_FEWEST", levels)
    monkeypatch.setattr(level_bound_module, "_PER_BLOCK", 0.0)
    problem = random_problem(seed)
    k = 1 + seed % min(4, problem.n_operators)
    best = optimum(problem, k)
    if best == 0:
        pytest.skip("nothing takes time")
    found = bound(problem, k, best * above)
    assert found <= best * (1 + SOLVER)
    if above == 1.0 and problem.work.sum() > 0:
        # Operators without work have boundaries that the levels cannot tell apart.
        assert found >= best * (1 - 1e-4) or (problem.work == 0).any()


@pytest.mark.parametrize("start", range(0, 30, 10))
def test_it_meets_the_ideals_on_larger_graphs(start, monkeypatch):
    """Against the dynamic program over ideals, which shares no code with it; the cutoff is above the optimum."""
    monkeypatch.setattr(level_bound_module, "_FEWEST", 2)
    monkeypatch.setattr(level_bound_module, "_PER_BLOCK", 0.0)
    for seed in range(start, start + 10):
        problem = random_problem(seed, n_most=14)
        k = min(2 + seed % 4, problem.n_operators)
        ideals = enumerate_ideals(problem, 10_000)
        assert ideals is not None
        _, block = best_chain(problem, ideals, k, np.inf, lambda: False)
        assert block is not None
        best = bottleneck(problem, block, k)
        if problem.work.sum() > 0 and best > 0:
            assert bound(problem, k, 1.2 * best, 0.3) <= best * (1 + SOLVER), seed


def test_a_diamond_by_hand():
    """Work 4 in each of two branches; the ends have none. Each tensor takes 1.

    One branch a block: the first receives nothing, and sends what the source made for the other branch and what its
    branch made for the sink: 4 + 1 + 1. The second receives both: 6. All in one block costs 8.
    """
    diamond = make_problem(
        "diamond",
        ["source", "left", "right", "sink"],
        [0.0, 4.0, 4.0, 0.0],
        [TensorUse(0, (1,), 1.0), TensorUse(0, (2,), 1.0), TensorUse(1, (3,), 1.0), TensorUse(2, (3,), 1.0)],
    )
    assert bound(diamond, 2, 6.0) == pytest.approx(6.0, rel=1e-5)
    assert bound(diamond, 2, 100.0) <= 6.0


@pytest.mark.parametrize("seed", range(5))
def test_ancestry_adds_up_every_ancestor_once(seed):
    rng = np.random.default_rng(seed)
    n = 1500  # more than one round of bits
    tensors = [
        TensorUse(maker, tuple(np.unique(rng.integers(maker + 1, n, 2)).tolist()), 1.0)
        for maker in range(n - 1)
    ]
    measure = rng.random(n)
    problem = make_problem("random", [str(i) for i in range(n)], measure, tensors)
    before = np.eye(n, dtype=bool)
    for maker, user in sorted(problem.edges().tolist(), key=lambda edge: edge[1]):
        before[user] |= before[maker]
    found = ancestry(problem, problem.work)
    np.testing.assert_allclose(found.before, before @ problem.work)
    np.testing.assert_allclose(found.after, before.T @ problem.work)


@pytest.mark.parametrize("seed", range(30))
def test_a_pair_is_never_dearer_than_a_block_between_its_levels(seed):
    """Take two nested closed sets and any windows that hold them: both programs are at most the cost between them."""
    problem = random_problem(seed)
    n = problem.n_operators
    rng = np.random.default_rng(seed)
    maker = LevelMaker(ancestry(problem, problem.work), problem.work)
    pairs = PairPrograms(problem, problem.work[None, :], problem.work, maker.tree, 1.0)
    for _ in range(5):
        second = closed(problem, rng.random(n) < 0.7)
        first = closed(problem, second & (rng.random(n) < 0.5)) & second
        cost = plain_cost(problem, set(np.flatnonzero(second & ~first).tolist()))
        works = [float(problem.work[chosen].sum()) for chosen in (first, second)]
        levels = [maker.level(work - rng.random(), work + rng.random()) for work in works]
        assert pairs.relaxed(*levels, 0) <= cost + 1e-9
        assert pairs.whole(*levels, 0, cost + 1, 5.0).bound <= cost + 1e-9
        exact = [
            Level(each.window, chosen.astype(np.int8))
            for each, chosen in zip(levels, (first, second), strict=True)
        ]
        assert pairs.relaxed(*exact, 0) == pytest.approx(cost)


def closed(problem, chosen):
    """``chosen`` without the operators that need others."""
    chosen = chosen.copy()
    for maker, user in sorted(problem.edges().tolist(), key=lambda edge: edge[1]):
        chosen[user] &= chosen[maker]
    return chosen


@pytest.mark.parametrize("seed", range(20))
def test_the_parts_of_a_level_hold_its_boundaries(seed):
    """Every closed set is in some half by measure, and in exactly one part by an operator."""
    problem = random_problem(seed)
    n = problem.n_operators
    maker = LevelMaker(ancestry(problem, problem.work), problem.work)
    whole = maker.level(0.0, maker.total)
    assert whole is not None
    halves = maker.halves(whole, maker.total / 2)
    for code in range(2**n):
        chosen = np.array([code >> i & 1 for i in range(n)], bool)
        if (closed(problem, chosen) == chosen).all():
            assert any(half.holds(chosen, problem.work) for half in halves)
            for operator in range(n):
                sides = maker.sides_of(whole, operator)
                assert sum(part.holds(chosen, problem.work) for part in sides) == 1


def test_the_best_path_of_a_table_by_hand():
    """Two steps over level 1 cost 3 and 5, over level 2 they cost 4 and 4, one step costs 9."""
    cost = np.array([[[0, 3, 4, 9], [9, 0, 9, 5], [9, 9, 0, 4], [9, 9, 9, 0]]], float)
    load = np.ones(cost.shape, np.int64)
    load[0, 0, 2] = 5
    one, two = np.array([[-1], [0]]), np.array([[-1], [0], [1]])
    assert least_bottleneck(cost, two) == 4
    assert least_bottleneck(cost, one) == 9
    assert lightest_path(cost, load, 4.5, two) == [(0, 2, 3), (0, 0, 2)]
    assert lightest_path(cost, load, 6.0, two) == [(0, 1, 3), (0, 0, 1)]
    assert lightest_path(cost, load, 9.5, two) == [(0, 0, 3)]
    assert lightest_path(cost, load, 4.0, two) == []
    assert lightest_path(cost, load, 9.0, one) == []


def test_a_path_uses_each_class_as_often_as_it_has_stages():
    """Class 0 costs 1 a step and class 1 costs 7. With one stage of each, one of the two steps is dear."""
    step = np.array([[0, 1, 99], [99, 0, 1], [99, 99, 0]], float)
    cost, states = np.stack([step, step * 7]), np.array([[-1, -1], [0, -1], [-1, 0], [2, 1]])
    assert least_bottleneck(cost, states) == 7
    assert lightest_path(cost, np.ones(cost.shape, np.int64), 7.0, states) == []
    found = lightest_path(cost, np.ones(cost.shape, np.int64), 7.5, states)
    assert sorted(device for device, _, _ in found) == [0, 1]
