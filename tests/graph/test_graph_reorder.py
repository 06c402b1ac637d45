"""A model in another order: what it computes stays, and a partition's blocks become contiguous."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from graph_builder import assert_same, random_inputs, read, run, run_chain
from small_models import branches

from penstock import zoo
from penstock.errors import BadInputError
from penstock.graph.reading.onnx_reader import OnnxModel
from penstock.graph.reorder import reordered
from penstock.graph.split import split
from penstock.partition.formats.onnx_model import model_problem
from penstock.partition.incidence import incidence
from penstock.partition.partition import partition
from penstock.partition.search.orders import depth_first_order, random_orders

pytest.importorskip("onnxruntime")


def check_split(model: OnnxModel, whole: onnx.ModelProto, order: list[int], boundaries: list[int]) -> None:
    parts = split(reordered(model, order), boundaries)
    for part in parts:
        onnx.checker.check_model(part.proto, full_check=True)
    feeds = random_inputs(model, 2)
    assert_same(run_chain(parts, feeds), run(whole, feeds))


def test_every_random_order_of_branches_can_be_cut_anywhere(tmp_path: Path) -> None:
    whole = branches()
    model = read(whole, tmp_path)
    n = len(model.graph.operators)
    problem = model_problem(model.graph, np.ones(n), 1.0).problem
    names = [operator.name for operator in model.graph.operators]
    orders = random_orders(incidence(problem), np.random.default_rng(3))
    for _ in range(5):
        order = [names.index(problem.operators[i]) for i in next(orders)]
        check_split(model, whole, order, list(range(n + 1)))


@pytest.mark.slow
def test_the_blocks_of_a_partition_of_googlenet_run_as_a_chain(tmp_path: Path) -> None:
    whole = zoo.build("googlenet", image_size=32)
    model = read(whole, tmp_path)
    problem = model_problem(model.graph, np.ones(len(model.graph.operators)), 100.0).problem
    block = partition(problem, 4, time_limit_s=2, until_gap=0.3).solution.block
    # Depth first rather than as listed, so that the order itself differs from the file's.
    depth_first = depth_first_order(incidence(problem))
    order = depth_first[np.argsort(block[depth_first], kind="stable")]
    names = [operator.name for operator in model.graph.operators]
    assert tuple(names) == problem.operators
    assert order.tolist() != sorted(order.tolist())
    boundaries = [0, *np.cumsum(np.bincount(block)).tolist()]
    check_split(model, whole, order.tolist(), boundaries)


@pytest.mark.parametrize(("order", "message"), [([0, 0], "each of"), ([2, 1, 0], "topological order")])
def test_an_order_must_be_topological(tmp_path: Path, order: list[int], message: str) -> None:
    model = read(branches(), tmp_path)
    if len(order) == 3:
        order = list(range(len(model.graph.operators)))[::-1]
    with pytest.raises(BadInputError, match=message):
        reordered(model, order)
