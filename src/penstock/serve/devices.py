"""Workers and the real devices they run on: who gets which, how a worker is pinned, and what happens if one is lost.

A device class that ``requires`` a device has its workers pinned: devices are chosen by their UUIDs before anything
starts, each worker sees no other, and checks its own when it starts. On one machine the supervisor chooses. On many
hosts the agent of each chooses among its own.
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
    from penstock.serve.spec import StageSpec

WITHOUT_DEVICE = frozenset({"emulated", "padded"})
"""Executors that stand in for a device: they need none."""


class DeviceNeed(msgspec.Struct, frozen=True):
    """What a worker needs: number ``device`` of its class in the plan, which must be as ``required``.

    Where it runs there are ``count`` devices of the class, of which this is number ``place``.
    """

    required: Requirement
    device: int
    place: int
    count: int

    @property
    def in_plan(self) -> str:
        """As ``penstock replan --lost`` names it."""
        return f"{self.required.device_class}:{self.device}"


class WorkerDevice(msgspec.Struct, frozen=True):
    """The device of one worker: its ``need``, and what was chosen for it on this machine."""

    need: DeviceNeed
    vendor: Vendor
    uuid: str

    @property
    def in_plan(self) -> str:
        """As ``penstock replan --lost`` names it."""
        return self.need.in_plan

    @property
    def device_class(self) -> str:
        """Its class in the plan."""
        return self.need.required.device_class

    @property
    def environment(self) -> dict[str, str]:
        """What the worker's process is started with, so that it sees this device only."""
        return {"CUDA_VISIBLE_DEVICES": self.uuid} if self.vendor == "nvidia" else {}

    def check(self) -> None:
        """In the worker: its device is there, and of its class.

        Raises :class:`DeviceMismatchError` or :class:`DeviceLostError`.
        """
        self.need.required.check(describe_device(self.uuid))

    def why_lost(self) -> str | None:
        """Why the device no longer serves; None while it answers. Only NVIDIA's driver can be asked."""
        if self.vendor != "nvidia":
            return None
        try:
            check_present(self.uuid)
        except (DeviceLostError, NoDriverError) as error:
            return str(error)
        return None


def device_needs(
    plan: Plan, executor_of: Mapping[str, str], *, on_hosts: bool = False
) -> tuple[DeviceNeed | None, ...]:
    """What every worker of ``plan`` needs, in its order; None where its class requires no device, or its executor
    (``executor_of`` device class) stands in for one. ``on_hosts``: each host of the plan is a machine of its own;
    otherwise all are this one."""
    cluster = plan.scenario.cluster
    found: list[DeviceNeed | None] = []
    for worker in plan.placement:
        required = cluster.requirement_of(worker.device_class)
        if required is None or executor_of[worker.device_class] in WITHOUT_DEVICE:
            found.append(None)
            continue
        spec = cluster.device_classes[worker.device_class]
        first = worker.host * spec.per_host if on_hosts else 0
        count = min(spec.per_host, spec.count - first) if on_hosts else spec.count
        found.append(DeviceNeed(required, worker.device, worker.device - first, count))
    return tuple(found)


def chosen_devices(
    needs: Sequence[DeviceNeed | None], devices: Sequence[DeviceFacts] | None = None
) -> tuple[WorkerDevice | None, ...]:
    """A device of this machine for each of ``needs``; the same for workers on shares of one device.

    ``devices`` are those it has, by default what is discovered. Raises :class:`DeviceMismatchError` if they do not
    suffice.
    """
    wanted = [need for need in needs if need is not None]
    if not wanted:
        return (None,) * len(needs)
    here = visible(assignable(discover() if devices is None else list(devices)), os.environ)
    places: dict[str, list[int]] = {}
    for need in wanted:
        places.setdefault(need.required.device_class, []).append(need.place)
    requirements = {need.required.device_class: need.required for need in wanted}
    given = assign(places, requirements, here, {need.required.device_class: need.count for need in wanted})
    _refuse_unpinnable(given, here)
    return tuple(
        None
        if need is None
        else WorkerDevice(need, (device := given[need.required.device_class, need.place]).vendor, device.uuid)
        for need in needs
    )


def worker_devices(
    plan: Plan, executor_of: Mapping[str, str], devices: Sequence[DeviceFacts] | None = None
) -> tuple[WorkerDevice | None, ...]:
    """The device of every worker of ``plan`` on this machine (:func:`device_needs`, :func:`chosen_devices`)."""
    return chosen_devices(device_needs(plan, executor_of), devices)


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


def machines_here(stages: Sequence[StageSpec], devices: Sequence[WorkerDevice | None]) -> dict[str, Machine]:
    """What computes for each device class on this machine, and how: the device of its first worker, or what its runtime
    takes. Classes whose executor stands in for a device are left out."""
    pinned: dict[str, WorkerDevice] = {}
    for device in devices:
        if device is not None:
            pinned.setdefault(device.device_class, device)
    found: dict[str, Machine] = {}
    for stage in stages:
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
