"""Lost devices, as a user names them: ``CLASS:DEVICE``, or ``CLASS:hostN`` for a whole host; several with commas."""

from __future__ import annotations

import re
from collections.abc import Sequence

from penstock.cluster import DeviceClass
from penstock.errors import BadInputError, InfeasibleError
from penstock.plan.documents.scenario import Scenario

_NAMED = re.compile(r"(?P<device_class>.+):(?P<host>host)?(?P<number>\d+)")


def without_lost(scenario: Scenario, lost: Sequence[str]) -> Scenario:
    """``scenario`` with the devices named in ``lost`` out of service too.

    Raises :class:`BadInputError` for a device, host or class that the cluster does not have, and
    :class:`InfeasibleError` if no device is left.
    """
    classes = dict(scenario.cluster.device_classes)
    for name in (part.strip() for text in lost for part in text.split(",")):
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
        classes[device_class] = spec.edited(lost=now_lost)
    if not any(spec.available for spec in classes.values()):
        raise InfeasibleError("every device is lost: nothing is left to plan for. Leave out some --lost.")
    return scenario.with_device_classes(classes)


def _devices_of_host(spec: DeviceClass, host: int) -> set[int]:
    return {device for device in range(spec.count) if device // spec.per_host == host}
