"""Bounds for unlike devices: never above the optimum by trying everything, and tight where the argument is."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
from random_problems import plain_cost
from test_bounds_random import SOLVER, random_problem

from penstock.errors import BadInputError
from penstock.partition.bounds.unlike import UnlikeStages, fluid_bound, unlike_bound
from penstock.partition.heterogeneous import partition_unlike, prove_unlike
from penstock.partition.problem import TensorUse, make_problem


def optimum(problem, works, stages):
    """The least bottleneck: every order of the stages (a sequence is an order), every assignment forward."""
    n, k = problem.n_operators, len(stages)
    transfers = {
        members: plain_cost(problem, set(members)) - sum(problem.work[i] for i in members)
        for members in (tuple(i for i in range(n) if code >> i & 1) for code in range(2**n))
    }
    edges = problem.edges().tolist()
    forward = [
        [tuple(i for i in range(n) if block[i] == each) for each in range(k)]
        for block in product(range(k), repeat=n)
        if all(block[maker] <= block[user] for maker, user in edges)
    ]
    return min(
        max(
            transfers[members] + sum(works[name][i] for i in members)
            for name, members in zip(order, blocks, strict=True)
        )
        for order in set(permutations(stages))
        for blocks in forward
    )


@pytest.mark.parametrize("start", range(0, 300, 30))
def test_no_bound_passes_the_optimum_of_300_small_graphs(start):
    """The best that is known is given too high, so that a bound above the optimum would show. Most meet it if not."""
    met = 0
    for seed in range(start, start + 30):
        problem = random_problem(seed, n_most=5)
        rng = np.random.default_rng(seed)
        works = {name: np.round(rng.exponential(2.0, problem.n_operators), seed % 3) for name in ("x", "y")}
        counts = [{"x": 1, "y": 1}, {"x": 2, "y": 1}, {"x": 1, "y": 2}][seed % 3]
        stages = [name for name, count in counts.items() for _ in range(count)]
        best = optimum(problem, works, stages)
        found = partition_unlike(problem, works, counts, random_tries=2)
        assert found.bottleneck >= best * (1 - 1e-9)
        asked = _stages(works, counts)
        high = unlike_bound(problem, asked, best_known=1.5 * found.bottleneck, time_limit_s=5)
        assert high.bound <= best * (1 + SOLVER), (seed, high)
        proof = prove_unlike(problem, works, counts, found, time_limit_s=5)
        assert proof.bound <= best * (1 + SOLVER), (seed, proof)
        met += proof.bound >= best * (1 - 1e-4)
    assert met >= 25


def _stages(works, counts):
    """The arrays of ``counts`` stages of x and y: state (i, j) has used i of x and j of y."""
    most_x, most_y = counts["x"], counts["y"]
    number = {(i, j): i * (most_y + 1) + j for i in range(most_x + 1) for j in range(most_y + 1)}
    states = [[number.get((i - 1, j), -1), number.get((i, j - 1), -1)] for i, j in number]
    return UnlikeStages(
        np.stack([works["x"], works["y"]]), np.array([most_x, most_y], np.int64), np.array(states, np.int64)
    )


def test_the_fluid_bound_by_hand():
    """Operator 0 takes 2 on x and 12 on y, operator 1 takes 6 and 6: x does 0 and 1/3 of 1, y the rest, both in 4."""
    works = {"x": np.array([2.0, 6.0]), "y": np.array([12.0, 6.0])}
    assert fluid_bound(_stages(works, {"x": 1, "y": 1})) == pytest.approx(4.0, rel=1e-6)


def test_two_alike_stages_have_half_the_work_each():
    works = {"x": np.array([3.0, 5.0]), "y": np.array([3.0, 5.0])}
    assert fluid_bound(_stages(works, {"x": 1, "y": 1})) == pytest.approx(4.0, rel=1e-6)


def test_a_chain_is_proven_optimal():
    """A chain has one order, so its best slicing is the best split, and the bound must meet it."""
    rng = np.random.default_rng(3)
    n = 30
    chain = make_problem(
        "chain",
        [str(i) for i in range(n)],
        np.ones(n),
        [TensorUse(i, (i + 1,), float(rng.random())) for i in range(n - 1)],
    )
    works = {"fast": rng.random(n) + 0.5, "slow": (rng.random(n) + 0.5) * rng.choice([2, 6], n)}
    stages = {"fast": 2, "slow": 3}
    proof = prove_unlike(chain, works, stages, partition_unlike(chain, works, stages), time_limit_s=30)
    assert proof.gap <= 1e-5
    assert proof.status.name == "OPTIMAL"


def test_an_order_of_the_stages_binds_the_bound_too():
    """Slow, then fast: the slow one must begin, and can at least take nothing. Fast alone takes 4."""
    chain = make_problem("chain", list("abcd"), [0.0] * 4, [TensorUse(i, (i + 1,), 1.0) for i in range(3)])
    works = {"fast": np.array([1.0, 1, 1, 1]), "slow": np.array([2.0, 6, 6, 2])}
    found = partition_unlike(chain, works, ["slow", "fast"])
    assert prove_unlike(chain, works, ["slow", "fast"], found).bound == pytest.approx(
        found.bottleneck, rel=1e-5
    )


def test_limits_below_zero_are_refused():
    chain = make_problem("two", ["a", "b"], [1.0, 1.0], [TensorUse(0, (1,), 1.0)])
    works = {"x": np.ones(2)}
    found = partition_unlike(chain, works, {"x": 1})
    with pytest.raises(BadInputError, match="must be >= 0"):
        prove_unlike(chain, works, {"x": 1}, found, time_limit_s=-1)
