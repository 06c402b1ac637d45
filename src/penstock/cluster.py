"""The fleet: device classes, how many devices of each, how they sit in hosts, and the hosts' network."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import model_validator

from penstock.device.requirement import Requirement
from penstock.files import Name, StrictModel, within

Gbps = Annotated[float, within(1e-6, 1e6)]
"""Gbit/s."""

MOST_DEVICES = 100_000
"""Of one class."""


Watts = Annotated[float, within(0, 1e6)]


class DevicePower(StrictModel):
    """What one device draws without work and at full load, in watts."""

    idle: Watts = 0.0
    busy: Watts

    @model_validator(mode="after")
    def _idle_is_less(self) -> Self:
        if self.idle > self.busy:
            raise ValueError(
                f"idle (={self.idle:g} W) must be at most busy (={self.busy:g} W): are they exchanged?"
            )
        return self


class DeviceClass(StrictModel):
    """A kind of accelerator and how many the fleet has.

    ``count`` devices, ``per_host`` to a host (the last host may hold fewer); a device may be divided
    among at most ``max_share`` co-located workers. ``bandwidth_gbps`` overrides the cluster's. Devices in
    ``lost`` are out of service: they keep their numbers, so that the others keep theirs, and serve nothing.

    ``requires`` names the real device by vendor (``{nvidia: L4}``), ``min_memory_gb`` its least memory: workers of
    such a class are pinned to devices of this kind, and refuse any other. ``power_w`` is one device's draw.
    """

    count: Annotated[int, within(0, MOST_DEVICES)]
    per_host: Annotated[int, within(1, MOST_DEVICES)] = 1
    max_share: Annotated[int, within(1, 1_000)] = 1
    memory_gb: Annotated[float, within(1e-6, 1e6)] | None = None
    hourly_cost: Annotated[float, within(1e-6, 1e9, or_zero=True)] | None = None
    requires: dict[Literal["nvidia", "amd", "intel"], str] | None = None
    min_memory_gb: Annotated[float, within(1e-6, 1e6)] | None = None
    power_w: DevicePower | None = None
    bandwidth_gbps: Gbps | None = None
    lost: tuple[int, ...] = ()

    @model_validator(mode="after")
    def _lost_devices_exist(self) -> Self:
        if list(self.lost) != sorted(set(self.lost)):
            raise ValueError(f"lost must name devices once, in ascending order, got {list(self.lost)}")
        if self.lost and not 0 <= self.lost[0] <= self.lost[-1] < self.count:
            raise ValueError(f"lost must name devices from 0 to {self.count - 1}, got {list(self.lost)}")
        return self

    @property
    def interface_devices(self) -> int:
        """The devices that share a host's interface: ``per_host``, or all there are where they are fewer.

        Lost devices count: their host keeps its size, so that a loss leaves what the others sustain.
        """
        return max(min(self.per_host, self.count), 1)

    @property
    def devices(self) -> list[int]:
        """The numbers of the devices in service, ascending."""
        return [device for device in range(self.count) if device not in self.lost]

    @property
    def needs_device(self) -> bool:
        """Whether workers are kept to real devices, of some name or of a least memory."""
        return self.requires is not None or self.min_memory_gb is not None

    @property
    def available(self) -> int:
        """How many devices are in service."""
        return self.count - len(self.lost)


class Cluster(StrictModel):
    """Device classes by name, and the bandwidth of a host's network interface, each direction."""

    bandwidth_gbps: Gbps
    device_classes: dict[Name, DeviceClass]

    @model_validator(mode="after")
    def _has_devices(self) -> Self:
        if not any(c.available for c in self.device_classes.values()):
            raise ValueError("the cluster is empty: give at least one device class a count of 1 or more")
        return self

    def requirement_of(self, device_class: str) -> Requirement | None:
        """What a device of ``device_class`` must be; None where the scenario does not say."""
        spec = self.device_classes[device_class]
        if not spec.needs_device:
            return None
        return Requirement(device_class, spec.requires or {}, spec.min_memory_gb)

    def bandwidth_gbps_of(self, device_class: str) -> float:
        """The interface bandwidth of a host of ``device_class``, in Gbit/s, each direction."""
        own = self.device_classes[device_class].bandwidth_gbps
        return self.bandwidth_gbps if own is None else own

    def link_gbps(self, sender: str, receiver: str) -> float:
        """The bandwidth between hosts of two device classes, that of the slower interface, in Gbit/s."""
        return min(self.bandwidth_gbps_of(sender), self.bandwidth_gbps_of(receiver))

    def hosts_of(self, device_class: str) -> int:
        """The number of hosts that hold the devices of ``device_class``."""
        c = self.device_classes[device_class]
        return -(-c.count // c.per_host)
