"""A sub-model in onnxruntime, on the first execution provider for the device that starts, or on the one asked for.

onnxruntime itself falls back to the CPU in silence, when a provider is missing or fails to start. Here that is an
error: a profile or a server on the wrong processor is worse than none. Operators that a provider cannot run are
another matter: onnxruntime gives them to the CPU, and its Python interface does not tell.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, final

from penstock.device.cuda_order import number_as_the_driver_does
from penstock.errors import BadInputError
from penstock.runtime.onnx_session import (
    engine_folder,
    import_onnxruntime,
    kept_graph,
    open_kept,
    session_options,
)
from penstock.runtime.runner import Array
from penstock.runtime.settings import RuntimeSettings

IN_ORDER = {
    "cuda": (
        "TensorrtExecutionProvider",
        "CUDAExecutionProvider",
        "MIGraphXExecutionProvider",
        "OpenVINOExecutionProvider",
    ),
    "cpu": ("CPUExecutionProvider",),
}
"""Faster ones first; a device of torch's name ``cuda`` is also what torch calls an AMD GPU."""

_NEEDS_NO_BINDING = frozenset({"CPUExecutionProvider"})
_OF_NVIDIA = ("TensorrtExecutionProvider", "CUDAExecutionProvider")


def choose_provider(settings: RuntimeSettings, available: tuple[str, ...]) -> str:
    """The provider to use, by its full name.

    ``settings.provider`` may leave out ``ExecutionProvider`` and the case: ``tensorrt``, ``cuda``, ``openvino``.
    Raises :class:`BadInputError` that lists what this onnxruntime has, if the wanted one is not there.
    """
    if settings.provider is not None:
        wanted = settings.provider.lower().removesuffix("executionprovider")
        for name in available:
            if name.lower().removesuffix("executionprovider") == wanted:
                return name
        asked = settings.provider
    else:
        for name in IN_ORDER[settings.device_kind]:
            if name in available:
                return name
        asked = " or ".join(IN_ORDER[settings.device_kind])
    raise BadInputError(
        f"onnxruntime has no provider {asked} for device {settings.device!r} (it has {', '.join(available)}). "
        f"Install a build that has it (such as onnxruntime-gpu), choose another --provider, or use "
        f"--executor torch."
    )


def providers_in_order(settings: RuntimeSettings, available: tuple[str, ...]) -> tuple[str, ...]:
    """The chosen provider, and behind TensorRT the one for CUDA, which takes the operators that TensorRT has not.

    Without it, these would run on the CPU in silence. Raises as :func:`choose_provider` does.
    """
    first = choose_provider(settings, available)
    at = _OF_NVIDIA.index(first) if first in _OF_NVIDIA else len(_OF_NVIDIA)
    return (first, *(name for name in _OF_NVIDIA[at + 1 :] if name in available))


def provider_options(name: str, settings: RuntimeSettings, engines: Path | None = None) -> dict[str, str]:
    """The options of provider ``name`` for the device and the precision; ``engines`` is where it keeps engines.

    Raises :class:`BadInputError` for a precision that the provider has not.
    """
    _, _, number = settings.device.partition(":")
    index = number or "0"
    half = settings.precision == "fp16"
    if settings.precision == "tf32" and name not in _OF_NVIDIA:
        raise BadInputError(
            f"precision 'tf32' is a format of NVIDIA's devices, and {name} is not for these. Use fp32 or fp16."
        )
    if name == "TensorrtExecutionProvider":
        options = {"device_id": index, "trt_fp16_enable": "1" if half else "0"}
        if engines is not None:
            options |= {
                "trt_engine_cache_enable": "1",
                "trt_engine_cache_path": str(engines),
                # How fast each kernel is depends on no weights: all models share what was found out.
                "trt_timing_cache_enable": "1",
                "trt_timing_cache_path": str(engines.parent),
            }
        return options
    if name == "CUDAExecutionProvider":
        return {"device_id": index, "use_tf32": "1" if settings.precision == "tf32" else "0"}
    if name == "MIGraphXExecutionProvider":
        options = {"device_id": index, "migraphx_fp16_enable": "1" if half else "0"}
        return options if engines is None else {**options, "migraphx_model_cache_dir": str(engines)}
    if name == "OpenVINOExecutionProvider":
        device = "CPU" if settings.device == "cpu" else f"GPU.{index}"
        # Said always: on a GPU, OpenVINO computes in 16 bits if nothing is said.
        options = {"device_type": device, "precision": "FP16" if half else "FP32"}
        return options if engines is None else {**options, "cache_dir": str(engines)}
    return {}


TF32_SWITCH = "NVIDIA_TF32_OVERRIDE"
"""0: no library of NVIDIA uses TF32 in this process, whatever it is told. Read when the libraries start."""


def _switch_tf32(provider: str, settings: RuntimeSettings) -> None:
    """TensorRT uses TF32 unless the environment forbids it: no option of its provider does."""
    if provider != "TensorrtExecutionProvider":
        return
    if settings.precision == "fp32":
        os.environ[TF32_SWITCH] = "0"
    elif settings.precision == "tf32" and os.environ.get(TF32_SWITCH) == "0":
        raise BadInputError(
            f"precision 'tf32': {TF32_SWITCH}=0 forbids TF32 in this process. Unset it, or use --precision fp32."
        )


def _refuse_half(name: str, settings: RuntimeSettings) -> None:
    """``name``: the provider that computes. One behind it takes operators in the types that they are written in."""
    if settings.precision == "fp16" and name in ("CUDAExecutionProvider", "CPUExecutionProvider"):
        raise BadInputError(
            f"{name} runs a model in the types it is written in, so precision 'fp16' needs a model in float16. "
            f"Convert the model, or use --provider tensorrt or --executor torch."
        )


@final
class OnnxRunner:
    """See :class:`penstock.runtime.runner.Runner`."""

    def __init__(self, model: Path, settings: RuntimeSettings) -> None:
        runtime = import_onnxruntime()
        order = providers_in_order(settings, tuple(runtime.get_available_providers()))
        engines = engine_folder(settings, model, order[0], runtime.__version__)
        providers = [(name, provider_options(name, settings, engines)) for name in order]
        _switch_tf32(order[0], settings)
        if order[0] in _OF_NVIDIA:
            number_as_the_driver_does()
            _find_libraries(runtime)
        kept = kept_graph(settings, model, order[0], runtime.__version__)
        try:
            self._session = open_kept(runtime, session_options(runtime, settings), model, kept, providers)
        except Exception as error:  # its exception types have no public common base
            where = f"{kept}, made of {model}" if kept is not None and kept.exists() else str(model)
            raise BadInputError(f"{where}: onnxruntime cannot load it on {order[0]}: {error}") from error
        self.provider = _started(model, order, self._session.get_providers(), settings)
        _refuse_half(self.provider, settings)
        self.inputs = tuple(one.name for one in self._session.get_inputs())
        self.outputs = tuple(one.name for one in self._session.get_outputs())
        # The device's own memory by its name in onnxruntime; other vendors' providers copy by themselves.
        on_nvidia = settings.device != "cpu" and self.provider in _OF_NVIDIA
        self._device = ("cuda", _index(settings)) if on_nvidia else ("cpu", 0)

    @property
    def in_words(self) -> str:
        """The runtime, and its provider if it is not the usual one on a CPU."""
        return "onnxruntime" if self.provider in _NEEDS_NO_BINDING else f"onnxruntime ({self.provider})"

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by name."""
        if self.provider in _NEEDS_NO_BINDING:
            made = self._session.run(None, {name: feeds[name] for name in self.inputs})
        else:
            binding = self._bind_inputs(feeds)
            for name in self.outputs:
                binding.bind_output(name)
            self._session.run_with_iobinding(binding)
            made = binding.copy_outputs_to_cpu()
        return dict(zip(self.outputs, made, strict=True))

    def bind(self, feeds: Mapping[str, Array]) -> BoundOnnx:
        """``feeds`` where the provider reads them."""
        if self.provider in _NEEDS_NO_BINDING:
            chosen = {name: feeds[name] for name in self.inputs}
            return BoundOnnx(lambda: self._session.run(None, chosen))
        binding = self._bind_inputs(feeds, *self._device)
        for name in self.outputs:
            binding.bind_output(name, *self._device)
        return BoundOnnx(lambda: self._session.run_with_iobinding(binding))

    def memory(self) -> None:
        """Onnxruntime's Python interface tells nothing of the arena's peak."""
        return

    def _bind_inputs(self, feeds: Mapping[str, Array], kind: str = "cpu", index: int = 0) -> Any:
        runtime = import_onnxruntime()
        binding = self._session.io_binding()
        for name in self.inputs:
            if kind == "cpu":
                binding.bind_cpu_input(name, feeds[name])
            else:
                value = runtime.OrtValue.ortvalue_from_numpy(feeds[name], kind, index)
                binding.bind_ortvalue_input(name, value)
        return binding


@final
class BoundOnnx:
    """See :class:`penstock.runtime.runner.BoundRun`."""

    def __init__(self, run: Callable[[], object]) -> None:
        self._run = run

    def run(self) -> None:
        """Run once; the call returns when the results are there."""
        self._run()


def _started(model: Path, order: tuple[str, ...], started: Sequence[str], settings: RuntimeSettings) -> str:
    """The first of ``order`` that started; of one that was asked for by name, that one.

    A build for NVIDIA has TensorRT's provider, also if TensorRT is not installed. Raises :class:`BadInputError` if a
    provider is missing that would leave work to the CPU.
    """
    first = order[0] if settings.provider is not None else next((n for n in order if n in started), order[0])
    missing = [name for name in order[order.index(first) :] if name not in started]
    if missing:
        raise BadInputError(
            f"{model}: onnxruntime could not start {' and '.join(missing)}, and would compute on "
            f"{', '.join(started)}. Its log above says why (most often a library of CUDA or cuDNN is missing); "
            f"or choose another --provider."
        )
    return first


def _find_libraries(runtime: Any) -> None:
    """Load CUDA and cuDNN from where pip put them, which is not where the system's loader looks.

    From onnxruntime 1.21 on. It prints what it does not find, and the session then says so too.
    """
    preload = getattr(runtime, "preload_dlls", None)
    if preload is not None:
        with redirect_stdout(sys.stderr):
            preload()


def _index(settings: RuntimeSettings) -> int:
    _, _, number = settings.device.partition(":")
    return int(number or 0)
