"""What the reader finds out about operators whose cost does not follow from their operands alone, from ONNX files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from penstock.graph.model_graph import Operator
from penstock.graph.reading.onnx_reader import read_onnx


def read_one(
    folder: Path,
    node: onnx.NodeProto,
    inputs: dict[str, Sequence[str | int]],
    output: Sequence[str | int],
    weights: dict[str, tuple[int, ...]],
    opset: int = 17,
) -> Operator:
    """The one operator of a model of ``node``."""
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, output)],
        [numpy_helper.from_array(np.zeros(shape, np.float32), name) for name, shape in weights.items()],
    )
    path = folder / "one.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10), path)
    (operator,) = read_onnx(path).graph.operators
    return operator


def test_a_recurrence_has_steps_and_weights_of_its_state(tmp_path: Path) -> None:
    # 30 steps of 5 numbers, a state of 4: W is 16 x 5, R is 16 x 4.
    node = helper.make_node("LSTM", ["x", "w", "r"], ["y"], hidden_size=4, layout=1)
    found = read_one(
        tmp_path, node, {"x": ["batch", 30, 5]}, ["batch", 30, 1, 4], {"w": (1, 16, 5), "r": (1, 16, 4)}
    )
    assert (found.steps, found.step_bytes, found.parameter_bytes) == (30, 4 * 64, 4 * (80 + 64))
    assert found.flops == 30 * 2 * (80 + 64)


def test_groups_of_a_convolution(tmp_path: Path) -> None:
    node = helper.make_node("Conv", ["x", "w"], ["y"], group=8, pads=[1, 1, 1, 1])
    found = read_one(tmp_path, node, {"x": ["batch", 8, 6, 6]}, ["batch", 8, 6, 6], {"w": (8, 1, 3, 3)})
    assert (found.groups, found.steps, found.step_bytes) == (8, 1, 0)
    assert found.flops == 2 * 8 * 36 * 9


def test_attention_of_opset_23_for_one_sample(tmp_path: Path) -> None:
    node = helper.make_node("Attention", ["q", "k", "v"], ["y"])
    heads = ["batch", 4, 6, 8]
    found = read_one(tmp_path, node, {"q": heads, "k": heads, "v": heads}, heads, {}, opset=23)
    assert found.flops == 4 * 6 * 6 * (2 * 8 + 2 * 8 + 5)
