"""Is this device the one that a device class requires?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from penstock.device.facts import DeviceFacts, Vendor
from penstock.device.names import MAKERS, device_class_of, words_of
from penstock.errors import DeviceMismatchError


@dataclass(frozen=True)
class Requirement:
    """What a device class needs: by vendor a name, and a size of memory in 1e9 bytes.

    A name fits a device if it is its class (``L4``, ``A100 MIG 1g.5gb``), or that with words of the full name
    (``A100 80GB``, ``H100 PCIe``). Several vendors are alternatives. Without a name any device fits.
    """

    device_class: str
    names: Mapping[Vendor, str] = field(default_factory=dict)
    min_memory_gb: float | None = None

    @property
    def in_words(self) -> str:
        """For messages."""
        asked = " or ".join(f"{vendor} {name}" for vendor, name in self.names.items()) or "any device"
        memory = "" if self.min_memory_gb is None else f" with at least {self.min_memory_gb:g} GB"
        return asked + memory

    def is_met_by(self, device: DeviceFacts) -> bool:
        """Whether ``device`` is of this class. Memory that no driver tells does not count as enough."""
        if self.names and not _is_named(device, self.names.get(device.vendor)):
            return False
        if self.min_memory_gb is None:
            return True
        return device.memory_bytes is not None and device.memory_bytes >= self.min_memory_gb * 1e9

    def check(self, device: DeviceFacts) -> None:
        """Raise :class:`DeviceMismatchError` that names what was found and what is required."""
        if not self.is_met_by(device):
            raise DeviceMismatchError(
                f"device class {self.device_class!r} requires {self.in_words}, but the device here is "
                f"{in_words(device)}. Serve the plan on a machine that has it, or correct 'requires' in the scenario."
            )


def in_words(device: DeviceFacts) -> str:
    """A device for messages: name, memory, identifier."""
    memory = "" if device.memory_bytes is None else f", {device.memory_bytes / 1e9:.1f} GB"
    return f"{device.vendor} {device.device_class} ({device.name}{memory}, {device.uuid})"


def _is_named(device: DeviceFacts, wanted: str | None) -> bool:
    if wanted is None:
        return False
    asked = {word.lower() for word in words_of(wanted)} - MAKERS
    full = {word.lower() for word in (*words_of(device.device_class), *words_of(device.name))}
    # The class of what is asked for must be this device's: an "RTX 6000" is not an "RTX 6000 Ada".
    return device_class_of(wanted).lower() == device.device_class.lower() and asked <= full
