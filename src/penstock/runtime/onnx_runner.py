"""A sub-model in onnxruntime, on the first execution provider that fits the device, or on the one asked for.

onnxruntime itself falls back to the CPU in silence, when a provider is missing or fails to start. Here that is an
error: a profile or a server on the wrong processor is worse than none.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, final

from penstock.errors import BadInputError
from penstock.runtime.onnx_session import import_onnxruntime, kept_graph, open_kept, session_options
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


def provider_options(name: str, settings: RuntimeSettings) -> dict[str, str]:
    """The options of provider ``name`` for the device, the precision and the cache folder."""
    _, _, number = settings.device.partition(":")
    index = number or "0"
    half = settings.precision == "fp16"
    cache = settings.cache
    if name == "TensorrtExecutionProvider":
        options = {"device_id": index, "trt_fp16_enable": "1" if half else "0"}
        if cache is not None:
            # The name of an engine says nothing of TF32.
            folder = str(Path(cache) / settings.precision)
            options |= {
                "trt_engine_cache_enable": "1",
                "trt_engine_cache_path": folder,
                "trt_timing_cache_enable": "1",
                "trt_timing_cache_path": folder,
            }
        return options
    if name == "CUDAExecutionProvider":
        _refuse_half(name, half)
        return {"device_id": index, "use_tf32": "1" if settings.precision == "tf32" else "0"}
    if name == "MIGraphXExecutionProvider":
        options = {"device_id": index, "migraphx_fp16_enable": "1" if half else "0"}
        return options if cache is None else {**options, "migraphx_model_cache_dir": cache}
    if name == "OpenVINOExecutionProvider":
        device = "CPU" if settings.device == "cpu" else f"GPU.{index}"
        return {"device_type": device, **({} if cache is None else {"cache_dir": cache})}
    _refuse_half(name, half)
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


def _refuse_half(name: str, half: bool) -> None:
    if half:
        raise BadInputError(
            f"{name} runs a model in the types it is written in, so precision 'fp16' needs a model in float16. "
            f"Convert the model, or use --provider tensorrt or --executor torch."
        )


@final
class OnnxRunner:
    """See :class:`penstock.runtime.runner.Runner`."""

    def __init__(self, model: Path, settings: RuntimeSettings) -> None:
        runtime = import_onnxruntime()
        self.provider = choose_provider(settings, tuple(runtime.get_available_providers()))
        providers = [(self.provider, provider_options(self.provider, settings))]
        _switch_tf32(self.provider, settings)
        kept = kept_graph(settings, model, self.provider, runtime.__version__)
        try:
            self._session = open_kept(runtime, session_options(runtime, settings), model, kept, providers)
            # Else a provider that fails at a run is replaced by the CPU in silence.
            self._session.disable_fallback()
        except Exception as error:  # its exception types have no public common base
            where = f"{kept}, made of {model}" if kept is not None and kept.exists() else str(model)
            raise BadInputError(f"{where}: onnxruntime cannot load it on {self.provider}: {error}") from error
        if self.provider not in self._session.get_providers():
            raise BadInputError(
                f"{model}: onnxruntime could not start {self.provider}, and would compute on "
                f"{', '.join(self._session.get_providers())}. Its log above says why (most often a library of "
                f"CUDA or cuDNN is missing); or choose another --provider."
            )
        self.inputs = tuple(one.name for one in self._session.get_inputs())
        self.outputs = tuple(one.name for one in self._session.get_outputs())
        self._device = ("cpu", 0) if settings.device == "cpu" else ("cuda", _index(settings))

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


def _index(settings: RuntimeSettings) -> int:
    _, _, number = settings.device.partition(":")
    return int(number or 0)
