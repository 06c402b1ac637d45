"""Files that cannot be served: each fault has its own message, and random bytes give a message and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from graph_builder import parse, random, read
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from small_models import SMALL_MODELS, branches, reshape

from penstock.errors import BadInputError
from penstock.graph.reading.onnx_reader import read_onnx


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def matmul() -> onnx.ModelProto:
    return parse("small (float[N, 4] x) => (float[N, 4] y) { y = MatMul(x, w) }", {"w": random(4, 4)})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"version: 1\ncluster: {}\n", "is not ONNX, or is cut short .23 bytes"),
        (b"\x08\x08", "holds no operators"),
        (branches().SerializeToString()[:-20], "is cut short"),
    ],
)
def test_files_that_are_not_onnx(content: bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=message):
        read_onnx(write(tmp_path / "m.onnx", content))


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="no such file"):
        read_onnx(tmp_path / "m.onnx")
    with pytest.raises(BadInputError, match="is a folder"):
        read_onnx(tmp_path)


def save_with_data_outside(folder: Path) -> Path:
    path = folder / "far.onnx"
    onnx.save(matmul(), path, save_as_external_data=True, location="far.bin", size_threshold=0)
    return path


def test_external_data_missing_or_short(tmp_path: Path) -> None:
    path = save_with_data_outside(tmp_path)
    data = tmp_path / "far.bin"
    data.write_bytes(data.read_bytes()[:40])
    with pytest.raises(
        BadInputError, match=r"'w' ends at byte 64 of the external file 'far.bin', which has 40"
    ):
        read_onnx(path)
    data.unlink()
    with pytest.raises(
        BadInputError, match=r"weight 'w' is in the external file 'far.bin', which is missing"
    ):
        read_onnx(path)


def test_external_data_may_not_lie_outside_the_models_folder(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    path = save_with_data_outside(folder)
    (folder / "far.bin").rename(tmp_path / "far.bin")
    proto = onnx.load(path, load_external_data=False)
    (entry,) = (each for each in proto.graph.initializer[0].external_data if each.key == "location")
    entry.value = "../far.bin"
    with pytest.raises(BadInputError, match=r"'../far.bin'.*outside the directory. Copy"):
        read_onnx(write(path, proto.SerializeToString()))


def with_opset(version: int, domain: str = "") -> onnx.ModelProto:
    proto = matmul()
    del proto.opset_import[:]
    proto.opset_import.append(helper.make_opsetid(domain, version))
    return proto


def with_node(**changes: str) -> onnx.ModelProto:
    proto = matmul()
    for name, value in changes.items():
        setattr(proto.graph.node[0], name, value)
    proto.opset_import.append(helper.make_opsetid("com.example", 1))
    return proto


def with_ir_version(version: int) -> onnx.ModelProto:
    proto = matmul()
    proto.ir_version = version
    return proto


def with_short_weight() -> onnx.ModelProto:
    proto = matmul()
    proto.graph.initializer[0].raw_data = proto.graph.initializer[0].raw_data[:-1]
    return proto


def with_inputs(*lengths: str | int | None, kind: int = TensorProto.FLOAT) -> onnx.ModelProto:
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"], "copy")],
        "free",
        [helper.make_tensor_value_info("x", kind, lengths)],
        [helper.make_tensor_value_info("y", kind, [1])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


FAULTS: dict[str, tuple[Callable[[], onnx.ModelProto], str]] = {
    "opset too new": (lambda: with_opset(9999), "has opset 9999, but opsets 7 to"),
    "opset too old": (lambda: with_opset(6), "has opset 6, but opsets 7 to .*version_converter"),
    "no opset": (lambda: with_opset(1, "com.example"), "'ai.onnx', of which the file imports no opset"),
    "IR too new": (lambda: with_ir_version(99), "has IR version 99"),
    "unknown domain": (
        lambda: with_node(domain="com.example", op_type="Fast"),
        "'Fast' .* of domain 'com.example', opset 1, is unknown",
    ),
    "unknown operator": (lambda: with_node(op_type="MatMull"), "'MatMull' .* of domain 'ai.onnx', opset 17"),
    "short weight": (with_short_weight, r"weight 'w' has shape \[4, 4\], but not as much data"),
    "free height": (
        lambda: with_inputs("batch", 3, "height"),
        r"input 'x': axis 2 \('height'\) is free, but only the batch may be.* --dim height=",
    ),
    "unnamed free axis": (
        lambda: with_inputs("batch", None),
        r"input 'x': axis 1 \(unnamed\) is free.* --dim 1=",
    ),
    "length -1": (lambda: with_inputs(4, -1), r"input 'x': axis 1 \(unnamed\) is free.* --dim 1="),
    "several free axes": (
        lambda: with_inputs("batch", 3, "height", "?"),
        r"--dim height=224 --dim 3=224",
    ),
    "cycle": (
        lambda: parse("cycle (float[N] x) => (float[N] y) { a = Add(x, b) \n b = Neg(a) \n y = Neg(b) }"),
        "breaks a rule of ONNX: .*topologically sorted",
    ),
    "shapes that clash": (
        lambda: parse("clash (float[N, 3] x) => (float[N, 3] y) { y = MatMul(x, w) }", {"w": random(4, 4)}),
        r"MatMul.* does not fit its inputs \{'x': \[2, 3\], 'w': \[4, 4\]\}",
    ),
    "batch written into a reshape": (
        lambda: parse(
            "traced (float[N, 4] x) => (float[1, 2, 2] y) { y = Reshape(x, s) }", {"s": np.array([1, 2, 2])}
        ),
        "Reshape.* does not fit its inputs .*at batch 2.*sample a run with --dim N=1",
    ),
    "loop": (
        lambda: parse(
            """loop (float[N] x, int64 n, bool c) => (float[N] y) {
                y = Loop(n, c, x) <body = b (int64 i, bool k, float[N] a) => (bool k2, float[N] d) {
                    k2 = Identity(k)
                    d = Neg(a) }>
            }"""
        ),
        r"Loop. has a subgraph, whose cost depends on data",
    ),
    "shape from data": (
        lambda: parse("data (float[N, 3] x) => (int64[M, K] y) { y = NonZero(x) }"),
        "'y' of operator 'NonZero_0' .* depends on data",
    ),
    "batch squared": (
        lambda: parse(
            "square (float[N, 3] x) => (float[N, M] y) { t = Transpose<perm = [1, 0]>(x) \n y = MatMul(x, t) }"
        ),
        r"tensor 'y' is \[2, 2\] at batch 2, \[3, 3\] at batch 3.*not proportional.*sample a run with --dim N=1",
    ),
    "control flow": (
        lambda: parse(
            """flow (float[N] x, bool c) => (float[N] y) {
                y = If(c) <then_branch = t () => (float[N] a) { a = Neg(x) },
                           else_branch = e () => (float[N] b) { b = Abs(x) }>
            }"""
        ),
        "If.* chooses a subgraph by data.*--input c=VALUE",
    ),
    "sequence": (
        lambda: parse(
            "seq (float[N, 2] x) => (float[M] y) { s = SequenceConstruct(x) \n y = ConcatFromSequence<axis=0>(s) }"
        ),
        "'s' of operator .* is not a tensor",
    ),
    "constant output": (
        lambda: parse(
            "fixed (float[N] x) => (float[N] y, float[2] c) { y = Neg(x) \n c = Constant<value_floats = [1.0, 2.0]>() }"
        ),
        "output 'c' is a constant",
    ),
}


@pytest.mark.parametrize(("build", "message"), FAULTS.values(), ids=FAULTS)
def test_each_fault_has_its_own_message(
    build: Callable[[], onnx.ModelProto], message: str, tmp_path: Path
) -> None:
    path = write(tmp_path / "faulty.onnx", build().SerializeToString())
    with pytest.raises(BadInputError, match=message) as caught:
        read_onnx(path)
    assert str(caught.value).startswith(f"{path}: ")


@given(
    name=st.sampled_from(sorted(SMALL_MODELS)),
    keep=st.floats(0.5, 1),
    flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=4),
)
@settings(max_examples=150, deadline=None)
def test_damaged_files_give_a_model_or_an_error_of_ours(
    name: str, keep: float, flips: list[tuple[float, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = bytearray(SMALL_MODELS[name]().SerializeToString())
    content = content[: round(keep * len(content))]
    for place, value in flips:
        content[int(place * len(content))] = value
    path = tmp_path_factory.getbasetemp() / "damaged.onnx"
    try:
        model = read_onnx(write(path, bytes(content)))
    except BadInputError as error:
        assert str(error).startswith(str(path))
    else:
        assert model.graph.operators


def test_reading_leaves_the_file_as_it_is(tmp_path: Path) -> None:
    content = reshape().SerializeToString()
    read(reshape(), tmp_path, "kept")
    assert (tmp_path / "kept.onnx").read_bytes() == content
