"""Device classes by name: peak rates, memory bandwidth and size, from the vendor's data sheets.

Rates are dense: where a data sheet states a rate "with sparsity", half of it stands here.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

from penstock.errors import BadInputError


@dataclass(frozen=True)
class DeviceSpec:
    """Peaks of one device. Rates in 1e12 floating-point operations a second, bandwidth in 1e9 bytes a second.

    ``tf32_tflops`` and ``fp16_tflops`` are of the tensor cores, None where the device has none for that
    precision. ``memory_gb`` is in 1e9 bytes, as sold.
    """

    name: str
    fp32_tflops: float
    tf32_tflops: float | None
    fp16_tflops: float | None
    bandwidth_gbytes_per_s: float
    memory_gb: float
    source: str


_SPECS = (
    DeviceSpec("P4", 5.5, None, None, 192, 8, "NVIDIA Tesla P4 data sheet, 2016"),
    DeviceSpec(
        "T4", 8.1, None, 65, 320, 16, "NVIDIA T4 70W low profile PCIe GPU accelerator, product brief, 2019"
    ),
    DeviceSpec("V100", 15.7, None, 125, 900, 16, "NVIDIA V100 data sheet, 2020, SXM2 16 GB"),
    DeviceSpec("L4", 30.3, 60, 121, 300, 24, "NVIDIA L4 data sheet, 2023; tensor rates halved to dense"),
    DeviceSpec("A10", 31.2, 62.5, 125, 600, 24, "NVIDIA A10 data sheet, 2021"),
    DeviceSpec("A100", 19.5, 156, 312, 2039, 80, "NVIDIA A100 data sheet, 2021, SXM4 80 GB"),
    DeviceSpec(
        "H100", 67, 494.5, 989.5, 3350, 80, "NVIDIA H100 data sheet, 2024, SXM5; tensor rates halved to dense"
    ),
    DeviceSpec(
        "H200",
        67,
        494.5,
        989.5,
        4800,
        141,
        "NVIDIA H200 data sheet, 2024, SXM5; tensor rates halved to dense",
    ),
)

CPU_CORE = DeviceSpec(
    "CPU core", 0.1, None, None, 10, 8, "a server core of the 2020s with 512-bit FMA at 3 GHz, rounded"
)
"""Not for prediction: it stands for this machine where blocks to be measured here are balanced beforehand."""

CATALOGUE = MappingProxyType({spec.name: spec for spec in _SPECS})


def device_spec(name: str) -> DeviceSpec:
    """The entry of ``name``; :class:`BadInputError` lists the names where there is none."""
    try:
        return CATALOGUE[name]
    except KeyError:
        raise BadInputError(
            f"device class {name!r} is not in the catalogue (it has {', '.join(CATALOGUE)}). "
            f"Choose one of those, or measure on the device with --device-class."
        ) from None
