"""Kinds of models at the edge of the server: fixed batches, strings, shapes that are not what they should be."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import onnx
import onnx.parser
import pytest
from onnx import numpy_helper

pytest.importorskip("zmq")

from served_chain import ServedChain, assert_close, reference

from penstock.errors import BadInputError
from penstock.graph.reading.onnx_reader import OnnxModel, read_onnx
from penstock.graph.reading.options import parse_read_options
from penstock.record import Outcome
from penstock.serve.executor.make import make_executor
from penstock.serve.gateway.ledger import Ledger, Waiting
from penstock.serve.messages import Assign, BatchHeader, RouteStep, Share
from penstock.serve.protocol.documents import model_config, model_metadata
from penstock.serve.protocol.errors import ProtocolError
from penstock.serve.protocol.infer import Tensor
from penstock.serve.spec import TensorSpec
from penstock.serve.transport import Group


def model(text: str, folder: Path, *dims: str, **weights: np.ndarray) -> OnnxModel:
    proto = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]>\n{text}')
    proto.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in weights.items())
    path = folder / "m.onnx"
    path.write_bytes(proto.SerializeToString())
    return read_onnx(path, parse_read_options(dims))


def numbers(*shape: int) -> np.ndarray:
    return np.random.default_rng(3).standard_normal(shape, dtype=np.float32)


def test_a_fixed_batch_of_1_takes_n_samples_as_n_runs(tmp_path: Path) -> None:
    """The oracle: each sample alone through the file."""
    text = "g (float[1, 4] x) => (float[1, 2] y) { a = MatMul(x, w) \n y = Relu(a) }"
    chain = ServedChain(model(text, tmp_path, w=numbers(4, 2)), (0, 1, 2), tmp_path / "stages")
    assert chain.spec.models[0].inputs[0].shape == (-1, 4)
    x = numbers(3, 4)
    alone = [reference(tmp_path / "m.onnx", {"x": x[k : k + 1]})["y"] for k in range(3)]
    assert_close(chain.infer([{"x": x}])[0], {"y": np.concatenate(alone)})


def test_a_model_without_a_batch_takes_one_run_a_request(tmp_path: Path) -> None:
    """Time was taken for a batch, and is fixed now: 5 steps in, 5 out."""
    chain = ServedChain(
        model(
            "g (float[t, 4] x) => (float[t, 4] y) { y = CumSum(x, zero) }", tmp_path, "t=5", zero=np.array(0)
        ),
        (0, 1),
        tmp_path / "stages",
    )
    x = numbers(5, 4)
    assert_close(chain.infer([{"x": x}])[0], {"y": np.cumsum(x, 0)})
    with pytest.raises(ProtocolError, match=r"input 'x' has shape \[5, 4\], got \[6, 4\]"):
        chain.infer([{"x": numbers(6, 4)}])


def test_strings_pass_through_two_stages(tmp_path: Path) -> None:
    chain = ServedChain(
        model("g (string[N] x) => (string[N] y) { a = Identity(x) \n y = Identity(a) }", tmp_path),
        (0, 1, 2),
        tmp_path / "stages",
    )
    words = np.array(["één".encode(), b"two words", b""], dtype=object)
    ((answer,),) = chain.infer([{"x": words}])
    assert answer.datatype == "BYTES"
    assert answer.array.tolist() == words.tolist()


def test_strings_pass_through_segments_of_a_scheduled_device(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    from penstock.profile.segments.segmented import split_model

    one = model("g (string[N] x) => (string[N] y) { a = Identity(x) \n y = Identity(a) }", tmp_path)
    segments = split_model(one, (0, 1, 2), tmp_path)
    words = np.array(["één".encode(), b"b'"], dtype=object)
    assert segments.run(1, segments.run(0, {"x": words}))["y"].tolist() == words.tolist()
    with pytest.raises(BadInputError, match="tensor 'x' holds bytes that are not UTF-8"):
        segments.run(0, {"x": np.array([b"\xff"], dtype=object)})


def test_metadata_says_which_axis_is_the_batch(tmp_path: Path) -> None:
    text = "g (float[N, 4, 8] x, float t) => (float[4, N, 8] y) { a = Mul(x, t) \n y = Transpose<perm = [1, 0, 2]>(a) }"
    chain = ServedChain(model(text, tmp_path), (0, 1, 2), tmp_path / "stages")
    spec = chain.spec.models[0]
    told = model_metadata(spec)
    assert [one["shape"] for one in told["inputs"]] == [[-1, 4, 8], []]
    assert [one["shape"] for one in told["outputs"]] == [[4, -1, 8]]
    assert [one["dims"] for one in model_config(spec)["input"]] == [[4, 8], []]


def test_a_worker_refuses_a_model_of_other_shapes_when_it_starts(tmp_path: Path) -> None:
    chain = ServedChain(
        model("g (float[N, 4] x) => (float[N, 4] y) { y = Relu(x) }", tmp_path), (0, 1), tmp_path / "stages"
    )
    wrong = msgspec.structs.replace(chain.stages[0], computed=(TensorSpec("y", "FP32", (-1, 5)),))
    with pytest.raises(
        BadInputError, match=r"tensor 'y' has shape \[\d, 4\] for a batch of \d, but must have"
    ):
        make_executor(wrong)


def test_a_batch_of_other_shapes_fails_in_the_worker(tmp_path: Path) -> None:
    chain = ServedChain(
        model("g (float[N, 4] x) => (float[N, 4] y) { y = Relu(x) }", tmp_path), (0, 1), tmp_path / "stages"
    )
    chain.executors[0].run = lambda tensors, size: {"y": tensors["x"][:, :0]}
    with pytest.raises(BadInputError, match=r"tensor 'y' has shape \[1, 0\]"):
        chain.infer([{"x": numbers(1, 4)}])


@pytest.mark.parametrize("returned", [np.zeros(()), np.zeros(1), np.zeros(3), None])
def test_the_ledger_answers_every_request_of_a_batch_that_does_not_fit(returned: np.ndarray | None) -> None:
    """Two requests of one sample: whatever comes back, both are answered, and nothing is in flight."""
    ledger = Ledger(lambda request, now_us: None)
    ledger.dispatcher_up(0, 0)
    answers: list = []
    waiting = []
    for _ in range(2):
        one = Waiting(0, {}, ledger.admit(1), 1, 0, 100, answers.append)
        ledger.add(one)
        waiting.append(one)
    route = (RouteStep(0, "w"),)
    ledger.assign(Assign(0, 0, 0, (0, 1), route, (Share(0, 2, ""),), 100), 0)
    header = BatchHeader(0, 0, 0, route, 1, (), 0, 2, 0, 0, (2,), ())
    groups = [] if returned is None else [Group(2, [Tensor("y", "FP64", returned)])]
    ledger.result(header, groups, 1, (TensorSpec("y", "FP64", (-1,)),))
    assert [answer.http_status for answer in answers] == [500, 500]
    assert [one.outcome for one in waiting] == [Outcome.ERROR] * 2
    assert ledger.in_flight == 0


def test_a_shared_output_is_given_to_every_request(tmp_path: Path) -> None:
    """An output that hangs on the scalar only has no batch; two requests with different scalars get their own."""
    text = "g (float[N, 2] x, float t) => (float[N, 2] y, float u) { y = Mul(x, t) \n u = Neg(t) }"
    chain = ServedChain(model(text, tmp_path), (0, 1, 2), tmp_path / "stages")
    requests = [{"x": numbers(2, 2), "t": np.array(t, np.float32)} for t in (2.0, 3.0, 2.0)]
    for answer, place in zip(chain.infer(requests), (0, 2, 1), strict=True):
        assert_close(answer, reference(tmp_path / "m.onnx", requests[place]))


def test_a_profile_keeps_what_was_decided(tmp_path: Path) -> None:
    """The server reads the model with the lengths of the profile, and refuses what has another."""
    one = model("g (float[N, t] x) => (float[N, t] y) { y = Relu(x) }", tmp_path, "t=6")
    chain = ServedChain(one, (0, 1), tmp_path / "stages")
    assert chain.spec.models[0].inputs[0].shape == (-1, 6)
    with pytest.raises(ProtocolError, match=r"has shape \[-1, 6\]"):
        chain.infer([{"x": numbers(1, 7)}])
    assert replace(one).options.lengths == {"t": 6}
