"""Which provider, with which options, and which settings go together: no device is needed to know."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from penstock.errors import BadInputError
from penstock.runtime.onnx_runner import (
    TF32_SWITCH,
    OnnxRunner,
    _switch_tf32,
    choose_provider,
    provider_options,
)
from penstock.runtime.onnx_session import kept_graph
from penstock.runtime.settings import RuntimeSettings, captured_batches

GPU_BUILD = ("TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider")
CPU_BUILD = ("CPUExecutionProvider",)
GPU = RuntimeSettings(device="cuda:1")


@pytest.mark.parametrize(
    ("settings", "available", "expected"),
    [
        (RuntimeSettings(), GPU_BUILD, "CPUExecutionProvider"),
        (GPU, GPU_BUILD, "TensorrtExecutionProvider"),
        (GPU, GPU_BUILD[1:], "CUDAExecutionProvider"),
        (RuntimeSettings(device="cuda", provider="cuda"), GPU_BUILD, "CUDAExecutionProvider"),
        (
            RuntimeSettings(device="cuda"),
            ("MIGraphXExecutionProvider", *CPU_BUILD),
            "MIGraphXExecutionProvider",
        ),
        (RuntimeSettings(provider="OpenVINO"), ("OpenVINOExecutionProvider",), "OpenVINOExecutionProvider"),
    ],
)
def test_the_first_provider_that_fits(
    settings: RuntimeSettings, available: tuple[str, ...], expected: str
) -> None:
    assert choose_provider(settings, available) == expected


@pytest.mark.parametrize("settings", [GPU, RuntimeSettings(provider="tensorrt")])
def test_a_provider_that_is_not_there_is_refused_never_replaced(settings: RuntimeSettings) -> None:
    with pytest.raises(BadInputError, match=r"has no provider .*it has CPUExecutionProvider"):
        choose_provider(settings, CPU_BUILD)


def test_precision_and_cache_reach_the_provider() -> None:
    def options(name: str, **settings: str) -> dict[str, str]:
        return provider_options(f"{name}ExecutionProvider", RuntimeSettings(device="cuda:1", **settings))  # type: ignore[arg-type]

    assert options("CUDA") == {"device_id": "1", "use_tf32": "0"}
    assert options("CUDA", precision="tf32")["use_tf32"] == "1"
    assert options("Tensorrt", precision="fp16")["trt_fp16_enable"] == "1"
    assert "trt_engine_cache_path" not in options("Tensorrt")
    assert options("Tensorrt", cache="/engines")["trt_engine_cache_path"] == "/engines/fp32"
    assert options("Tensorrt", cache="/engines", precision="tf32")["trt_timing_cache_path"] == "/engines/tf32"
    assert options("OpenVINO") == {"device_type": "GPU.1"}
    with pytest.raises(BadInputError, match="needs a model in float16"):
        options("CUDA", precision="fp16")


def test_tensorrt_uses_tf32_only_if_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its provider has no option for that, but NVIDIA's libraries have a switch in the environment."""
    monkeypatch.delenv(TF32_SWITCH, raising=False)
    tf32 = RuntimeSettings(device="cuda:0", precision="tf32")
    _switch_tf32("CUDAExecutionProvider", GPU)
    _switch_tf32("TensorrtExecutionProvider", tf32)
    assert TF32_SWITCH not in os.environ
    _switch_tf32("TensorrtExecutionProvider", GPU)
    assert os.environ[TF32_SWITCH] == "0"
    with pytest.raises(BadInputError, match="forbids TF32 in this process"):
        _switch_tf32("TensorrtExecutionProvider", tf32)


def write_product(path: Path, width: int = 16) -> Path:
    """``y = relu(x w)``."""
    weight = np.random.default_rng(0).normal(size=(width, width)).astype(np.float32)
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", width]) for name in ("x", "y"))
    nodes = [helper.make_node("MatMul", ["x", "w"], ["m"]), helper.make_node("Relu", ["m"], ["y"])]
    graph = helper.make_graph(nodes, "product", [x], [y], [numpy_helper.from_array(weight, "w")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


class TestKeptGraphs:
    """Engines and optimised graphs in a stated folder: written once, read by the next start."""

    def test_the_next_start_reads_what_the_first_one_kept(self, tmp_path: Path) -> None:
        model = write_product(tmp_path / "product.onnx")
        settings = RuntimeSettings(cache=str(tmp_path / "cache"))
        x = np.random.default_rng(0).normal(size=(2, 16)).astype(np.float32)
        first = OnnxRunner(model, settings)
        feeds = {first.inputs[0]: x}
        made = first.run(feeds)
        (kept,) = (tmp_path / "cache").iterdir()
        as_written = kept.stat().st_mtime_ns
        again = OnnxRunner(model, settings).run(feeds)
        assert kept.stat().st_mtime_ns == as_written
        for name, array in made.items():
            np.testing.assert_array_equal(again[name], array)
        kept.write_bytes(b"not a model")
        with pytest.raises(
            BadInputError, match=rf"{kept.name}, made of .*product.onnx: onnxruntime cannot load it"
        ):
            OnnxRunner(model, settings)

    def test_another_model_of_the_same_name_has_a_graph_of_its_own(self, tmp_path: Path) -> None:
        settings = RuntimeSettings(cache=str(tmp_path))
        names = set()
        for width in (16, 24):
            model = write_product(tmp_path / "product.onnx", width)
            names.add(kept_graph(settings, model, "CPUExecutionProvider", "1.32"))
        names.add(kept_graph(settings, model, "CPUExecutionProvider", "1.33"))
        names.add(kept_graph(settings, model, "CUDAExecutionProvider", "1.33"))
        assert len(names) == 4
        assert kept_graph(settings, model, "TensorrtExecutionProvider", "1.33") is None
        assert kept_graph(RuntimeSettings(), model, "CPUExecutionProvider", "1.33") is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"device": "tpu:0"}, "must be 'cpu', 'cuda' or 'cuda:N'"),
        ({"device": "cuda:x"}, "must be 'cpu', 'cuda' or 'cuda:N'"),
        ({"mode": "graph"}, "a CPU has no CUDA graphs"),
        ({"precision": "fp16"}, "is for a GPU"),
        ({"precision": "fp8", "device": "cuda"}, "precision 'fp8' is not one of"),
        ({"kind": "tvm"}, "executor 'tvm' is not one of"),
    ],
)
def test_settings_that_do_not_go_together(settings: dict[str, str], message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        RuntimeSettings(**settings)  # type: ignore[arg-type]


def test_the_driver_is_asked_for_the_device_that_cuda_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,GPU-abc")
    assert RuntimeSettings(device="cuda:0").driver_name == 3
    assert RuntimeSettings(device="cuda:1").driver_name == "GPU-abc"
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert RuntimeSettings(device="cuda:1").driver_name == 1


def test_few_batch_sizes_are_captured_the_largest_among_them() -> None:
    assert captured_batches(1) == (1,)
    assert captured_batches(5) == (1, 2, 3, 4, 5)
    assert captured_batches(64) == (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
    assert captured_batches(200)[-3:] == (64, 128, 200)
    with pytest.raises(BadInputError, match="must be >= 1"):
        captured_batches(0)
