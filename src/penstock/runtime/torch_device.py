"""torch's device for given settings, and the switches of precision that are the process's own."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from penstock.device.cuda_order import number_as_the_driver_does
from penstock.errors import BadInputError, MissingExtraError
from penstock.runtime.settings import RuntimeSettings


def import_torch(purpose: str = "the torch executor") -> Any:
    """The module, or :class:`MissingExtraError` that names the extra and the ``purpose``."""
    try:
        import torch
    except ImportError:
        raise MissingExtraError(purpose, "torch") from None
    return torch


def open_device(settings: RuntimeSettings) -> Any:
    """The ``torch.device`` of ``settings``.

    Raises :class:`BadInputError` if torch sees no such device: never another one in its place.
    """
    torch = import_torch()
    if settings.device == "cpu":
        return torch.device("cpu")
    number_as_the_driver_does()
    seen = torch.cuda.device_count() if torch.cuda.is_available() else 0
    device = torch.device(settings.device if ":" in settings.device else "cuda:0")
    if device.index >= seen:
        built_for = torch.version.cuda or "the CPU only"
        raise BadInputError(
            f"device {settings.device!r}: torch {torch.__version__} (built for {built_for}) sees {seen} GPUs. "
            f"Check the number, CUDA_VISIBLE_DEVICES and the driver, or use --device cpu."
        )
    apply_switches(settings)
    return device


def apply_switches(settings: RuntimeSettings) -> None:
    """Switch TF32 and cuDNN's autotuning for the whole process; a captured graph keeps what it was captured with."""
    torch = import_torch()
    is_tf32 = settings.precision == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = is_tf32
    torch.backends.cudnn.allow_tf32 = is_tf32
    torch.backends.cudnn.benchmark = settings.autotune


def end_failed_capture(graph: Any) -> None:
    """Give the stream back after an error. The end of the capture may fail in its turn, and would hide that error."""
    with suppress(RuntimeError):
        graph.capture_end()


def describe_torch(settings: RuntimeSettings) -> str:
    """Versions, for a profile's provenance."""
    torch = import_torch()
    parts = [f"torch {torch.__version__}"]
    if settings.device != "cpu":
        parts += [f"CUDA {torch.version.cuda}", f"cuDNN {torch.backends.cudnn.version()}"]
    return ", ".join(parts)
