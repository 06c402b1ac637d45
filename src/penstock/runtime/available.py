"""Which of the installed runtimes can compute on an NVIDIA device. The answer needs their import, not a device."""

from __future__ import annotations

from penstock.device.providers import PROVIDERS, available_providers
from penstock.errors import BadInputError
from penstock.runtime.settings import RuntimeKind


def default_gpu_runtime(device_class: str, *, by_turns: bool = False) -> RuntimeKind:
    """onnxruntime if it was built with a provider for NVIDIA, else torch if it was built for CUDA.

    ``by_turns``: several models take turns on the device, which only torch does.

    Raises :class:`BadInputError` that says what each lacks: ``device_class`` is never computed on a CPU instead.
    """
    providers = available_providers()
    if not by_turns and set(PROVIDERS["nvidia"]) & set(providers):
        return "onnxruntime"
    built_for = _torch_is_built_for()
    if built_for == "CUDA":
        return "torch"
    if by_turns:
        raise BadInputError(
            f"device class {device_class!r}: models take turns on a GPU by torch only, but torch {built_for}. Install "
            f"torch for CUDA; or say otherwise with --device {device_class}=cpu or --executor {device_class}=emulated."
        )
    has = f"has the providers {', '.join(providers)}" if providers else "is not installed"
    raise BadInputError(
        f"device class {device_class!r} requires an NVIDIA device, but nothing here computes on one: onnxruntime "
        f"{has}; torch {built_for}. Install onnxruntime-gpu, or torch for CUDA; or say otherwise with "
        f"--device {device_class}=cpu or --executor {device_class}=emulated."
    )


def _torch_is_built_for() -> str:
    try:
        import torch
    except ImportError:
        return "is not installed"
    return "CUDA" if torch.version.cuda is not None else f"{torch.__version__} is built for other devices"
