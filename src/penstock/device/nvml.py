"""NVIDIA's devices through NVML, the driver's own library; the one module that imports ``pynvml`` (nvidia-ml-py).

NVML must be told when a client begins and ends. :func:`session` does both; everything here runs inside one. A
function that a device does not support, or that this user may not call, gives None; any other failure raises.
Reference: NVIDIA Management Library (NVML) API Reference Guide, vR570.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from penstock.device.facts import DeviceFacts, DeviceProcess, MigInstance
from penstock.device.names import device_class_of, mig_profile_of
from penstock.device.providers import PROVIDERS
from penstock.errors import DeviceLostError, MissingExtraError, NoDriverError, PenstockError

T = TypeVar("T")

_THROTTLES = (
    (0x1, "idle"),
    (0x2, "application clocks"),
    (0x4, "power cap"),
    (0x8, "hardware slowdown"),
    (0x10, "sync boost"),
    (0x20, "software thermal slowdown"),
    (0x40, "hardware thermal slowdown"),
    (0x80, "power brake"),
    (0x100, "display clocks"),
)
"""Bits of nvmlClocksEventReasons, NVML reference, section "NvmlClocksEventReasons"."""


@contextmanager
def session() -> Iterator[Any]:
    """NVML, initialised: the ``pynvml`` module.

    Raises :class:`MissingExtraError` without nvidia-ml-py and :class:`NoDriverError` where NVML cannot start.
    """
    try:
        import pynvml
    except ImportError:
        raise MissingExtraError("asking NVIDIA's driver", "gpu") from None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        raise NoDriverError(
            f"NVIDIA's driver does not answer (NVML: {error}). Install or load the driver; 'nvidia-smi' must work."
        ) from None
    try:
        yield pynvml
    finally:
        pynvml.nvmlShutdown()


def nvidia_devices() -> list[DeviceFacts]:
    """Every NVIDIA device that the driver shows to this process, in its order.

    A device that is lost is listed with a note, as the others still serve.
    """
    with session() as nvml:
        return [_device_or_lost(nvml, index) for index in range(nvml.nvmlDeviceGetCount())]


def _device_or_lost(nvml: Any, index: int) -> DeviceFacts:
    try:
        with _faults_named(nvml, f"device {index}"):
            return _device(nvml, nvml.nvmlDeviceGetHandleByIndex(index), index)
    except DeviceLostError as error:
        return _lost(index, str(error))


def nvidia_device(uuid: str) -> DeviceFacts:
    """The device, or the MIG instance, with ``uuid``.

    Raises :class:`DeviceLostError` if the driver does not know it or has lost it.
    """
    with session() as nvml, _faults_named(nvml, f"device {uuid}"):
        handle = nvml.nvmlDeviceGetHandleByUUID(uuid)
        if not uuid.startswith("MIG-"):
            return _device(nvml, handle, nvml.nvmlDeviceGetIndex(handle))
        parent = nvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(handle)
        whole = _device(nvml, parent, nvml.nvmlDeviceGetIndex(parent))
        return instance_facts(whole, _mig_instance(nvml, handle))


def check_present(uuid: str) -> None:
    """Raise :class:`DeviceLostError` unless the device with ``uuid`` still answers: the cheapest question."""
    with session() as nvml, _faults_named(nvml, f"device {uuid}"):
        nvml.nvmlDeviceGetMemoryInfo(nvml.nvmlDeviceGetHandleByUUID(uuid))


def energy_mj(uuid: str) -> int | None:
    """Millijoules that the device used since its driver was loaded; None where it does not count them."""
    with session() as nvml, _faults_named(nvml, f"device {uuid}"):
        return _if_told(nvml, nvml.nvmlDeviceGetTotalEnergyConsumption, nvml.nvmlDeviceGetHandleByUUID(uuid))


@contextmanager
def _faults_named(nvml: Any, what: str) -> Iterator[None]:
    """NVML's errors as ours; a device that is not there any more is lost."""
    try:
        yield
    except nvml.NVMLError as error:
        gone = (nvml.NVML_ERROR_NOT_FOUND, nvml.NVML_ERROR_GPU_IS_LOST, nvml.NVML_ERROR_RESET_REQUIRED)
        if error.value in gone:
            raise DeviceLostError(
                f"{what} is lost (NVML: {error}). Look at 'nvidia-smi' and the kernel's log (Xid errors); reset it, "
                f"or plan without it: 'penstock replan'."
            ) from None
        raise PenstockError(f"NVIDIA's driver failed on {what} (NVML: {error}).") from None


def _if_told(nvml: Any, function: Callable[..., T], *arguments: Any) -> T | None:
    """``function``'s answer; None where the device, the driver or this user's rights do not give one."""
    try:
        return function(*arguments)
    except nvml.NVMLError as error:
        if error.value in (
            nvml.NVML_ERROR_NOT_SUPPORTED,
            nvml.NVML_ERROR_NO_PERMISSION,
            nvml.NVML_ERROR_FUNCTION_NOT_FOUND,
            nvml.NVML_ERROR_NO_DATA,
        ):
            return None
        raise


def _device(nvml: Any, handle: Any, index: int) -> DeviceFacts:
    name = nvml.nvmlDeviceGetName(handle)

    def ask(function: Callable[..., T], *arguments: Any) -> T | None:
        return _if_told(nvml, function, handle, *arguments)

    memory = ask(nvml.nvmlDeviceGetMemoryInfo)
    pci = ask(nvml.nvmlDeviceGetPciInfo_v3)
    mode = ask(nvml.nvmlDeviceGetMigMode)
    mig = mode is not None and mode[0] == nvml.NVML_DEVICE_MIG_ENABLE
    return DeviceFacts(
        vendor="nvidia",
        index=index,
        name=name,
        device_class=device_class_of(name),
        uuid=nvml.nvmlDeviceGetUUID(handle),
        provider=PROVIDERS["nvidia"][0],
        pci_address="" if pci is None else _pci_address(_text(pci.busId)),
        memory_bytes=None if memory is None else int(memory.total),
        memory_used_bytes=None if memory is None else int(memory.used),
        driver=nvml.nvmlSystemGetDriverVersion(),
        cuda=_cuda(nvml),
        sm_clock_mhz=ask(nvml.nvmlDeviceGetClockInfo, nvml.NVML_CLOCK_SM),
        memory_clock_mhz=ask(nvml.nvmlDeviceGetClockInfo, nvml.NVML_CLOCK_MEM),
        max_sm_clock_mhz=ask(nvml.nvmlDeviceGetMaxClockInfo, nvml.NVML_CLOCK_SM),
        max_memory_clock_mhz=ask(nvml.nvmlDeviceGetMaxClockInfo, nvml.NVML_CLOCK_MEM),
        power_w=_watts(ask(nvml.nvmlDeviceGetPowerUsage)),
        power_limit_w=_watts(ask(nvml.nvmlDeviceGetEnforcedPowerLimit)),
        energy_mj=ask(nvml.nvmlDeviceGetTotalEnergyConsumption),
        temperature_c=ask(nvml.nvmlDeviceGetTemperature, nvml.NVML_TEMPERATURE_GPU),
        throttle_reasons=_throttles(ask(nvml.nvmlDeviceGetCurrentClocksThrottleReasons)),
        mps=bool(ask(nvml.nvmlDeviceGetMPSComputeRunningProcesses_v3)) or mps_is_running(),
        mig=mig,
        mig_instances=tuple(_mig_instances(nvml, handle)) if mig else (),
        processes=tuple(_process(each) for each in ask(nvml.nvmlDeviceGetComputeRunningProcesses_v3) or ()),
    )


def instance_facts(whole: DeviceFacts, instance: MigInstance) -> DeviceFacts:
    """``instance`` as a device: clocks, power limit and throttling are those of the whole, which it cannot set alone.

    What the whole draws is not what an instance draws, and nothing tells that.
    """
    return replace(
        whole,
        name=f"{whole.name} MIG {instance.profile}",
        device_class=instance.device_class,
        uuid=instance.uuid,
        parent_uuid=whole.uuid,
        memory_bytes=instance.memory_bytes,
        memory_used_bytes=instance.memory_used_bytes,
        multiprocessors=instance.multiprocessors,
        power_w=None,
        energy_mj=None,
        mig_instances=(),
    )


def _lost(index: int, why: str) -> DeviceFacts:
    return DeviceFacts(
        vendor="nvidia",
        index=index,
        name="lost NVIDIA device",
        device_class="lost",
        uuid=f"lost-{index}",
        provider=PROVIDERS["nvidia"][0],
        note=why,
    )


def _mig_instances(nvml: Any, handle: Any) -> Iterator[MigInstance]:
    for place in range(_if_told(nvml, nvml.nvmlDeviceGetMaxMigDeviceCount, handle) or 0):
        try:
            instance = nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, place)
        except nvml.NVMLError as error:
            if error.value == nvml.NVML_ERROR_NOT_FOUND:
                continue  # places are numbered to the most there may be; most are empty
            raise
        yield _mig_instance(nvml, instance)


def _mig_instance(nvml: Any, handle: Any) -> MigInstance:
    name = nvml.nvmlDeviceGetName(handle)
    memory = _if_told(nvml, nvml.nvmlDeviceGetMemoryInfo, handle)
    attributes = _if_told(nvml, nvml.nvmlDeviceGetAttributes_v2, handle)
    return MigInstance(
        uuid=nvml.nvmlDeviceGetUUID(handle),
        profile=mig_profile_of(name),
        device_class=device_class_of(name),
        memory_bytes=None if memory is None else int(memory.total),
        memory_used_bytes=None if memory is None else int(memory.used),
        multiprocessors=None if attributes is None else int(attributes.multiprocessorCount),
    )


def _process(found: Any) -> DeviceProcess:
    try:
        name = Path(f"/proc/{found.pid}/comm").read_text(encoding="utf-8").strip()
    except OSError:  # another user's container
        name = ""
    memory = found.usedGpuMemory
    return DeviceProcess(int(found.pid), name, None if memory is None else int(memory))


def _cuda(nvml: Any) -> str | None:
    version = _if_told(nvml, nvml.nvmlSystemGetCudaDriverVersion_v2)
    # 12040 is CUDA 12.4.
    return None if version is None else f"{version // 1000}.{version % 1000 // 10}"


def _watts(milliwatts: int | None) -> float | None:
    return None if milliwatts is None else milliwatts / 1e3


def _throttles(bits: int | None) -> tuple[str, ...]:
    return tuple(name for bit, name in _THROTTLES if (bits or 0) & bit)


def _pci_address(bus_id: str) -> str:
    """NVML writes the domain with eight digits, the kernel with four."""
    domain, _, rest = bus_id.lower().partition(":")
    return f"{int(domain, 16):04x}:{rest}"


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def mps_is_running() -> bool:
    """Whether the control daemon of NVIDIA's multi-process service runs: its process id file names a live process.

    The file lies in CUDA_MPS_PIPE_DIRECTORY (NVIDIA, "Multi-Process Service", section 4.2.2).
    """
    pipes = Path(os.environ.get("CUDA_MPS_PIPE_DIRECTORY", "/tmp/nvidia-mps"))
    try:
        pid = int((pipes / "nvidia-cuda-mps-control.pid").read_text(encoding="utf-8"))
        os.kill(pid, 0)
    except PermissionError:
        return True  # it lives, and is another user's
    except (OSError, ValueError):
        return False
    return True
