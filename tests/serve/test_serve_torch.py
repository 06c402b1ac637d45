"""The torch executor in a server's worker, on a CPU: the same answers as onnxruntime, and what it cannot take."""

# ruff: noqa: E402 - what is not installed skips the module

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("zmq")

from serve_cases import WIDTH, skip_profile, write_plan, write_skip_model

from penstock.errors import BadInputError
from penstock.runtime.settings import RuntimeSettings
from penstock.serve.executor.make import make_executor
from penstock.serve.local_server import LocalServer
from penstock.serve.protocol.infer import HEADER_LENGTH, InferRequest, Tensor, decode_response, encode_request
from penstock.serve.spec import StageSpec, TensorSpec


def stage(file: Path, datatype: str = "FP32") -> StageSpec:
    x = TensorSpec("x", datatype, (-1, WIDTH))
    made = tuple(TensorSpec(name, "FP32", (-1, WIDTH)) for name in ("double", "sum"))
    torch = RuntimeSettings(kind="torch")
    return StageSpec(0, 0, (0, 1), "torch", (x,), made, (), (0, 1, 1, 1), model_file=str(file), runtime=torch)


@pytest.mark.parametrize("samples", [1, 2, 3])
def test_an_executor_computes_what_onnxruntime_does(tmp_path: Path, samples: int) -> None:
    file = write_skip_model(tmp_path / "skip.onnx")
    x = np.random.default_rng(samples).normal(size=(samples, WIDTH)).astype(np.float32)
    wanted = onnxruntime.InferenceSession(file).run(["double", "sum"], {"x": x})
    executor = make_executor(stage(file))
    made = executor.run({"x": x}, samples)
    for name, array in zip(("double", "sum"), wanted, strict=True):
        np.testing.assert_allclose(made[name], array, rtol=1e-5, atol=1e-6)
    assert executor.place("x", samples) is None  # pinned memory is a GPU's


def test_what_torch_cannot_exchange_is_refused(tmp_path: Path) -> None:
    file = write_skip_model(tmp_path / "skip.onnx")
    with pytest.raises(BadInputError, match="'x' is BYTES, which the torch executor cannot"):
        make_executor(stage(file, "BYTES"))


def test_a_device_that_is_not_there_is_refused_not_replaced(tmp_path: Path) -> None:
    """There is no GPU 99 anywhere."""
    from penstock.runtime.torch_runner import TorchRunner

    with pytest.raises(BadInputError, match=r"device 'cuda:99': torch .* sees"):
        TorchRunner(write_skip_model(tmp_path / "skip.onnx"), RuntimeSettings(kind="torch", device="cuda:99"))


@pytest.mark.slow
def test_a_plan_of_two_stages_is_served(tmp_path: Path) -> None:
    from urllib.request import Request, urlopen

    file = write_skip_model(tmp_path / "skip.onnx")
    plan = write_plan(tmp_path, skip_profile(file), (0, 2, 4), slo_us=20_000_000)
    x = np.random.default_rng(0).normal(size=(3, WIDTH)).astype(np.float32)
    wanted = onnxruntime.InferenceSession(file).run(["double", "sum"], {"x": x})
    message = encode_request(InferRequest((Tensor("x", "FP32", x),), binary_default=True))
    with LocalServer(plan, ["--executor", "torch", "--overhead-us", "60000"]) as server:
        request = Request(
            f"{server.url}/v2/models/skip/infer",
            data=message.body(),
            headers={HEADER_LENGTH: str(message.header_length)},
        )
        with urlopen(request, timeout=30) as answer:
            made = decode_response(answer.read(), int(answer.headers[HEADER_LENGTH]))
    found = {tensor.name: tensor.array for tensor in made.outputs}
    for name, array in zip(("double", "sum"), wanted, strict=True):
        np.testing.assert_allclose(found[name], array, rtol=1e-5, atol=1e-6)
