"""What a file leaves open, and the options that settle it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from graph_builder import parse, random, run

from penstock.errors import BadInputError
from penstock.graph.reading.needed_nodes import inputs_that_choose
from penstock.graph.reading.onnx_reader import OnnxModel, read_onnx
from penstock.graph.reading.options import ReadOptions, parse_read_options


def read(
    proto: onnx.ModelProto, folder: Path, *dims: str, inputs: tuple[str, ...] = (), free: bool = False
) -> OnnxModel:
    path = folder / "m.onnx"
    onnx.save(proto, path)
    return read_onnx(path, parse_read_options(dims, inputs, free))


def shapes(model: OnnxModel, *names: str) -> list[tuple[int, ...]]:
    return [model.graph.tensors[name].shape for name in names or model.graph.inputs]


def image() -> onnx.ModelProto:
    return parse("image (float[N, 3, h, w] x) => (float[N, 3, h, w] y) { y = Relu(x) }")


def two_inputs() -> onnx.ModelProto:
    """Tokens of one length in both inputs; the second one's batch has another name."""
    return parse(
        "two (float[N, t, 4] a, float[M, t, 4] b) => (float[N, t, 4] y) { y = Add(a, b) }",
    )


def state() -> onnx.ModelProto:
    """A state [layers, batch, width] beside [batch, width], and a rate that belongs to no sample."""
    return parse(
        """state (float[batch, 4] x, float[2, batch, 4] h, int64 sr) => (float[batch, 4] y, float[2, batch, 4] hn) {
            sixteen = Constant<value_int = 16000>()
            is16 = Equal(sr, sixteen)
            half = Constant<value_float = 0.5>()
            z = If(is16) <then_branch = fast () => (float[batch, 4] p) { p = Mul(x, half) },
                          else_branch = slow () => (float[batch, 4] q) { q = Identity(x) }>
            hn = Add(h, z)
            y = ReduceSum<keepdims = 0>(hn, zero)
        }""",
        {"zero": np.array([0])},
    )


@pytest.mark.parametrize("dims", [("h=8", "w=6"), ("2=8", "3=6"), ("x:2=8", "w=6")])
def test_an_axis_is_fixed_by_name_by_number_or_by_both(dims: tuple[str, ...], tmp_path: Path) -> None:
    assert shapes(read(image(), tmp_path, *dims)) == [(-1, 3, 8, 6)]


def test_one_name_fixes_the_axis_in_every_input(tmp_path: Path) -> None:
    assert shapes(read(two_inputs(), tmp_path, "t=5")) == [(-1, 5, 4), (-1, 5, 4)]


def test_the_batch_may_be_fixed_too(tmp_path: Path) -> None:
    model = read(image(), tmp_path, "N=2", "h=8", "w=6")
    assert shapes(model, "x", "y") == [(2, 3, 8, 6), (2, 3, 8, 6)]
    assert not model.graph.is_batched


@pytest.mark.parametrize(
    ("dims", "message"),
    [
        (("depth=3", "h=8", "w=6"), r"--dim depth=3 names no free axis .*\(free: N\)"),
        (("h", "w=6"), "must be an axis and its length"),
        (("h=0",), "must be an axis and its length"),
        (("h=8", "h=9"), "--dim h has two lengths: 8 and 9"),
    ],
)
def test_a_length_that_fits_nothing_is_refused(dims: tuple[str, ...], message: str, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=message):
        read(image(), tmp_path, *dims)


def test_a_state_has_its_batch_where_the_name_says(tmp_path: Path) -> None:
    """The condition of If follows from the rate, so the branch for it is taken: x / 2 is added to both states."""
    model = read(state(), tmp_path, inputs=("sr=16000",))
    assert model.graph.inputs == ("x", "h")
    assert shapes(model, "x", "h", "hn", "y") == [(-1, 4), (2, -1, 4), (2, -1, 4), (-1, 4)]
    assert {operator.kind for operator in model.graph.operators} == {"Mul", "Add", "ReduceSum"}
    feeds = {"x": random(3, 4), "h": random(2, 3, 4)}
    made = run(model.proto, feeds)
    np.testing.assert_allclose(made["hn"], feeds["h"] + feeds["x"] / 2, rtol=1e-6)


def unnamed() -> onnx.ModelProto:
    """A state whose batch has no name, beside samples whose length has none."""
    proto = parse(
        "unnamed (float[A, B] x, float[2, C, 1] h) => (float[2, A, B] y) { y = Add(h, x) }",
    )
    for value in proto.graph.input:
        for dim in value.type.tensor_type.shape.dim:
            dim.ClearField("dim_param") if dim.dim_param else None
    return proto


def test_an_axis_without_a_name_can_be_declared_the_batch(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"--dim x:1=128 --dim h:1=128 \(or =batch for an axis"):
        read(unnamed(), tmp_path)
    model = read(unnamed(), tmp_path, "x:1=5", "h:1=batch")
    assert shapes(model, "x", "h", "y") == [(-1, 5), (2, -1, 1), (2, -1, 5)]


def test_the_other_value_takes_the_other_branch(tmp_path: Path) -> None:
    model = read(state(), tmp_path, inputs=("sr=8000",))
    feeds = {"x": random(3, 4), "h": random(2, 3, 4)}
    np.testing.assert_allclose(run(model.proto, feeds)["hn"], feeds["h"] + feeds["x"], rtol=1e-6)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("rate=1", "names no input .the model has x, h, sr"),
        ("sr=fast", "is not a int64 of shape"),
        ("sr=[1,2]", "is not a int64 of shape"),
        ("sr", "must be an input and its value"),
    ],
)
def test_a_value_that_fits_no_input_is_refused(value: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=message):
        read(state(), tmp_path, inputs=(value,))


def test_without_the_value_the_message_names_the_option(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"chooses a subgraph by data.* --input sr=VALUE"):
        read(state(), tmp_path)


def test_one_message_names_every_option_that_is_needed(tmp_path: Path) -> None:
    """It asked for the length, and only at the next try for the value."""
    proto = state()
    proto.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "samples"
    with pytest.raises(BadInputError, match=r"--dim samples=128 .*--input sr=VALUE\."):
        read(proto, tmp_path)
    with pytest.raises(BadInputError) as refused:
        read(proto, tmp_path, inputs=("sr=16000",))
    assert "--input" not in str(refused.value)
    assert shapes(read(proto, tmp_path, "samples=4", inputs=("sr=16000",)), "x") == [(-1, 4)]


def test_a_branch_that_the_shape_decides_needs_no_value() -> None:
    proto = parse(
        """shaped (float[batch, t] x, int64 c) => (float[batch, t] y) {
            s = Shape(x)
            two = Constant<value_ints = [2, 2]>()
            same = Equal(s, two)
            whole = ReduceMin<keepdims = 0>(same)
            y = If(whole) <then_branch = a () => (float[batch, t] p) { p = Relu(x) },
                           else_branch = b () => (float[batch, t] q) { q = Identity(x) }>
        }"""
    )
    assert inputs_that_choose(proto.graph) == []
    assert inputs_that_choose(state().graph) == ["sr"]


def fixed() -> onnx.ModelProto:
    """A batch of 1 that is written into the targets of two Reshape, once with an open length beside it."""
    return parse(
        """fixed (float[1, 6] x) => (float[1, 4] y) {
            a = Reshape(x, shape)
            b = Relu(a)
            c = Reshape(b, flat)
            y = MatMul(c, w)
        }""",
        {"shape": np.array([1, 2, 3]), "flat": np.array([1, -1]), "w": random(6, 4)},
    )


def test_a_fixed_batch_can_be_made_free(tmp_path: Path) -> None:
    """Three samples together give what each gives in the file."""
    model = read(fixed(), tmp_path, free=True)
    assert shapes(model, "x", "y") == [(-1, 6), (-1, 4)]
    x = random(3, 6)
    alone = [run(fixed(), {"x": x[k : k + 1]})["y"] for k in range(3)]
    np.testing.assert_allclose(run(model.proto, {"x": x})["y"], np.concatenate(alone), rtol=1e-5)


def test_a_batch_that_is_written_elsewhere_stays_fixed(tmp_path: Path) -> None:
    proto = parse(
        """tile (float[1, 2] x) => (float[1, 2] y) {
            a = Expand(x, shape)
            y = MatMul(a, w)
            }""",
        {"shape": np.array([5, 2]), "w": random(2, 2)},
    )
    with pytest.raises(BadInputError, match="written into the model elsewhere"):
        read(proto, tmp_path, free=True)
    assert not read(fixed(), tmp_path).graph.is_batched


def test_a_free_batch_needs_no_freeing(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="the batch is free already"):
        read(image(), tmp_path, "h=8", "w=8", free=True)


def test_nothing_asked_is_the_file_as_it_is() -> None:
    assert parse_read_options() == ReadOptions()
