"""Which provider, with which options, and which settings go together: no device is needed to know."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from penstock.device import cuda_order
from penstock.errors import BadInputError
from penstock.runtime import onnx_runner
from penstock.runtime.onnx_runner import (
    TF32_SWITCH,
    OnnxRunner,
    _switch_tf32,
    choose_provider,
    provider_options,
)
from penstock.runtime.onnx_session import engine_folder, kept_graph
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
    def options(name: str, engines: Path | None = None, **settings: str) -> dict[str, str]:
        chosen = RuntimeSettings(device="cuda:1", **settings)  # type: ignore[arg-type]
        return provider_options(f"{name}ExecutionProvider", chosen, engines)

    assert options("CUDA") == {"device_id": "1", "use_tf32": "0"}
    assert options("CUDA", precision="tf32")["use_tf32"] == "1"
    assert options("Tensorrt", precision="fp16")["trt_fp16_enable"] == "1"
    assert "trt_engine_cache_path" not in options("Tensorrt")
    kept = options("Tensorrt", Path("/engines/fp32/abc"))
    assert kept["trt_engine_cache_path"] == "/engines/fp32/abc"
    assert kept["trt_timing_cache_path"] == "/engines/fp32"
    # Behind TensorRT, for the operators that TensorRT has not: in the types that they are written in.
    assert options("CUDA", precision="fp16") == {"device_id": "1", "use_tf32": "0"}
    assert options("OpenVINO") == {"device_type": "GPU.1", "precision": "FP32"}
    assert options("OpenVINO", precision="fp16")["precision"] == "FP16"
    for name in ("OpenVINO", "MIGraphX"):
        with pytest.raises(BadInputError, match="'tf32' is a format of NVIDIA's devices"):
            options(name, precision="tf32")


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


def write_product(path: Path, width: int = 16, seed: int = 0) -> Path:
    """``y = relu(x w)``."""
    weight = np.random.default_rng(seed).normal(size=(width, width)).astype(np.float32)
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


class Onnxruntime:
    """The package as a build for NVIDIA shows itself; of its providers those in ``starts`` start."""

    __version__ = "1.32.0"
    GraphOptimizationLevel = SimpleNamespace(ORT_DISABLE_ALL=0)

    def __init__(self, starts: Sequence[str], has: Sequence[str] = GPU_BUILD) -> None:
        self._starts, self._has = starts, has
        self.preloads = 0
        self.asked: dict[str, dict[str, str]] = {}
        self.fallback = 1
        self.bound: list[tuple[str, str, str, int]] = []

    def get_available_providers(self) -> list[str]:
        return list(self._has)

    def preload_dlls(self) -> None:
        self.preloads += 1

    def SessionOptions(self) -> Any:  # noqa: N802 - its name in the package
        return SimpleNamespace(add_session_config_entry=lambda key, value: None)

    def InferenceSession(  # noqa: N802 - its name in the package
        self, path: str, options: Any, providers: list[tuple[str, dict[str, str]]], enable_fallback: int
    ) -> Any:
        self.asked, self.fallback = dict(providers), enable_fallback
        for chosen in self.asked.values():
            for name in ("trt_engine_cache_path", "trt_timing_cache_path"):
                if name in chosen:  # the provider makes the folder itself, if its parent is there
                    Path(chosen[name]).mkdir(exist_ok=True)
        started = [*(name for name in self.asked if name in self._starts), CPU_BUILD[0]]
        one = SimpleNamespace(name="x"), SimpleNamespace(name="y")
        return SimpleNamespace(
            get_providers=lambda: started,
            get_inputs=lambda: one[:1],
            get_outputs=lambda: one[1:],
            io_binding=lambda: self,
            run_with_iobinding=lambda binding: None,
        )

    # A binding, and a value on a device.
    @property
    def OrtValue(self) -> Any:  # noqa: N802 - its name in the package
        return SimpleNamespace(ortvalue_from_numpy=lambda array, kind, index: (kind, index))

    def bind_ortvalue_input(self, name: str, value: tuple[str, int]) -> None:
        self.bound.append(("in", name, *value))

    def bind_cpu_input(self, name: str, array: np.ndarray) -> None:
        self.bound.append(("in", name, "cpu", 0))

    def bind_output(self, name: str, kind: str = "cpu", index: int = 0) -> None:
        self.bound.append(("out", name, kind, index))


class TestProvidersThatStart:
    """On the package as a machine with a GPU has it."""

    @pytest.fixture
    def model(self, tmp_path: Path) -> Path:
        return write_product(tmp_path / "product.onnx")

    def opened(
        self, monkeypatch: pytest.MonkeyPatch, runtime: Onnxruntime, model: Path, **settings: Any
    ) -> OnnxRunner:
        monkeypatch.setattr(onnx_runner, "import_onnxruntime", lambda: runtime)
        monkeypatch.setenv(TF32_SWITCH, "1")
        return OnnxRunner(model, RuntimeSettings(device="cuda:0", **settings))

    def test_behind_tensorrt_stands_cuda_and_nobody_else(
        self, monkeypatch: pytest.MonkeyPatch, model: Path
    ) -> None:
        """Else the operators that TensorRT has not would run on the CPU; and onnxruntime's own fallback is off."""
        runtime = Onnxruntime(GPU_BUILD[:2])
        runner = self.opened(monkeypatch, runtime, model)
        assert list(runtime.asked) == ["TensorrtExecutionProvider", "CUDAExecutionProvider"]
        assert (runner.in_words, runtime.fallback, runtime.preloads) == (
            "onnxruntime (TensorrtExecutionProvider)",
            0,
            1,
        )

    def test_a_build_whose_tensorrt_is_not_installed_computes_on_cuda_and_says_so(
        self, monkeypatch: pytest.MonkeyPatch, model: Path
    ) -> None:
        runner = self.opened(monkeypatch, Onnxruntime(["CUDAExecutionProvider"]), model)
        assert runner.in_words == "onnxruntime (CUDAExecutionProvider)"
        with pytest.raises(
            BadInputError, match="could not start TensorrtExecutionProvider, and would compute"
        ):
            self.opened(monkeypatch, Onnxruntime(["CUDAExecutionProvider"]), model, provider="tensorrt")
        with pytest.raises(BadInputError, match="needs a model in float16"):
            self.opened(monkeypatch, Onnxruntime(["CUDAExecutionProvider"]), model, precision="fp16")

    @pytest.mark.parametrize("starts", [[], ["TensorrtExecutionProvider"]])
    def test_work_is_never_left_to_the_cpu(
        self, monkeypatch: pytest.MonkeyPatch, model: Path, starts: list[str]
    ) -> None:
        with pytest.raises(BadInputError, match=r"CUDAExecutionProvider, and would compute on .*CPU"):
            self.opened(monkeypatch, Onnxruntime(starts), model)

    def test_inputs_lie_on_the_device_if_it_is_nvidias(
        self, monkeypatch: pytest.MonkeyPatch, model: Path
    ) -> None:
        x = {"x": np.zeros((1, 16), np.float32)}
        on_cuda = Onnxruntime(["CUDAExecutionProvider"])
        runner = self.opened(monkeypatch, on_cuda, model, provider="cuda")
        runner.bind(x).run()
        assert on_cuda.bound == [("in", "x", "cuda", 0), ("out", "y", "cuda", 0)]
        migraphx = Onnxruntime(["MIGraphXExecutionProvider"], ["MIGraphXExecutionProvider", *CPU_BUILD])
        self.opened(monkeypatch, migraphx, model).bind(x).run()
        assert migraphx.bound == [("in", "x", "cpu", 0), ("out", "y", "cpu", 0)]
        assert migraphx.preloads == 0

    def test_engines_of_new_weights_are_not_those_of_the_old_ones(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """TensorRT's provider knows an engine by names, which a model that was trained again keeps. The folder of a
        cache that is not there yet is made too."""
        runtime = Onnxruntime(GPU_BUILD[:2])
        cache = tmp_path / "not" / "there"
        folders = []
        for seed in (0, 1, 0):
            model = write_product(tmp_path / "product.onnx", seed=seed)
            self.opened(monkeypatch, runtime, model, cache=str(cache))
            folders.append(Path(runtime.asked["TensorrtExecutionProvider"]["trt_engine_cache_path"]))
        assert folders[0] == folders[2] != folders[1]
        assert all(folder.parent == cache / "fp32" for folder in folders)
        settings = RuntimeSettings(device="cuda", cache=str(cache), precision="tf32")
        other = engine_folder(settings, model, "TensorrtExecutionProvider", "1.32.0")
        assert other is not None
        assert other.parent == cache / "tf32"
        assert engine_folder(settings, model, "CUDAExecutionProvider", "1.32.0") is None


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


def test_cuda_counts_devices_as_the_driver_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """Left alone, it begins with the fastest: a profile of cuda:0 would bear the name of the first on the bus."""
    monkeypatch.delenv(cuda_order.ORDER, raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    cuda_order.number_as_the_driver_does()
    assert os.environ[cuda_order.ORDER] == "PCI_BUS_ID"
    assert RuntimeSettings(device="cuda:0").driver_name == 0
    monkeypatch.setenv(cuda_order.ORDER, "FASTEST_FIRST")
    cuda_order.number_as_the_driver_does()
    assert os.environ[cuda_order.ORDER] == "FASTEST_FIRST"
    with pytest.raises(
        BadInputError, match="device 0: CUDA_DEVICE_ORDER=FASTEST_FIRST numbers devices in another"
    ):
        _ = RuntimeSettings(device="cuda:0").driver_name
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-abc")
    assert RuntimeSettings(device="cuda:0").driver_name == "GPU-abc"


def test_few_batch_sizes_are_captured_the_largest_among_them() -> None:
    assert captured_batches(1) == (1,)
    assert captured_batches(5) == (1, 2, 3, 4, 5)
    assert captured_batches(64) == (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
    assert captured_batches(200)[-3:] == (64, 128, 200)
    with pytest.raises(BadInputError, match="must be >= 1"):
        captured_batches(0)
