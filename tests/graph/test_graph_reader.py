"""What the reader finds in a file, by hand; and what shape arithmetic becomes."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnx
import pytest
from graph_builder import HEADER, parse, random, random_inputs, read, run
from onnx import TensorProto, helper
from small_models import class_token, computed_weights, heads, mask, recurrent, reshape

from penstock.graph.model_graph import Tensor
from penstock.graph.reading.onnx_reader import OnnxModel, read_onnx


def nodes_of(model: OnnxModel, operator: str) -> list[str]:
    """The kinds of the nodes of the operator that makes ``operator``."""
    (place,) = (i for i, each in enumerate(model.graph.operators) if operator in each.outputs)
    return [node.op_type for node in model.proto.graph.node[slice(*model.node_starts[place : place + 2])]]


def test_a_small_network_by_hand(tmp_path: Path) -> None:
    whole = parse(
        """net (float[images, 3, 8, 8] x) => (float[images, 5] y) {
            a = Conv<kernel_shape = [3, 3], pads = [1, 1, 1, 1], strides = [2, 2]>(x, w, b)
            c = Relu(a)
            d = GlobalAveragePool(c)
            e = Flatten(d)
            y = Gemm<transB = 1>(e, v)
        }""",
        {"w": random(4, 3, 3, 3), "b": random(4), "v": random(5, 4)},
    )
    model = read(whole, tmp_path, "net")
    graph = model.graph
    assert graph.name == "net"
    assert (graph.inputs, graph.outputs) == (("x",), ("y",))
    assert [(one.kind, one.inputs, one.outputs) for one in graph.operators] == [
        ("Conv", ("x",), ("a",)),
        ("Relu", ("a",), ("c",)),
        ("GlobalAveragePool", ("c",), ("d",)),
        ("Flatten", ("d",), ("e",)),
        ("Gemm", ("e",), ("y",)),
    ]
    assert graph.tensors["a"] == Tensor("a", "float32", (-1, 4, 4, 4), True, 4 * 64)
    assert graph.tensors["d"] == Tensor("d", "float32", (-1, 4, 1, 1), True, 16)
    assert graph.tensors["a"].shape_at(5) == (5, 4, 4, 4)
    # 64 outputs of 27 multiply-adds; 64 maxima; 64 sums; a view; 5 outputs of 4 multiply-adds.
    assert [one.flops for one in graph.operators] == [64 * 27 * 2, 64, 64, 0, 5 * 4 * 2]
    assert [one.parameter_bytes for one in graph.operators] == [4 * (108 + 4), 0, 0, 0, 4 * 20]
    assert graph.operators[0].parameters == ("w", "b")
    assert model.sha256 == hashlib.sha256(model.path.read_bytes()).hexdigest()
    onnx.checker.check_model(model.proto, full_check=True)
    assert {each.name for each in model.proto.graph.value_info} == {"a", "c", "d", "e"}


def test_names_are_made_unique_and_the_same_each_time(tmp_path: Path) -> None:
    text = "names (float[N] x) => (float[N] y) { [same] a = Relu(x) \n [same] b = Neg(a) \n y = Abs(b) }"
    names = [one.name for one in read(parse(text), tmp_path).graph.operators]
    assert names == ["same", "same_1", "Abs_2"]


def test_what_no_output_needs_is_left_out(tmp_path: Path) -> None:
    text = "dead (float[N, 2] x) => (float[N, 2] y) { a = Relu(x) \n b = MatMul(a, w) \n y = Neg(x) }"
    model = read(parse(text, {"w": random(2, 2)}), tmp_path)
    assert [one.kind for one in model.graph.operators] == ["Neg"]
    assert not model.proto.graph.initializer


def test_optional_outputs_that_nobody_reads_are_dropped(tmp_path: Path) -> None:
    text = "unread (float[N, 2] x) => (float[N, 2] y) { a, drop_mask = Dropout(x) \n y = Neg(a) }"
    assert read(parse(text), tmp_path).graph.operators[0].outputs == ("a",)
    # The indices of TopK are not optional.
    text = "kept (float[N, 2] x) => (float[N, 1] y) { y, indices = TopK(x, k) }"
    assert read(parse(text, {"k": np.array([1])}), tmp_path).graph.operators[0].outputs == ("y", "indices")


def test_old_files_list_weights_among_the_inputs(tmp_path: Path) -> None:
    whole = parse("old (float[N, 2] x, float[2] w) => (float[N, 2] y) { y = Mul(x, w) }", {"w": random(2)})
    whole.ir_version = 3
    graph = read(whole, tmp_path).graph
    assert (graph.inputs, graph.operators[0].parameters) == (("x",), ("w",))


def test_a_batch_axis_needs_no_name(tmp_path: Path) -> None:
    whole = parse("plain (float[N, 2] x) => (float[N, 2] y) { y = Neg(x) }")
    whole.graph.input[0].type.tensor_type.shape.dim[0].Clear()
    assert read(whole, tmp_path).graph.tensors["y"].shape == (-1, 2)


def test_local_functions_are_taken_apart(tmp_path: Path) -> None:
    whole = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 17, "own" : 1]>
        calls (float[N, 2] x) => (float[N, 2] y) { y = own.twice(x) }
        <domain: "own", opset_import: ["" : 17]>
        twice (a) => (c) { b = Relu(a) \n c = Add(b, b) }"""
    )
    assert [one.kind for one in read(whole, tmp_path).graph.operators] == ["Relu", "Add"]


def test_the_hash_covers_external_data(tmp_path: Path) -> None:
    whole = parse("far (float[N, 64] x) => (float[N, 64] y) { y = MatMul(x, w) }", {"w": random(64, 64)})
    feeds = {"x": random(2, 64)}
    hashes = set()
    for change in (0, 1):
        whole.graph.initializer[0].raw_data = (random(64, 64) + np.float32(change)).tobytes()
        expected = run(whole, feeds)["y"]
        path = tmp_path / str(change) / "far.onnx"
        path.parent.mkdir()
        copy = onnx.ModelProto.FromString(whole.SerializeToString())
        onnx.save(copy, path, save_as_external_data=True, location="far.bin", size_threshold=0)
        model = read_onnx(path)
        np.testing.assert_array_equal(run(model.proto, feeds)["y"], expected)
        files = path.read_bytes() + (path.parent / "far.bin").read_bytes()
        assert model.sha256 == hashlib.sha256(files).hexdigest()
        hashes.add(model.sha256)
    assert len(hashes) == 2


def test_a_reshape_that_reads_the_batch_needs_no_shape(tmp_path: Path) -> None:
    model = read(reshape(), tmp_path)
    assert nodes_of(model, "flat") == ["Reshape"]
    # Of the shape arithmetic nothing is left but the target, two int64.
    assert [one.parameter_bytes for one in model.graph.operators if one.kind == "Reshape"] == [16]


def test_a_token_for_every_sample_reads_the_batch_next_to_its_use(tmp_path: Path) -> None:
    model = read(class_token(), tmp_path)
    assert nodes_of(model, "tokens") == ["Shape", "Gather", "Mul", "Add", "Expand"]
    kinds = [one.kind for one in model.graph.operators]
    assert kinds == ["Relu", "Neg", "Tanh", "Softmax", "Expand", "Concat", "Mul"]


def test_a_batch_merged_with_another_axis_has_several_rows_a_sample(tmp_path: Path) -> None:
    model = read(heads(), tmp_path)
    merged = model.graph.tensors["merged"]
    assert (merged.shape, merged.rows_per_sample, merged.bytes_per_sample) == ((-1, 3, 4), 2, 96)
    assert merged.shape_at(3) == (6, 3, 4)
    assert nodes_of(model, "wide") == ["Expand"]  # the batch is there already: stretched by 1


def test_the_batch_need_not_come_first(tmp_path: Path) -> None:
    tensors = read(recurrent(), tmp_path).graph.tensors
    assert tensors["timed"].shape == (3, -1, 4)
    assert tensors["timed"].shape_at(2) == (3, 2, 4)
    assert tensors["state"] == Tensor("state", "float32", (1, -1, 2), True, 8)


def test_computed_weights_go_with_each_user(tmp_path: Path) -> None:
    model = read(computed_weights(), tmp_path)
    assert [nodes_of(model, name) for name in "abcdy"] == [
        ["Relu"],
        ["Transpose", "MatMul"],
        ["Transpose", "MatMul"],
        ["DequantizeLinear", "MatMul"],  # int8 stays int8 in the file and in memory
        ["Mul"],
    ]
    assert [one.parameter_bytes for one in model.graph.operators] == [0, 64, 64, 16 + 4, 4]


def test_a_large_constant_is_made_where_it_is_used(tmp_path: Path) -> None:
    model = read(mask(), tmp_path)
    assert nodes_of(model, "y") == ["ConstantOfShape", "Trilu", "Add"]
    assert model.proto.ByteSize() < 4900  # the mask has 4900 elements


def test_a_shape_that_is_an_output_is_an_operator(tmp_path: Path) -> None:
    whole = parse("shape (float[N, 2] x) => (float[N, 2] y, int64[2] s) { y = Relu(x) \n s = Shape(y) }")
    model = read(whole, tmp_path)
    assert [one.kind for one in model.graph.operators] == ["Relu", "Shape"]
    assert model.graph.tensors["s"] == Tensor("s", "int64", (2,), False, 16)


def test_shape_arithmetic_that_is_not_linear_in_the_batch_still_runs(tmp_path: Path) -> None:
    """Half the batch, rounded up, is not linear in the batch: the operator stays, and gives the same as before."""
    whole = parse(
        """halves (float[N, 4] x) => (float[N, 4] y) {
            a = Relu(x)
            shape = Shape(a)
            n = Gather<axis = 0>(shape, zero)
            half = Div(n, two)
            real = Cast<to = 1>(half)
            y = Mul(a, real)
        }""",
        {"zero": np.array(0), "two": np.array(2)},
    )
    model = read(whole, tmp_path)
    assert [one.kind for one in model.graph.operators] == ["Relu", "Div", "Cast", "Mul"]
    for batch in (1, 2, 5):
        feeds = random_inputs(model, batch)
        np.testing.assert_array_equal(run(model.proto, feeds)["y"], run(whole, feeds)["y"])


@pytest.mark.parametrize("opset", [7, 9, 11, 13, 15, 18, 21])
def test_opsets_old_and_new(opset: int, tmp_path: Path) -> None:
    """The attributes and inputs of Squeeze and Clip changed sides over time; both forms must evaluate."""
    header = HEADER.replace("17", str(opset))
    body = "x) => (float[N, 4] y) { s = Shape(x) \n n = Gather<axis = 0>(s, zero) \n one = Unsqueeze"
    form = "<axes = [0]>(n)" if opset < 13 else "(n, axis)"
    text = f"{header} opsets (float[N, 2, 2] {body}{form} \n t = Concat<axis = 0>(one, four) \n y = Reshape(x, t) }}"
    whole = onnx.parser.parse_model(text)
    weights = {"zero": np.array(0), "axis": np.array([0]), "four": np.array([4])}
    whole.graph.initializer.extend(onnx.numpy_helper.from_array(v, k) for k, v in weights.items())
    model = read(whole, tmp_path)
    assert [one.kind for one in model.graph.operators] == ["Reshape"]


def test_packed_weights_count_half_a_byte(tmp_path: Path) -> None:
    whole = onnx.parser.parse_model(
        HEADER.replace("17", "21").replace(": 8", ": 10")
        + "packed (float[N, 4] x) => (float[N, 3] y) { w = DequantizeLinear(q, s) \n y = MatMul(x, w) }"
    )
    packed = helper.make_tensor("q", TensorProto.INT4, [4, 3], list(range(-6, 6)))
    scale = helper.make_tensor("s", TensorProto.FLOAT, [], [0.5])
    whole.graph.initializer.extend([packed, scale])
    assert read(whole, tmp_path).graph.operators[0].parameter_bytes == 6 + 4
