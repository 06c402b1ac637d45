"""Strings through an executor: the protocol's bytes become the model's text, and back."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from penstock.errors import BadInputError
from penstock.serve.executor.onnxruntime import OnnxRuntimeExecutor
from penstock.serve.spec import StageSpec, TensorSpec


@pytest.fixture(scope="module")
def executor(tmp_path_factory):
    """``joined = s + t``, as text."""
    names = [
        helper.make_tensor_value_info(name, TensorProto.STRING, ["N", 2]) for name in ("s", "t", "joined")
    ]
    graph = helper.make_graph(
        [helper.make_node("StringConcat", ["s", "t"], ["joined"])], "text", names[:2], names[2:]
    )
    path = tmp_path_factory.mktemp("text") / "text.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9), path)
    specs = {name: TensorSpec(name, "BYTES", (-1, 2)) for name in ("s", "t", "joined")}
    stage = StageSpec(
        0, 0, (0, 1), "onnxruntime", (specs["s"], specs["t"]), (specs["joined"],), (), (0, 1), str(path)
    )
    return OnnxRuntimeExecutor(stage)


def strings(*rows):
    array = np.empty((len(rows), 2), object)
    array[:] = rows
    return array


def test_bytes_in_and_out(executor):
    made = executor.run({"s": strings([b"a", "ä".encode()]), "t": strings([b"", b"c d"])}, 1)["joined"]
    assert made.tolist() == [[b"a", "äc d".encode()]]


def test_what_is_not_text_is_named(executor):
    with pytest.raises(BadInputError, match="'t' holds bytes that are not UTF-8"):
        executor.run({"s": strings([b"a", b"b"]), "t": strings([b"\xff", b"b"])}, 1)
