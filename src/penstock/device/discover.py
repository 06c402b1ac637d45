"""All accelerators of this machine: the driver's word where there is a driver, else the kernel's list."""

from __future__ import annotations

from pathlib import Path

from penstock.device.facts import DeviceFacts
from penstock.device.nvml import instance_facts, nvidia_device, nvidia_devices
from penstock.device.pci import as_facts, pci_devices
from penstock.errors import BadInputError, MissingExtraError, NoDriverError


def discover(root: Path = Path("/")) -> list[DeviceFacts]:
    """Every NVIDIA, AMD and Intel accelerator; ``root`` is where /sys is looked for.

    An NVIDIA device that the driver does not show is listed from the PCI bus, with a note that says why.
    """
    on_bus = pci_devices(root)
    why_not = ""
    found: list[DeviceFacts] = []
    try:
        found += nvidia_devices()
    except (MissingExtraError, NoDriverError) as error:
        why_not = str(error)
    if why_not or not found:
        nvidia = [each for each in on_bus if each.vendor == "nvidia"]
        found += [as_facts(each, index, why_not) for index, each in enumerate(nvidia)]
    for vendor in ("amd", "intel"):
        others = [each for each in on_bus if each.vendor == vendor]
        found += [as_facts(each, index) for index, each in enumerate(others)]
    return found


def describe_device(index_or_uuid: int | str) -> DeviceFacts:
    """One device: an NVIDIA device by the driver's index, or any by its UUID (a MIG instance's too).

    Raises :class:`BadInputError` where there is no such device, :class:`DeviceLostError` where it has gone,
    :class:`MissingExtraError` or :class:`NoDriverError` where NVIDIA's driver cannot be asked.
    """
    if isinstance(index_or_uuid, str) and index_or_uuid.startswith(("GPU-", "MIG-")):
        return nvidia_device(index_or_uuid)
    if isinstance(index_or_uuid, int):
        devices = nvidia_devices()
        if 0 <= index_or_uuid < len(devices):
            return devices[index_or_uuid]
    else:
        devices = discover()
        for device in devices:
            if device.uuid == index_or_uuid:
                return device
    known = ", ".join(f"{each.index}: {each.name} ({each.uuid})" for each in devices) or "none"
    raise BadInputError(f"there is no device {index_or_uuid!r} on this machine (devices: {known}).")


def assignable(devices: list[DeviceFacts]) -> list[DeviceFacts]:
    """What workers can be given: whole devices, and in the place of a divided one its MIG instances."""
    return [
        each
        for device in devices
        for each in (
            [instance_facts(device, instance) for instance in device.mig_instances]
            if device.mig
            else [device]
        )
    ]
