"""A real server of a model whose batch is the second axis of the output, with a scalar that each request brings."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest
import tritonclient.http as triton
from onnx import numpy_helper
from serve_cases import write_plan
from served_chain import profile_of, reference

from penstock.graph.reading.onnx_reader import read_onnx
from penstock.profile.table import LatencyTable
from penstock.serve.local_server import LocalServer

pytestmark = pytest.mark.slow


def write_model(path: Path) -> Path:
    proto = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 17]>
        encoder (float[N, 3, 4] x, float gain) => (float[3, N, 4] y) {
            a = MatMul(x, w)
            b = Mul(a, gain)
            c = Tanh(b)
            y = Transpose<perm = [1, 0, 2]>(c) }"""
    )
    w = np.random.default_rng(0).standard_normal((4, 4), dtype=np.float32)
    proto.graph.initializer.append(numpy_helper.from_array(w, "w"))
    onnx.save(proto, path)
    return path


def ask(server: LocalServer, x: np.ndarray, gain: float) -> np.ndarray:
    client = triton.InferenceServerClient(server.url.removeprefix("http://"))
    tensors = []
    for name, array in (("x", x), ("gain", np.array(gain, np.float32))):
        tensor = triton.InferInput(name, array.shape, "FP32")
        tensor.set_data_from_numpy(array)
        tensors.append(tensor)
    try:
        return client.infer("encoder", tensors).as_numpy("y")
    finally:
        client.close()


def test_requests_of_different_gains_at_once(tmp_path: Path) -> None:
    """Eight requests at the same time, of 1 or 2 samples and two gains, through two stages in two processes."""
    path = write_model(tmp_path / "encoder.onnx")
    profile = profile_of(read_onnx(path), (0, 2, 4))
    table = LatencyTable(np.array([[1000, 1100, 1200, 1300]] * 2, np.int64))
    plan = write_plan(tmp_path, replace(profile, tables={("gpu", 1): table}), (0, 1, 2), slo_us=2_000_000)
    rng = np.random.default_rng(1)
    asked = [
        (rng.standard_normal((1 + k % 2, 3, 4), dtype=np.float32), (1.0, 3.0)[k % 3 == 0]) for k in range(8)
    ]
    with LocalServer(plan, ["--overhead-us", "60000"]) as server, ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda one: ask(server, *one), asked))
    for (x, gain), answer in zip(asked, answers, strict=True):
        wanted = reference(path, {"x": x, "gain": np.array(gain, np.float32)})["y"]
        np.testing.assert_allclose(answer, wanted, rtol=1e-5, atol=1e-6)
