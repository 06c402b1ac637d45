"""The problem: costs from the definition, order, refusals; merging that keeps the optimum."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_problems import optimum, plain_cost, problems

from penstock.errors import BadInputError
from penstock.partition.colocate import colocated
from penstock.partition.problem import TensorUse, block_costs, bottleneck, check_k, make_problem
from penstock.partition.reduce import _Merger, reduce_problem


def diamond(**ends):
    """a feeds b and c, both feed d; works 1, 2, 3, 4; a's tensor takes 10, b's 20, c's 40."""
    return make_problem(
        "diamond",
        ["a", "b", "c", "d"],
        [1, 2, 3, 4],
        [TensorUse(0, (1, 2), 10), TensorUse(1, (3,), 20), TensorUse(2, (3,), 40), *ends.get("extra", ())],
    )


def test_a_tensor_moves_once_to_each_block_that_uses_it():
    costs = block_costs(diamond(), np.array([0, 1, 1, 2]), 3)
    assert costs.work.tolist() == [1, 5, 4]
    assert costs.in_.tolist() == [0, 10, 60]
    assert costs.out.tolist() == [10, 60, 0]
    assert bottleneck(diamond(), np.array([0, 1, 1, 2]), 3) == 75


def test_a_tensor_sent_to_two_blocks_leaves_once():
    costs = block_costs(diamond(), np.array([0, 1, 2, 3]), 4)
    assert costs.out.tolist() == [10, 20, 40, 0]
    assert costs.in_.tolist() == [0, 10, 10, 60]


def test_ends_of_the_model_are_paid_where_they_are_listed():
    ends = [TensorUse(-1, (0, 3), 5), TensorUse(3, (), 7, is_output=True)]
    costs = block_costs(diamond(extra=ends), np.array([0, 0, 0, 1]), 2)
    assert costs.in_.tolist() == [5, 65]
    assert costs.out.tolist() == [60, 7]


def test_what_the_memory_does_not_hold_is_streamed():
    problem = make_problem(
        "memory", ["a", "b"], [1, 1], [TensorUse(0, (1,), 0)],
        parameter_time=np.array([5.0, 3.0]), activation_time=np.array([2.0, 4.0]), memory_time=7.0,
    )  # fmt: skip
    assert block_costs(problem, np.array([0, 1]), 2).streamed.tolist() == [0, 0]
    assert block_costs(problem, np.array([0, 0]), 1).streamed.tolist() == [5]  # 5 + 3 + max(2, 4) - 7


def test_operators_are_sorted_and_unused_tensors_dropped():
    problem = make_problem("p", ["late", "early"], [1, 2], [TensorUse(1, (0,), 3), TensorUse(0, (), 9)])
    assert problem.operators == ("early", "late")
    assert problem.n_tensors == 1


def test_a_cycle_is_named():
    edges = [TensorUse(0, (1,), 1), TensorUse(1, (2,), 1), TensorUse(2, (1,), 1)]
    with pytest.raises(BadInputError, match=r"cycle: ('b' -> 'c' -> 'b'|'c' -> 'b' -> 'c')"):
        make_problem("p", ["a", "b", "c"], [1, 1, 1], edges)


@pytest.mark.parametrize(
    ("work", "time", "message"),
    [
        ([-1, 0], 1, "work of 'a' is -1.0"),
        ([1, 1], -2, "tensor_time of 'a' is -2.0"),
        ([1, np.nan], 1, "nan"),
    ],
)
def test_costs_must_be_numbers_from_zero(work, time, message):
    with pytest.raises(BadInputError, match=message):
        make_problem("p", ["a", "b"], work, [TensorUse(0, (1,), time)])


@pytest.mark.parametrize(("k", "message"), [(0, "at least 1"), (5, "at most 4")])
def test_k_lies_between_one_and_the_operators(k, message):
    with pytest.raises(BadInputError, match=message):
        check_k(diamond(), k)


@given(problems(memory=True), st.data())
@settings(max_examples=200, deadline=None)
def test_costs_follow_the_definition(problem, data):
    block = np.array(
        data.draw(st.lists(st.integers(0, 2), min_size=problem.n_operators, max_size=problem.n_operators))
    )
    total = block_costs(problem, block, 3).total
    expected = [plain_cost(problem, set(np.flatnonzero(block == each).tolist())) for each in range(3)]
    assert total.tolist() == pytest.approx(expected)


@given(problems(), st.integers(1, 3))
@settings(max_examples=300, deadline=None)
def test_merging_idle_operators_keeps_the_optimum(problem, k):
    reduced = reduce_problem(problem)
    assert optimum(reduced.problem, k) == pytest.approx(optimum(problem, k))
    block = np.arange(reduced.problem.n_operators) % k
    expanded = bottleneck(problem, reduced.expand(block), k)
    assert expanded == pytest.approx(bottleneck(reduced.problem, block, k))


def test_colocation_takes_in_what_lies_between():
    merged = colocated(diamond(), ["x", None, None, "x"])
    assert merged.operators == ("d (+3)",)
    assert merged.work.tolist() == [10]


def test_colocation_keeps_the_rest_apart():
    merged = colocated(diamond(), ["x", "x", None, None])
    assert merged.operators == ("b (+1)", "c", "d")
    assert block_costs(merged, np.array([0, 1, 1]), 2).out.tolist() == [30, 0]


def test_merging_looks_at_each_operator_a_few_times(monkeypatch):
    """Chains of views, in an order in which one pass after the other would merge one view each; and a constant that all
    of them use, whose users must not all be looked at again."""
    chains, length = 40, 50
    names, work, tensors = [], [], [TensorUse(-1, tuple(range(chains * length)), 1.0)]
    for chain in range(chains):
        for at in range(length):
            names.append(f"{chain}.{at}")
            work.append(1.0 if at == 0 else 0.0)
            if at + 1 < length:
                here = chain * length + at
                tensors.append(TensorUse(here, (here + 1,), 2.0 + (length - at)))
    looks = 0
    whole = _Merger._join_user

    def counted(self, operator):
        nonlocal looks
        looks += 1
        return whole(self, operator)

    monkeypatch.setattr(_Merger, "_join_user", counted)
    problem = make_problem("views", names, work, tensors[1:])
    assert reduce_problem(problem).problem.n_operators == chains
    reduce_problem(make_problem("views of a constant", names, work, tensors))
    assert looks <= 4 * 2 * chains * length
