"""Which execution providers of onnxruntime serve which vendor, best first."""

from __future__ import annotations

from types import MappingProxyType

from penstock.device.facts import Vendor

PROVIDERS: MappingProxyType[Vendor, tuple[str, ...]] = MappingProxyType(
    {
        "nvidia": ("TensorrtExecutionProvider", "CUDAExecutionProvider"),
        "amd": ("MIGraphXExecutionProvider", "ROCMExecutionProvider"),
        "intel": ("OpenVINOExecutionProvider",),
    }
)
"""By vendor. Each comes with its own build of onnxruntime (onnxruntime-gpu, -migraphx, -openvino)."""


def available_providers() -> tuple[str, ...]:
    """The providers of the installed onnxruntime in its own order; empty if it is not installed."""
    try:
        import onnxruntime
    except ImportError:
        return ()
    return tuple(onnxruntime.get_available_providers())
