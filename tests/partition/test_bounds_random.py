"""On hundreds of small graphs: no bound passes the optimum, and the exact methods meet it."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from math import inf

import numpy as np
import pytest
from random_problems import plain_cost

from penstock.partition.bounds.anytime import lower_bounds
from penstock.partition.bounds.bottleneck import solve_bottleneck
from penstock.partition.bounds.chains import chain_bound
from penstock.partition.bounds.closures import Closures
from penstock.partition.bounds.holding import holding_bound
from penstock.partition.bounds.probing import merge_for_target
from penstock.partition.bounds.programs.exact_segments import solve_exact
from penstock.partition.bounds.simple import simple_bound
from penstock.partition.bounds.superblocks import plain_windows, solve_superblocks, three_widths
from penstock.partition.problem import PartitionProblem, TensorUse, make_problem

ROUNDING = 1e-9
SOLVER = 3e-6  # the slack that bounds of the solver give away, and a little


def random_problem(seed: int, n_most: int = 7, memory: bool = False) -> PartitionProblem:
    """Real-valued or whole times, model inputs and outputs, tensors with several users, two tensors of one maker."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, n_most + 1))
    times = (lambda: float(rng.integers(0, 6))) if seed % 2 else (lambda: float(rng.exponential(2.0)))
    tensors = []
    for maker in [-1, *range(n - 1), *range(0, n - 1, 3)]:
        later = np.arange(maker + 1, n)
        users = later[rng.random(len(later)) < 1.5 / len(later)]
        if len(users):
            is_output = maker >= 0 and bool(rng.random() < 0.2)
            tensors.append(TensorUse(maker, tuple(users.tolist()), times(), is_output))
    limits = {}
    if memory:
        limits = {
            "parameter_time": rng.random(n) * 3,
            "activation_time": rng.random(n) * 3,
            "memory_time": float(rng.random() * 4),
        }
    return make_problem(
        f"random {seed}", [f"op{i}" for i in range(n)], [times() for _ in range(n)], tensors, **limits
    )


def optimum(problem: PartitionProblem, k: int) -> float:
    """The least bottleneck: every chain of closed sets, the cost of each step word by word."""
    n = problem.n_operators
    edges = problem.edges().tolist()
    closed = [
        code
        for code in range(2**n)
        if all(code >> maker & 1 or not code >> user & 1 for maker, user in edges)
    ]

    @cache
    def cost(block: int) -> float:
        return plain_cost(problem, {i for i in range(n) if block >> i & 1})

    reach = {0: 0.0}
    for _ in range(k):
        following: dict[int, float] = {}
        for before, worst in reach.items():
            for after in closed:
                if before & ~after == 0:
                    value = max(worst, cost(after & ~before))
                    following[after] = min(value, following.get(after, inf))
        reach = following
    return reach[2**n - 1]


@pytest.mark.parametrize("batch", range(10))
def test_no_bound_passes_the_optimum_and_exact_methods_meet_it(batch: int) -> None:
    for seed in range(batch * 50, batch * 50 + 50):
        problem = random_problem(seed)
        k = 1 + seed % min(4, problem.n_operators)
        best = optimum(problem, k)
        limit = best * (1 + ROUNDING) + 1e-12
        assert simple_bound(problem, k) <= limit, seed
        assert holding_bound(problem, lambda: False) <= limit, seed
        if best == 0:
            continue
        cutoff = best * (1.0 if seed % 3 else 1.25)
        tools = {"cutoff": cutoff, "closures": Closures.of(problem), "time_limit_s": 10.0}
        assert solve_bottleneck(problem, k, **tools).bound <= limit, seed
        windows = plain_windows(problem, k, cutoff)
        for b in range(1, k + 1):
            three = solve_superblocks(problem, three_widths(k, b), windows=windows, **tools).bound
            relaxed = solve_superblocks(
                problem, three_widths(k, b), windows=windows, relaxed=True, **tools
            ).bound
            assert relaxed <= three + SOLVER * best, seed
            assert three <= limit, seed
            if (k, b) == (3, 2):
                assert three == pytest.approx(best, rel=SOLVER), seed
        exact = solve_exact(problem, k, windows=windows, **tools)
        assert exact.bound <= limit, seed
        assert exact.bound == pytest.approx(best, rel=SOLVER), seed


@pytest.mark.parametrize("batch", range(3))
def test_merging_for_a_target_loses_no_partition_under_it(batch: int) -> None:
    for seed in range(1000 + batch * 50, 1050 + batch * 50):
        problem = random_problem(seed)
        k = 1 + seed % min(4, problem.n_operators)
        best = optimum(problem, k)
        if best == 0:
            continue
        for target in (best * 0.9, best, best * 1.5):
            small = merge_for_target(problem, target, lambda: False)
            if small.is_impossible:
                assert best >= target * (1 - ROUNDING), seed
                continue
            proven = chain_bound(small.problem, k, target, lambda: False)
            assert proven == pytest.approx(min(best, target), rel=1e-8), seed
            assert proven <= best, seed


@pytest.mark.parametrize("memory", [False, True])
@pytest.mark.parametrize("batch", range(2))
def test_the_campaign_is_complete_on_small_graphs(batch: int, memory: bool) -> None:
    for seed in range(2000 + batch * 12, 2012 + batch * 12):
        problem = random_problem(seed, memory=memory)
        k = 1 + seed % min(4, problem.n_operators)
        best = optimum(problem, k)
        result = lower_bounds(problem, k, best_known=best, time_limit_s=10, workers=1)
        assert result.complete, seed
        assert result.bound <= best * (1 + ROUNDING), seed
        worse = lower_bounds(problem, k, best_known=best * 1.4, time_limit_s=10, workers=1)
        assert worse.bound == pytest.approx(best, rel=1e-3), seed
        assert worse.bound <= best * (1 + ROUNDING), seed
        unknown = lower_bounds(problem, k, best_known=inf, time_limit_s=10, workers=1)
        assert unknown.bound <= best * (1 + ROUNDING), seed


def test_every_grouping_of_blocks_is_a_relaxation_and_finer_is_never_weaker() -> None:
    for seed in range(3000, 3040):
        problem = random_problem(seed)
        if problem.n_operators < 4 or (best := optimum(problem, 4)) == 0:
            continue
        tools = {
            "cutoff": best,
            "closures": Closures.of(problem),
            "windows": plain_windows(problem, 4, best),
            "time_limit_s": 10.0,
        }
        values = [
            solve_superblocks(problem, widths, **tools).bound
            for widths in [(4,), (2, 2), (2, 1, 1), (1, 1, 1, 1)]
        ]
        assert all(coarse <= fine + SOLVER * best for coarse, fine in pairwise(values))
        assert values[-1] == pytest.approx(best, rel=SOLVER)
