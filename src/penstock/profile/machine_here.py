"""What would measure, or compute, on this machine under given settings."""

from __future__ import annotations

import platform
from pathlib import Path

from penstock.device.discover import describe_device
from penstock.device.names import device_class_of
from penstock.errors import MissingExtraError, NoDriverError
from penstock.profile.measured_machine import Machine, installed_libraries, machine_of
from penstock.runtime.settings import RuntimeSettings
from penstock.runtime.torch_device import import_torch, open_device


def machine_at_hand(settings: RuntimeSettings) -> Machine:
    """What measures under ``settings``: the processor, or the GPU as its driver describes it just after work."""
    if settings.device == "cpu":
        return Machine(
            device_name=device_name(),
            device_class=device_name(),
            libraries=installed_libraries((settings.kind,)),
            executor=settings.in_words,
        )
    try:
        device = describe_device(settings.driver_name)
    except (MissingExtraError, NoDriverError):
        return _machine_without_driver(settings)
    return machine_of(device, executor=settings.in_words, precision=settings.precision)


def _machine_without_driver(settings: RuntimeSettings) -> Machine:
    """The GPU if NVML cannot be asked: its name, if torch tells it. Driver, clocks and power stay unknown."""
    name = "a GPU whose driver was not asked: pip install 'penstock-serving[gpu]'"
    if settings.kind == "torch":
        name = str(import_torch().cuda.get_device_name(open_device(settings)))
    return Machine(
        device_name=name,
        device_class=device_class_of(name),
        libraries=installed_libraries(),
        executor=settings.in_words,
        precision=settings.precision,
    )


def device_name() -> str:
    """The processor's name, as far as the system tells."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():  # platform.processor() is empty on most Linux systems
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
