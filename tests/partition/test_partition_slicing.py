"""Slicing: run costs and optima against enumeration; rows of any length within memory."""

from __future__ import annotations

from itertools import combinations_with_replacement

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_problems import plain_cost, problems

from penstock.partition.incidence import incidence
from penstock.partition.problem import TensorUse, bottleneck, make_problem
from penstock.partition.search.slicing import best_slicing, segment_costs


@given(problems(most=7, memory=True))
@settings(max_examples=200, deadline=None)
def test_run_costs_follow_the_definition(problem):
    costs = segment_costs(incidence(problem), np.arange(problem.n_operators))
    for last in range(problem.n_operators):
        for first in range(last + 1):
            assert costs[first, last] == pytest.approx(plain_cost(problem, set(range(first, last + 1))))


@given(problems(most=7, memory=True), st.integers(1, 4))
@settings(max_examples=300, deadline=None)
def test_the_best_slicing_is_the_best_of_all_cuts(problem, k):
    n = problem.n_operators
    graph, order = incidence(problem), np.arange(n)
    every = (
        bottleneck(problem, np.searchsorted(np.array(cuts, np.int64), order, side="right"), k)
        for cuts in combinations_with_replacement(range(n + 1), k - 1)
    )
    expected = min(every)
    found = best_slicing(graph, order, k)
    assert found is not None
    assert found.bottleneck == pytest.approx(expected)
    assert bottleneck(problem, found.blocks(order), k) == pytest.approx(expected)
    assert best_slicing(graph, order, k, below=expected) is None


def test_a_longer_run_may_cost_less():
    """Works 1, 1, 1 and a tensor of 100 from the second: cutting behind it costs 101, so all stay together."""
    problem = make_problem("p", ["a", "b", "c"], [1, 1, 1], [TensorUse(0, (1,), 0), TensorUse(1, (2,), 100)])
    found = best_slicing(incidence(problem), np.arange(3), 3)
    assert found is not None
    assert found.bottleneck == 2  # a | b c
    assert found.ends.tolist() == [1, 3]


def test_a_long_chain_is_cut_without_an_array_of_all_runs():
    """50,000 operators of work 1, free transfers: the optimum is n / k. All runs would be 10 GB in float32."""
    n = 50_000
    problem = make_problem(
        "long", [str(i) for i in range(n)], np.ones(n), [TensorUse(i, (i + 1,), 0.0) for i in range(n - 1)]
    )
    found = best_slicing(incidence(problem), np.arange(n), 500)
    assert found is not None
    assert found.bottleneck == pytest.approx(n / 500)
