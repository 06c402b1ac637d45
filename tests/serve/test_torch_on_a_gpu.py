"""The GPU's branches of the torch executor on a device that is made up (:mod:`fake_cuda`): graphs, staging, waits."""

# ruff: noqa: E402 - what is not installed skips the module

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("zmq")

from serve_cases import WIDTH, skip_profile, write_skip_model

import fake_cuda
from penstock.errors import BadInputError
from penstock.runtime import torch_runner
from penstock.runtime.device_errors import is_out_of_memory, is_poisoned
from penstock.runtime.settings import RuntimeSettings
from penstock.runtime.torch_runner import TorchRunner
from penstock.serve.boundaries import boundaries_of
from penstock.serve.executor.make import make_executor
from penstock.serve.scheduled.device_models import write_segments
from penstock.serve.scheduled.on_torch.graph_segments import GraphSegments
from penstock.serve.scheduled.on_torch.load import torch_segments
from penstock.serve.spec import StageSpec, TensorSpec
from penstock.zoo import build
from penstock.zoo.catalogue import CATALOGUE

GPU = RuntimeSettings(kind="torch", device="cuda:0")


@pytest.fixture(autouse=True)
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_cuda.install(monkeypatch)


def draw(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def far(made: np.ndarray, wanted: np.ndarray) -> float:
    assert made.shape == wanted.shape
    return float(np.abs(made - wanted).max() / np.abs(wanted).max())


@pytest.mark.parametrize(
    ("precision", "most"), [("fp32", 1e-4), ("tf32", 1e-4), ("fp16", 0.02)], ids=["fp32", "tf32", "fp16"]
)
def test_a_real_model_in_graphs_of_two_sizes_that_take_turns(precision: Any, most: float) -> None:
    """Both graphs share the memory of their activations. In 16 bits, rounding is 1e-3 and adds up over 26 layers."""
    name = "squeezenet1_1"
    model = build(name, seed=0, image_size=CATALOGUE[name].smallest_image_size)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    runner = TorchRunner(model, RuntimeSettings(kind="torch", device="cuda:0", precision=precision))
    size = CATALOGUE[name].smallest_image_size
    for turn, batch in enumerate((1, 3, 1, 3)):
        feeds = {runner.inputs[0]: draw(turn, batch, 3, size, size)}
        (made,) = runner.run(feeds).values()
        assert made.dtype == np.float32
        assert far(made, session.run(None, feeds)[0]) < most


class TestStaged:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        return write_skip_model(tmp_path / "skip.onnx")

    def test_fewer_rows_run_in_a_larger_graph(self, path: Path) -> None:
        runner = TorchRunner(path, GPU)
        staged = runner.staged([draw(0, 4, WIDTH)])
        staged.run([draw(1, 4, WIDTH)])
        x = draw(2, 3, WIDTH)
        made = dict(zip(runner.outputs, staged.run([x], 3), strict=True))
        np.testing.assert_allclose(made["double"], 2 * x, rtol=1e-6)

    def test_results_keep_their_memory(self, path: Path) -> None:
        """The next run must not write over what was given out."""
        runner = TorchRunner(path, GPU)
        first, second = draw(1, 2, WIDTH), draw(2, 2, WIDTH)
        kept = runner.run({"x": first})["double"]
        runner.run({"x": second})
        np.testing.assert_allclose(kept, 2 * first, rtol=1e-6)

    @pytest.mark.parametrize("direct_bytes", [1, 1 << 40], ids=["from where it is", "through pinned memory"])
    def test_every_way_in(self, path: Path, monkeypatch: pytest.MonkeyPatch, direct_bytes: int) -> None:
        """Writable, read-only, in another order, and in the pinned memory itself; three runs, one after the other."""
        monkeypatch.setattr(torch_runner, "DIRECT_BYTES", direct_bytes)
        runner = TorchRunner(path, GPU)
        staged = runner.staged([draw(0, 2, WIDTH)])
        for seed in range(3):
            x = draw(seed, 2, WIDTH)
            fixed, turned, place = x.copy(), np.asfortranarray(x), staged.place(0, 2)
            fixed.flags.writeable = False
            place[:] = x
            for one in (x, fixed, turned, place):
                made = dict(zip(runner.outputs, staged.run([one]), strict=True))
                np.testing.assert_allclose(made["double"], 2 * x, rtol=1e-6)

    def test_a_bound_run_is_timed_by_the_device(self, path: Path) -> None:
        """On this device a launch takes a millisecond."""
        assert TorchRunner(path, GPU).bind({"x": draw(0, 2, WIDTH)}).run() == 1000.0

    def test_memory_is_of_the_largest_run(self, path: Path) -> None:
        runner = TorchRunner(path, GPU)
        runner.run({"x": draw(0, 2, WIDTH)})
        use = runner.memory()
        assert use is not None
        assert use.weights_bytes > 0
        assert use.activation_bytes + use.workspace_bytes == 4096


def test_an_error_during_a_capture_is_told_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of such a capture fails too, and its error says nothing. The runner can be used afterwards."""
    runner = TorchRunner(write_skip_model(tmp_path / "skip.onnx"), GPU)
    x = draw(0, 2, WIDTH)
    with monkeypatch.context() as failing:
        failing.setattr(fake_cuda.CUDAGraph, "end_fails", True)
        failing.setattr(fake_cuda._Recording, "__torch_dispatch__", _no_memory)
        with pytest.raises(RuntimeError, match="out of memory") as caught:
            runner.run({"x": x})
    assert is_out_of_memory(caught.value)
    assert not is_poisoned(caught.value)
    np.testing.assert_allclose(runner.run({"x": x})["double"], 2 * x, rtol=1e-6)


def _no_memory(*arguments: Any, **options: Any) -> Any:
    raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")


def stage(file: Path, width: int = WIDTH, batch: int = 5, rows: int = 1) -> StageSpec:
    x = TensorSpec("x", "FP32", (-1, WIDTH), rows)
    made = tuple(TensorSpec(name, "FP32", (-1, width), rows) for name in ("double", "sum"))
    latency_us = (0, *[1] * batch)
    return StageSpec(0, 0, (0, 1), "torch", (x,), made, (), latency_us, model_file=str(file), runtime=GPU)


def test_an_executor_runs_every_size_in_the_next_larger_graph(tmp_path: Path) -> None:
    """Captured are 1, 2, 3, 4, 6 and 7."""
    file = write_skip_model(tmp_path / "skip.onnx")
    session = onnxruntime.InferenceSession(file)
    executor = make_executor(stage(file, batch=7))
    for size in (7, 5, 1, 6, 2):
        x = draw(size, size, WIDTH)
        place = executor.place("x", size)
        assert place is not None
        assert place.shape == x.shape
        place[:] = x
        for given in (x, place):
            made = executor.run({"x": given}, size)
            for name, wanted in zip(("double", "sum"), session.run(["double", "sum"], {"x": x}), strict=True):
                np.testing.assert_allclose(made[name], wanted, rtol=1e-5, atol=1e-6)


def test_no_request_waits_for_a_capture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sample of two rows: such a batch cannot be filled up, so every size has a graph of its own from the start."""
    executor = make_executor(stage(write_skip_model(tmp_path / "skip.onnx"), rows=2))

    def too_late(graph: Any, **options: Any) -> None:
        raise AssertionError("captured while a request waited")

    monkeypatch.setattr(fake_cuda.CUDAGraph, "capture_begin", too_late)
    for size in range(1, 6):
        x = draw(size, 2 * size, WIDTH)
        np.testing.assert_allclose(executor.run({"x": x}, size)["double"], 2 * x, rtol=1e-6)


def test_outputs_of_another_shape_are_refused_before_the_first_request(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"'double' has shape .* but must have"):
        make_executor(stage(write_skip_model(tmp_path / "skip.onnx"), width=WIDTH + 1))


def test_segments_in_turns_are_graphs_on_buffers_of_their_own(tmp_path: Path) -> None:
    """Two jobs begin before either ends. A job of three samples has no graph, and runs operator by operator."""
    path = write_skip_model(tmp_path / "skip.onnx")
    cuts = boundaries_of(skip_profile(path))
    files, _, forwarded = write_segments(cuts, (0, 1, 2, 4), tmp_path, "skip")
    runner = torch_segments("skip", files, forwarded, cuts.inputs, GPU, 2)
    assert isinstance(runner, GraphSegments)
    session = onnxruntime.InferenceSession(path)
    inputs = [draw(seed, 1, WIDTH) for seed in (1, 2)]
    begun = [runner.run(1, runner.run(0, {"x": x})) for x in inputs]
    ended = [runner.run(2, one) for one in reversed(begun)]
    x = draw(3, 3, WIDTH)
    together = runner.run(2, runner.run(1, runner.run(0, {"x": x})))
    for made, given in ((ended[1], inputs[0]), (ended[0], inputs[1]), (together, x)):
        for name, wanted in zip(("double", "sum"), session.run(["double", "sum"], {"x": given}), strict=True):
            np.testing.assert_allclose(made[name], wanted, rtol=1e-5, atol=1e-6)


def test_the_benchmark_sees_a_run_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    from gpu_parts.executor import ours

    found = ours(TorchRunner(write_skip_model(tmp_path / "skip.onnx"), GPU), draw(0, 2, WIDTH), 0.01)
    assert list(found["parts"]) == ["to device", "device", "from device"]
    assert found["joined in place is equal"]
    assert found["device"]["samples_per_s"] > 0
    sys.modules.pop("gpu_parts.executor")
