"""Watches the real devices of a server's workers: says which were lost, and what that leaves."""

from __future__ import annotations

from contextlib import ExitStack
from typing import final

from penstock.device.nvml import session
from penstock.serve.devices import WorkerDevice
from penstock.serve.spec import ServerSpec
from penstock.units import NEVER_US, US_PER_S

WATCH_US = US_PER_S
"""Asking a driver takes well under a millisecond; a second is short beside the time to notice by other means."""


@final
class DeviceWatch:
    """Asks each device once a second whether it still answers. No device: nothing is asked."""

    def __init__(self, spec: ServerSpec) -> None:
        self._workers_of: dict[str, list[int]] = {}
        self._devices: dict[str, WorkerDevice] = {}
        for worker, device in enumerate(spec.worker_devices, spec.first_worker):
            if device is not None:
                self._workers_of.setdefault(device.uuid, []).append(worker)
                self._devices[device.uuid] = device
        self._uuid_of = {worker: uuid for uuid, workers in self._workers_of.items() for worker in workers}
        self._lost: dict[str, str] = {}
        self._next_us = 0
        self._session = ExitStack()
        if any(device.vendor == "nvidia" for device in self._devices.values()):
            # Held until the end: to begin one anew each second may take longer than the question, and a driver
            # without persistence mode may set the device up again each time.
            self._session.enter_context(session())

    @property
    def next_us(self) -> int:
        """When the devices are to be asked again; never, if there are none."""
        return self._next_us if self._devices else NEVER_US

    def close(self) -> None:
        """Let go of the driver."""
        self._session.close()

    def newly_lost(self, now_us: int) -> dict[int, str]:
        """Workers whose device was found lost just now, with the reason. A device that is back serves again."""
        if now_us < self._next_us or not self._devices:
            return {}
        self._next_us = now_us + WATCH_US
        found: dict[int, str] = {}
        for uuid, device in self._devices.items():
            why = device.why_lost()
            if why is None:
                self._lost.pop(uuid, None)
            elif uuid not in self._lost:
                self._lost[uuid] = why
                found |= dict.fromkeys(self._workers_of[uuid], why)
        return found

    def retire(self) -> bool:
        """Its plan is served no more: ask only for the devices that are lost. Whether there are any."""
        self._devices = {uuid: self._devices[uuid] for uuid in self._lost}
        self._workers_of = {uuid: [] for uuid in self._devices}
        return bool(self._lost)

    def is_lost(self, worker: int) -> bool:
        """Whether the device of ``worker`` was lost when last asked."""
        return self._uuid_of.get(worker) in self._lost

    @property
    def lost_in_plan(self) -> frozenset[str]:
        """The devices that are lost, as ``penstock replan --lost`` takes them."""
        return frozenset(self._devices[uuid].in_plan for uuid in self._lost)

    def left(self, workers: list[int]) -> str:
        """What the loss of the devices of ``workers`` leaves of their classes."""
        gone = {self._uuid_of[worker] for worker in workers}
        names = sorted({self._devices[uuid].device_class for uuid in gone})
        left = []
        for name in names:
            of_class = [uuid for uuid, device in self._devices.items() if device.device_class == name]
            left.append(
                f"{name} has {sum(uuid not in self._lost for uuid in of_class)} of {len(of_class)} devices left"
            )
        return ", ".join(left)
