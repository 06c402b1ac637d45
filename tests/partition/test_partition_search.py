"""Searches against the optimum by enumeration, the whole entry point, and published optima."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_problems import optimum, problems

from penstock.errors import BadInputError
from penstock.partition.checker import check_partition
from penstock.partition.formats.placement import read_placement
from penstock.partition.incidence import incidence
from penstock.partition.partition import partition
from penstock.partition.problem import TensorUse, make_problem
from penstock.partition.search.ideals import best_chain, enumerate_ideals
from penstock.partition.search.incumbent import Incumbent
from penstock.partition.search.local_moves import improve_by_moves
from penstock.partition.search.orders import natural_order
from penstock.partition.search.random_keys import GeneticSettings, search_keys
from penstock.result import Status

PLACEMENT = Path(__file__).parents[2] / ".." / "shared" / "data" / "model-graphs" / "placement"


def never() -> bool:
    return False


@given(problems(memory=True), st.integers(1, 4))
@settings(max_examples=500, deadline=None)
def test_the_program_over_ideals_is_exact(problem, k):
    expected = optimum(problem, k)
    ideals = enumerate_ideals(problem, 1000)
    assert ideals is not None
    complete, block = best_chain(problem, ideals, k, np.inf, never)
    assert complete
    assert block is not None
    assert check_partition(problem, block.tolist(), k) == pytest.approx(expected)
    # Asked for something better, it proves that there is none.
    assert best_chain(problem, ideals, k, expected, never) == (True, None)


def test_a_chain_has_one_ideal_a_length_and_parallel_operators_all_subsets():
    chain = make_problem("chain", list("abc"), [1, 1, 1], [TensorUse(0, (1,), 1), TensorUse(1, (2,), 1)])
    apart = make_problem("apart", list("abc"), [1, 1, 1], [])
    for problem, count in ((chain, 4), (apart, 8)):
        ideals = enumerate_ideals(problem, count)
        assert ideals is not None
        assert len(ideals) == count
        assert enumerate_ideals(problem, count - 1) is None


@given(problems(), st.integers(1, 3))
@settings(max_examples=500, deadline=None)
def test_the_entry_point_reaches_the_optimum_and_proves_it(problem, k):
    k = min(k, problem.n_operators)
    expected = optimum(problem, k)
    result = partition(problem, k)
    assert result.objective == pytest.approx(expected)
    assert result.bound == pytest.approx(expected)
    assert result.status is Status.OPTIMAL
    assert result.solution.n_blocks <= k
    assert check_partition(problem, result.solution.block.tolist(), k) == pytest.approx(expected)


@given(problems(most=8), st.integers(2, 4), st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_searches_keep_the_rules_and_never_pass_the_optimum(problem, k, seed):
    graph = incidence(problem)
    ideals = enumerate_ideals(problem, 1000)
    assert ideals is not None
    _, block = best_chain(problem, ideals, k, np.inf, never)
    assert block is not None
    expected = check_partition(problem, block.tolist(), k)
    for search in ("keys", "moves"):
        best = Incumbent(problem, graph, k)
        rng = np.random.default_rng(seed)
        if search == "keys":
            search_keys(best, [natural_order(graph)], rng, GeneticSettings(8, 4), never)
        else:
            improve_by_moves(best, rng, never, rounds=1)
        assert check_partition(problem, best.block.tolist(), k, best.value) >= expected - 1e-9


def crossing_chains():
    """Two chains of four with idle transfers between equals, so that the natural order slices badly."""
    tensors = [TensorUse(i, (i + 1,), 8.0) for i in (0, 1, 2, 4, 5, 6)]
    return make_problem("crossing", [f"op{i}" for i in range(8)], [4, 1, 1, 4, 1, 4, 4, 1], tensors)


@pytest.mark.parametrize("search", ["keys", "moves"])
def test_each_search_finds_two_chains_apart(search):
    """Chain by chain costs 10 a block and no transfer, which total / k proves optimal."""
    best = Incumbent(crossing_chains(), incidence(crossing_chains()), 2)
    rng = np.random.default_rng(0)
    if search == "keys":
        search_keys(best, [], rng, GeneticSettings(20, 20), never)
    else:
        improve_by_moves(best, rng, never, rounds=6)
    assert best.value == 10


def test_the_same_seed_gives_the_same_partition():
    first, second = (partition(crossing_chains(), 3, seed=7) for _ in range(2))
    assert first.solution.block.tolist() == second.solution.block.tolist()


def test_it_stops_once_the_gap_suffices():
    result = partition(crossing_chains(), 2, until_gap=0.5)
    assert 0 <= result.gap <= 0.5
    assert result.status is Status.OPTIMAL
    assert "ideals" not in result.stats


def test_the_time_limit_leaves_a_valid_answer():
    result = partition(crossing_chains(), 3, time_limit_s=0)
    assert check_partition(crossing_chains(), result.solution.block.tolist(), 3) == result.objective
    assert 20 / 3 <= result.bound <= result.objective


@pytest.mark.parametrize(("k", "limit"), [(0, 1.0), (9, 1.0), (2, -1.0)])
def test_bad_requests_are_refused(k, limit):
    with pytest.raises(BadInputError):
        partition(crossing_chains(), k, time_limit_s=limit)


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("LayerGraphs-bert24_inference", 17.7899),
        ("LayerGraphs-gnmt_inference", 32.9107),
        ("LayerGraphs-resnet50_inference", 34.2229),
        ("OperatorGraphs-bert_l-3_inference", 27.9186),
    ],
)
def test_public_graphs_reach_their_known_optimum(name, expected):
    path = PLACEMENT / f"{name}.json"
    if not path.is_file():
        pytest.skip(f"{path} is absent: the reference data is not at ../shared/data")
    source = read_placement(path)
    assert source.shipped_k is not None
    result = partition(source.problem, source.shipped_k, time_limit_s=10)
    assert result.objective == pytest.approx(expected, abs=5e-5)
    assert result.bound <= result.objective
