"""Small models in ONNX's text form, and the running of whole and split ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
from onnx import numpy_helper

from penstock.graph.reading.onnx_reader import OnnxModel, read_onnx
from penstock.graph.split import SubModel

HEADER = '<ir_version: 8, opset_import: ["" : 17]>\n'


def parse(text: str, weights: Mapping[str, np.ndarray] | None = None) -> onnx.ModelProto:
    """A model from its text, header excluded, with ``weights`` as initializers."""
    proto = onnx.parser.parse_model(HEADER + text)
    proto.graph.initializer.extend(numpy_helper.from_array(v, k) for k, v in (weights or {}).items())
    return proto


def read(proto: onnx.ModelProto, folder: Path, name: str = "toy") -> OnnxModel:
    """``proto`` through a file."""
    path = folder / f"{name}.onnx"
    onnx.save(proto, path)
    return read_onnx(path)


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).standard_normal(shape, dtype=np.float32)


def random_inputs(model: OnnxModel, batch: int) -> dict[str, np.ndarray]:
    tensors = [model.graph.tensors[name] for name in model.graph.inputs]
    return {
        tensor.name: random(*(batch if length == -1 else length for length in tensor.shape), seed=seed)
        for seed, tensor in enumerate(tensors)
    }


def run(proto: onnx.ModelProto, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The outputs of ``proto`` by name; without fusion, so that a cut changes no rounding."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = [each.name for each in session.get_outputs()]
    taken = {each.name: feeds[each.name] for each in session.get_inputs()}
    return dict(zip(names, session.run(names, taken), strict=True))


def run_chain(parts: Sequence[SubModel], feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What comes out at the last boundary, each part seeing nothing but its own start boundary."""
    arriving = dict(feeds)
    for part in parts:
        assert set(arriving) == set(part.inputs)
        at_hand = {name: arriving[name] for name in part.forwarded}
        at_hand |= run(part.proto, arriving)
        arriving = {name: at_hand[name] for name in part.outputs}
    return arriving


def assert_same(found: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> None:
    assert set(found) == set(expected)
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name, strict=True)
