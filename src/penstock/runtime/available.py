"""Which of the installed runtimes can compute on a GPU. The answer needs their import, not a device."""

from __future__ import annotations

from collections.abc import Sequence

from penstock.device.facts import Vendor
from penstock.device.providers import PROVIDERS, available_providers
from penstock.errors import BadInputError
from penstock.runtime.settings import RuntimeKind

_MAKERS: dict[Vendor, str] = {"nvidia": "NVIDIA", "amd": "AMD", "intel": "Intel"}


def default_gpu_runtime(
    device_class: str, vendors: Sequence[Vendor], *, by_turns: bool = False
) -> RuntimeKind:
    """onnxruntime if it was built with a provider for one of ``vendors``; else torch, if it was built for CUDA and
    NVIDIA is one of them.

    ``by_turns``: several models take turns on the device, which only torch does.

    Raises :class:`BadInputError` that says what each lacks: ``device_class`` is never computed on a CPU instead.
    """
    providers = available_providers()
    wanted = [name for vendor in vendors for name in PROVIDERS[vendor]]
    if not by_turns and set(wanted) & set(providers):
        return "onnxruntime"
    built_for = _torch_is_built_for()
    if built_for == "CUDA" and "nvidia" in vendors:
        return "torch"
    otherwise = f"or say otherwise with --device {device_class}=cpu or --executor {device_class}=emulated"
    if by_turns:
        raise BadInputError(
            f"device class {device_class!r}: models take turns on a GPU by torch only, but torch {built_for}. Install "
            f"torch for CUDA; {otherwise}."
        )
    has = f"has the providers {', '.join(providers)}" if providers else "is not installed"
    makers = " or ".join(_MAKERS[vendor] for vendor in vendors)
    built = "is built for CUDA" if built_for == "CUDA" else built_for
    install = f"a build of onnxruntime with {' or '.join(wanted)}"
    if "nvidia" in vendors:
        install += ", or torch for CUDA"
    raise BadInputError(
        f"device class {device_class!r} requires a device of {makers}, but nothing here computes on one: onnxruntime "
        f"{has}; torch {built}. Install {install}; {otherwise}."
    )


def _torch_is_built_for() -> str:
    try:
        import torch
    except ImportError:
        return "is not installed"
    return "CUDA" if torch.version.cuda is not None else f"{torch.__version__} is built for other devices"
