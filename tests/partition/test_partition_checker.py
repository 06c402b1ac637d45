"""The checker finds what is wrong with a partition, one fault at a time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_problems import problems

from penstock.errors import PenstockError
from penstock.partition.checker import check_partition
from penstock.partition.problem import TensorUse, bottleneck, make_problem

CHAIN = make_problem("chain", ["a", "b", "c"], [1, 2, 3], [TensorUse(0, (1,), 5), TensorUse(1, (2,), 7)])


def test_a_sound_partition_gives_its_bottleneck():
    assert check_partition(CHAIN, [0, 0, 1], 2, 10.0) == 10  # 1 + 2 + 7 before, 7 + 3 after


@pytest.mark.parametrize(
    ("block", "claimed", "message"),
    [
        ([0, 1], None, "2 blocks given for 3 operators"),
        ([0, 0, 2], None, "'c' is in block 2"),
        ([0, 0, -1], None, "'c' is in block -1"),
        ([0, 1, 0], None, "flow backwards"),
        ([0, 0, 1], 9.99, "9.99 was claimed"),
    ],
)
def test_each_fault_is_named(block, claimed, message):
    with pytest.raises(PenstockError, match=message):
        check_partition(CHAIN, block, 2, claimed)


@given(problems(memory=True), st.integers(1, 4), st.data())
@settings(max_examples=200, deadline=None)
def test_it_agrees_with_the_costs_that_searches_use(problem, k, data):
    # Ascending blocks keep every edge forward.
    size = problem.n_operators
    block = sorted(data.draw(st.lists(st.integers(0, k - 1), min_size=size, max_size=size)))
    assert check_partition(problem, block, k) == pytest.approx(bottleneck(problem, np.array(block), k))
