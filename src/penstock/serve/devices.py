"""Workers and the real devices they run on: who gets which, how a worker is pinned, and what happens if one is lost.

A device class that ``requires`` a device has its workers pinned: the supervisor chooses the devices of this machine
by their UUIDs before anything starts, each worker sees no other, and checks its own when it starts.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from penstock.device.assignment import assign
from penstock.device.discover import assignable, describe_device, discover
from penstock.device.facts import DeviceFacts, Vendor
from penstock.device.nvml import check_present
from penstock.device.requirement import Requirement, in_words
from penstock.errors import DeviceLostError, DeviceMismatchError, NoDriverError
from penstock.profile.machine_here import machine_at_hand
from penstock.profile.measured_machine import Machine, machine_of

if TYPE_CHECKING:  # workers read their device's description and load no plans
    from penstock.plan.documents.plan import Plan
    from penstock.serve.spec import ServerSpec

WITHOUT_DEVICE = frozenset({"emulated", "padded"})
"""Executors that stand in for a device: they need none."""


class WorkerDevice(msgspec.Struct, frozen=True):
    """The device of one worker: number ``device`` of ``device_class`` in the plan, ``uuid`` on this machine."""

    device_class: str
    device: int
    vendor: Vendor
    uuid: str
    names: dict[Vendor, str]
    min_memory_gb: float | None

    @property
    def in_plan(self) -> str:
        """As ``penstock replan --lost`` names it."""
        return f"{self.device_class}:{self.device}"

    @property
    def environment(self) -> dict[str, str]:
        """What the worker's process is started with, so that it sees this device only."""
        return {"CUDA_VISIBLE_DEVICES": self.uuid} if self.vendor == "nvidia" else {}

    def check(self) -> None:
        """In the worker: its device is there, and of its class.

        Raises :class:`DeviceMismatchError` or :class:`DeviceLostError`.
        """
        Requirement(self.device_class, self.names, self.min_memory_gb).check(describe_device(self.uuid))

    def why_lost(self) -> str | None:
        """Why the device no longer serves; None while it answers. Only NVIDIA's driver can be asked."""
        if self.vendor != "nvidia":
            return None
        try:
            check_present(self.uuid)
        except (DeviceLostError, NoDriverError) as error:
            return str(error)
        return None


def worker_devices(
    plan: Plan, executor_of: Mapping[str, str], devices: Sequence[DeviceFacts] | None = None
) -> tuple[WorkerDevice | None, ...]:
    """The device of every worker of ``plan`` in its order; None where its class requires none, or its executor
    (``executor_of`` device class) stands in for one.

    All hosts of the plan are this machine. ``devices`` are those it has, by default what is discovered. Raises
    :class:`DeviceMismatchError` if they do not suffice.
    """
    cluster = plan.scenario.cluster
    used: dict[str, list[int]] = {}
    for worker in plan.placement:
        if executor_of[worker.device_class] not in WITHOUT_DEVICE:
            used.setdefault(worker.device_class, []).append(worker.device)
    requirements = {name: found for name in used if (found := cluster.requirement_of(name)) is not None}
    if not requirements:
        return (None,) * len(plan.placement)
    here = visible(assignable(discover() if devices is None else list(devices)), os.environ)
    needed = {name: used[name] for name in requirements}
    counts = {name: cluster.device_classes[name].count for name in requirements}
    given = assign(needed, requirements, here, counts)
    _refuse_unpinnable(given, here)
    return tuple(
        _worker_device(worker.device_class, worker.device, requirements[worker.device_class], device)
        if (device := given.get((worker.device_class, worker.device))) is not None
        else None
        for worker in plan.placement
    )


def _worker_device(name: str, number: int, requirement: Requirement, device: DeviceFacts) -> WorkerDevice:
    return WorkerDevice(
        name, number, device.vendor, device.uuid, dict(requirement.names), requirement.min_memory_gb
    )


def _refuse_unpinnable(given: Mapping[tuple[str, int], DeviceFacts], here: Sequence[DeviceFacts]) -> None:
    """A worker of AMD's or Intel's device cannot be kept to one of several: it would run on the first."""
    for (name, _), device in given.items():
        several = [each for each in here if each.vendor == device.vendor]
        if device.vendor != "nvidia" and len(several) > 1:
            raise DeviceMismatchError(
                f"device class {name!r}: this machine has {len(several)} {device.vendor} devices "
                f"({'; '.join(map(in_words, several))}), but only NVIDIA's can be pinned yet. Serve on a machine with "
                f"one of them."
            )


def machines_here(spec: ServerSpec) -> dict[str, Machine]:
    """What computes for each device class on this machine, and how: the device of its first worker, or what its runtime
    takes. Classes whose executor stands in for a device are left out."""
    pinned: dict[str, WorkerDevice] = {}
    for device in spec.worker_devices:
        if device is not None:
            pinned.setdefault(device.device_class, device)
    found: dict[str, Machine] = {}
    for stage in spec.stages:
        name, settings = stage.device_class, stage.runtime
        if stage.executor in WITHOUT_DEVICE or name in found:
            continue
        if name in pinned and settings.device != "cpu":
            device_here = describe_device(pinned[name].uuid)
            found[name] = machine_of(device_here, executor=settings.in_words, precision=settings.precision)
        else:
            found[name] = machine_at_hand(settings)
    return found


def visible(devices: Sequence[DeviceFacts], environment: Mapping[str, str]) -> list[DeviceFacts]:
    """Those of ``devices`` that CUDA_VISIBLE_DEVICES leaves to this process; NVML shows all of them.

    Entries are UUIDs or their beginnings, or numbers, which are taken in the driver's order (that of
    CUDA_DEVICE_ORDER=PCI_BUS_ID); the first unknown entry ends the list, as in CUDA (CUDA C++ Programming Guide,
    section "CUDA Environment Variables").
    """
    listed = environment.get("CUDA_VISIBLE_DEVICES")
    if listed is None:
        return list(devices)
    chosen: list[DeviceFacts] = []
    nvidia = [device for device in devices if device.vendor == "nvidia"]
    for entry in listed.split(","):
        name = entry.strip()
        found = [each for each in nvidia if name and (each.uuid.startswith(name) or str(each.index) == name)]
        if not found:
            break
        chosen += [each for each in found if each not in chosen]
    return chosen + [device for device in devices if device.vendor != "nvidia"]
