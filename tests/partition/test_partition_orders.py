"""Orders: topological, each once, and the toy order of each kind."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_problems import problems

from penstock.partition.incidence import incidence
from penstock.partition.problem import TensorUse, make_problem
from penstock.partition.search.orders import (
    breadth_first_order,
    depth_first_order,
    late_order,
    natural_order,
    priority_order,
    random_orders,
)


def two_chains():
    """0 -> 2 -> 4 and 1 -> 3 -> 5."""
    tensors = [TensorUse(i, (i + 2,), 1) for i in range(4)]
    return incidence(make_problem("two chains", list("abcdef"), np.ones(6), tensors))


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (natural_order, [0, 1, 2, 3, 4, 5]),
        (breadth_first_order, [0, 1, 2, 3, 4, 5]),
        (depth_first_order, [1, 3, 5, 0, 2, 4]),
        (late_order, [0, 1, 2, 3, 4, 5]),
    ],
)
def test_each_order_on_two_chains(make, expected):
    assert make(two_chains()).tolist() == expected


def test_an_idle_weight_is_put_off_to_its_user():
    """w (0) is used by the last of the chain a b c only."""
    tensors = [TensorUse(0, (3,), 1), TensorUse(1, (2,), 1), TensorUse(2, (3,), 1)]
    graph = incidence(make_problem("weight", ["w", "a", "b", "c"], np.ones(4), tensors))
    assert late_order(graph).tolist() == [1, 0, 2, 3]


@given(problems(most=9), st.integers(0, 2**32))
@settings(max_examples=200, deadline=None)
def test_every_order_is_topological(problem, seed):
    graph = incidence(problem)
    randoms = islice(random_orders(graph, np.random.default_rng(seed)), 3)
    makers, users = problem.edges().T
    for order in (depth_first_order(graph), breadth_first_order(graph), late_order(graph), *randoms):
        position = np.argsort(order)
        assert sorted(order.tolist()) == list(range(problem.n_operators))
        assert np.all(position[makers] < position[users])


@given(problems(most=9), st.integers(0, 2**32))
@settings(max_examples=100, deadline=None)
def test_every_topological_order_is_some_priorities(problem, seed):
    graph = incidence(problem)
    order = next(random_orders(graph, np.random.default_rng(seed)))
    assert priority_order(graph, np.argsort(order).astype(float)).tolist() == order.tolist()
