"""Devices that are lost, as a user names them: ``CLASS:DEVICE``, or ``CLASS:hostN`` for a whole host."""

from __future__ import annotations

import re
from collections.abc import Sequence

from penstock.cluster import DeviceClass
from penstock.errors import BadInputError, InfeasibleError
from penstock.plan.scenario import Scenario

_NAMED = re.compile(r"(?P<device_class>.+):(?P<host>host)?(?P<number>\d+)")


def without_lost(scenario: Scenario, lost: Sequence[str]) -> Scenario:
    """``scenario`` with the devices named in ``lost`` out of service, besides those that are so already.

    :class:`BadInputError` for a device, host or class that the cluster does not have,
    :class:`InfeasibleError` if no device is left.
    """
    classes = dict(scenario.cluster.device_classes)
    for name in lost:
        found = _NAMED.fullmatch(name)
        if found is None:
            raise BadInputError(
                f"{name!r} names no device. Write CLASS:DEVICE (L4:3) or CLASS:hostN (L4:host1)."
            )
        device_class, number = found["device_class"], int(found["number"])
        if device_class not in classes:
            raise BadInputError(
                f"{name!r}: the cluster has no device class {device_class!r}, only {', '.join(classes)}."
            )
        spec = classes[device_class]
        devices = _devices_of_host(spec, number) if found["host"] else {number} & set(range(spec.count))
        if not devices:
            raise BadInputError(
                f"{name!r} does not exist: {device_class} has devices 0 to {spec.count - 1}, "
                f"{spec.per_host} to a host, hosts counting from 0."
            )
        now_lost = tuple(sorted({*spec.lost, *devices}))
        classes[device_class] = spec.model_copy(update={"lost": now_lost})
    if not any(spec.available for spec in classes.values()):
        raise InfeasibleError("every device is lost: nothing is left to plan for. Leave out some --lost.")
    cluster = scenario.cluster.model_copy(update={"device_classes": classes})
    return scenario.model_copy(update={"cluster": cluster})


def _devices_of_host(spec: DeviceClass, host: int) -> set[int]:
    return {device for device in range(spec.count) if device // spec.per_host == host}
