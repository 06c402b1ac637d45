"""What is known of one accelerator of this machine. Plain data; None means that the driver does not tell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Vendor = Literal["nvidia", "amd", "intel"]
VENDORS: tuple[Vendor, ...] = get_args(Vendor)


@dataclass(frozen=True)
class MigInstance:
    """A slice of an NVIDIA device with memory and multiprocessors of its own: a device class of its own.

    ``profile`` is NVIDIA's name of the slice (``1g.10gb``), ``device_class`` that of the whole device and it. Memory is
    that of the instance, all of it and what is used.
    """

    uuid: str
    profile: str
    device_class: str
    memory_bytes: int | None
    memory_used_bytes: int | None
    multiprocessors: int | None


@dataclass(frozen=True)
class DeviceProcess:
    """Another process that computes on the device; ``name`` is empty where it may not be seen from here."""

    pid: int
    name: str
    memory_bytes: int | None


@dataclass(frozen=True)
class DeviceFacts:
    """One device, or one MIG instance (then ``parent_uuid`` names its device).

    ``index`` is the driver's number, ``device_class`` the name without the maker and the form it is sold in
    (``L4``, ``H100``, ``A100 MIG 1g.5gb``). ``uuid`` is the driver's identifier, or the PCI address where no
    driver tells one. ``provider`` is the execution provider of onnxruntime that would serve it. Clocks are in
    MHz, power in watts, ``energy_mj`` is the millijoules used since the driver was loaded. ``mps``: whether
    NVIDIA's multi-process service is running. ``note`` says why facts are missing.
    """

    vendor: Vendor
    index: int
    name: str
    device_class: str
    uuid: str
    provider: str
    pci_address: str = ""
    parent_uuid: str | None = None
    memory_bytes: int | None = None
    memory_used_bytes: int | None = None
    multiprocessors: int | None = None
    driver: str | None = None
    cuda: str | None = None
    sm_clock_mhz: int | None = None
    memory_clock_mhz: int | None = None
    max_sm_clock_mhz: int | None = None
    max_memory_clock_mhz: int | None = None
    power_w: float | None = None
    power_limit_w: float | None = None
    energy_mj: int | None = None
    temperature_c: int | None = None
    throttle_reasons: tuple[str, ...] = ()
    mps: bool = False
    mig: bool = False
    mig_instances: tuple[MigInstance, ...] = ()
    processes: tuple[DeviceProcess, ...] = ()
    note: str = ""

    @property
    def is_throttled(self) -> bool:
        """Whether something but idleness or a chosen clock holds the clocks down, so that timings are not typical."""
        return bool(set(self.throttle_reasons) - _HARMLESS)


_HARMLESS = frozenset({"idle", "application clocks", "display clocks"})
