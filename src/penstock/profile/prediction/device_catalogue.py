"""Device classes by name: peak rates, memory bandwidth and size, from the vendor's data sheets.

Rates are dense: if a data sheet states a rate "with sparsity", half of it is used here.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

from penstock.errors import BadInputError


@dataclass(frozen=True)
class DeviceSpec:
    """Peaks of one device. Rates in 1e12 operations a second, bandwidth in 1e9 bytes a second.

    ``tf32_tflops`` and ``fp16_tflops`` are of the tensor cores, ``int8_tops`` of whatever does 8-bit products; None
    where the device has none, or its data sheet states none. ``memory_gb`` is in 1e9 bytes, as sold. ``cache_mb`` is
    the L2 cache in 1e6 bytes, from the architecture's white paper (Pascal, Turing, Volta, Ampere, Ada, Hopper).
    """

    name: str
    fp32_tflops: float
    tf32_tflops: float | None
    fp16_tflops: float | None
    bandwidth_gbytes_per_s: float
    memory_gb: float
    source: str
    int8_tops: float | None = None
    cache_mb: float = 0.0


_SPECS = (
    DeviceSpec("P4", 5.5, None, None, 192, 8, "NVIDIA Tesla P4 data sheet, 2016", int8_tops=22, cache_mb=2),
    DeviceSpec(
        "T4",
        8.1,
        None,
        65,
        320,
        16,
        "NVIDIA T4 70W low profile PCIe GPU accelerator, product brief, 2019",
        int8_tops=130,
        cache_mb=4,
    ),
    DeviceSpec(
        "V100",
        15.7,
        None,
        125,
        900,
        16,
        "NVIDIA V100 data sheet, 2020, SXM2 16 GB",
        int8_tops=None,
        cache_mb=6,
    ),
    DeviceSpec(
        "L4",
        30.3,
        60,
        121,
        300,
        24,
        "NVIDIA L4 data sheet, 2023; tensor rates halved to dense",
        int8_tops=242.5,
        cache_mb=48,
    ),
    DeviceSpec("A10", 31.2, 62.5, 125, 600, 24, "NVIDIA A10 data sheet, 2021", int8_tops=250, cache_mb=6),
    DeviceSpec("A30", 10.3, 82, 165, 933, 24, "NVIDIA A30 data sheet, 2021", int8_tops=330, cache_mb=24),
    DeviceSpec(
        "L40S",
        91.6,
        183,
        362,
        864,
        48,
        "NVIDIA L40S data sheet, 2023; dense tensor rates as stated",
        int8_tops=733,
        cache_mb=96,
    ),
    DeviceSpec(
        "A100",
        19.5,
        156,
        312,
        2039,
        80,
        "NVIDIA A100 data sheet, 2021, SXM4 80 GB",
        int8_tops=624,
        cache_mb=40,
    ),
    DeviceSpec(
        "H100",
        67,
        494.5,
        989.5,
        3350,
        80,
        "NVIDIA H100 data sheet, 2024, SXM5; tensor rates halved to dense",
        int8_tops=1979,
        cache_mb=50,
    ),
    DeviceSpec(
        "H200",
        67,
        494.5,
        989.5,
        4800,
        141,
        "NVIDIA H200 data sheet, 2024, SXM5; tensor rates halved to dense",
        int8_tops=1979,
        cache_mb=50,
    ),
)

CPU_CORE = DeviceSpec(
    "CPU core", 0.1, None, None, 10, 8, "a server core of the 2020s with 512-bit FMA at 3 GHz, rounded"
)
"""Not for prediction. It stands for this machine when blocks are balanced before they are measured here."""

CATALOGUE = MappingProxyType({spec.name: spec for spec in _SPECS})


def device_spec(name: str) -> DeviceSpec:
    """The entry of ``name``; :class:`BadInputError` lists the names if there is none."""
    try:
        return CATALOGUE[name]
    except KeyError:
        raise BadInputError(
            f"device class {name!r} is not in the catalogue (it has {', '.join(CATALOGUE)}). "
            f"Choose one of those, or measure on the device with --device-class."
        ) from None
