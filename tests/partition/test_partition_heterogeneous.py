"""Unlike devices: against enumeration, and toys derived by hand."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_problems import plain_cost, problems

from penstock.errors import BadInputError
from penstock.partition.heterogeneous import partition_unlike
from penstock.partition.problem import TensorUse, make_problem

CHAIN = make_problem("chain", list("abcd"), [0, 0, 0, 0], [TensorUse(i, (i + 1,), 1.0) for i in range(3)])
FAST, SLOW = np.array([1.0, 1, 1, 1]), np.array([2.0, 6, 6, 2])


def test_the_fast_device_takes_what_the_slow_one_is_worst_at():
    """Transfers of 0.25: slow takes one end (2.25), fast the other three (3.25); the middle would take slow 6."""
    cheap = make_problem(
        "cheap", list("abcd"), [0, 0, 0, 0], [TensorUse(i, (i + 1,), 0.25) for i in range(3)]
    )
    found = partition_unlike(cheap, {"fast": FAST, "slow": SLOW}, {"fast": 1, "slow": 1})
    assert found.bottleneck == 3.25
    assert sorted(found.classes) == ["fast", "slow"]


def test_a_given_order_is_kept():
    found = partition_unlike(CHAIN, {"fast": FAST, "slow": SLOW}, ["slow", "fast"])
    assert found.classes == ("slow", "fast")
    assert found.block.tolist() == [0, 1, 1, 1]


def test_a_useless_stage_stays_unused():
    """All on fast costs 4; any stage on a device that takes 100 an operator is worse."""
    found = partition_unlike(CHAIN, {"fast": FAST, "bad": np.full(4, 100.0)}, {"fast": 1, "bad": 2})
    assert found.bottleneck == 4
    assert found.classes == ("fast",)


@given(problems(most=5), st.data())
@settings(max_examples=60, deadline=None)
def test_it_is_the_optimum_over_orders_of_classes_and_cuts(problem, data):
    """A chain of extra edges leaves one topological order, so cuts of it are all partitions."""
    n = problem.n_operators
    chained = make_problem(
        "chained",
        problem.operators,
        problem.work,
        [
            *(TensorUse(i, (i + 1,), 0.0) for i in range(n - 1)),
            *(
                TensorUse(
                    int(problem.tensor_maker[t]),
                    tuple(problem.users(t).tolist()),
                    float(problem.tensor_time[t]),
                    bool(problem.is_output[t]),
                )
                for t in range(problem.n_tensors)
            ),
        ],
    )
    numbers = st.lists(st.integers(0, 9).map(float), min_size=n, max_size=n)
    work = {name: np.array(data.draw(numbers)) for name in ("x", "y")}
    found = partition_unlike(chained, work, {"x": 2, "y": 1}, random_tries=0)
    transfers = {
        (i, j): plain_cost(chained, set(range(i, j))) - chained.work[i:j].sum()
        for i in range(n)
        for j in range(i, n + 1)
    }
    transfers |= {(n, n): 0.0}
    expected = min(
        max(
            transfers[i, j] + work[name][i:j].sum()
            for name, i, j in zip(order, (0, first, second), (first, second, n), strict=True)
        )
        for order in permutations(["x", "x", "y"])
        for first in range(n + 1)
        for second in range(first, n + 1)
    )
    assert found.bottleneck == pytest.approx(expected)


@pytest.mark.parametrize(
    ("stages", "message"),
    [({}, "no stages"), ({"gpu": 1}, "'gpu' has no work"), ({f"c{i}": 9 for i in range(9)}, "combinations")],
)
def test_bad_requests_are_refused(stages, message):
    with pytest.raises(BadInputError, match=message):
        partition_unlike(CHAIN, {"fast": FAST}, stages)
