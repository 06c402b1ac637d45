"""Accelerators of any vendor from the kernel's list of PCI devices: found and named without any vendor's library.

A display controller (PCI class 03) or a processing accelerator (12) of NVIDIA, AMD or Intel counts. The kernel
gives numbers; names come from the driver, from the PCI id database where the system has it, or from a short table.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from penstock.device.facts import DeviceFacts, Vendor
from penstock.device.names import device_class_of
from penstock.device.providers import PROVIDERS

_VENDORS: MappingProxyType[int, Vendor] = MappingProxyType({0x10DE: "nvidia", 0x1002: "amd", 0x8086: "intel"})
_ACCELERATOR_CLASSES = (0x03, 0x12)
_DATABASES = ("usr/share/misc/pci.ids", "usr/share/hwdata/pci.ids")

_NAMES: MappingProxyType[tuple[Vendor, int], str] = MappingProxyType(
    {
        ("amd", 0x738C): "AMD Instinct MI100",
        ("amd", 0x7408): "AMD Instinct MI250X",
        ("amd", 0x740C): "AMD Instinct MI250X",
        ("amd", 0x740F): "AMD Instinct MI210",
        ("amd", 0x74A0): "AMD Instinct MI300A",
        ("amd", 0x74A1): "AMD Instinct MI300X",
        ("amd", 0x74A5): "AMD Instinct MI325X",
        ("intel", 0x0BD5): "Intel Data Center GPU Max 1550",
        ("intel", 0x0BDA): "Intel Data Center GPU Max 1100",
        ("intel", 0x56A0): "Intel Arc A770",
        ("intel", 0x56A1): "Intel Arc A750",
        ("intel", 0x56C0): "Intel Data Center GPU Flex 170",
        ("intel", 0x56C1): "Intel Data Center GPU Flex 140",
    }
)
"""From the PCI id database (pci-ids.ucw.cz)."""


@dataclass(frozen=True)
class PciDevice:
    """One accelerator as the kernel lists it."""

    vendor: Vendor
    address: str
    name: str
    driver: str | None
    memory_bytes: int | None
    unique_id: str | None


def pci_devices(root: Path = Path("/")) -> list[PciDevice]:
    """The accelerators below ``root``/sys in the order of their addresses; none where the kernel shows no bus."""
    folder = root / "sys/bus/pci/devices"
    if not folder.is_dir():
        return []
    return [found for path in sorted(folder.iterdir()) for found in _read(path, root)]


def as_facts(found: PciDevice, index: int, note: str = "") -> DeviceFacts:
    """``found`` as far as it is known."""
    return DeviceFacts(
        vendor=found.vendor,
        index=index,
        name=found.name,
        device_class=device_class_of(found.name),
        uuid=found.unique_id or found.address,
        provider=PROVIDERS[found.vendor][0],
        pci_address=found.address,
        memory_bytes=found.memory_bytes,
        driver=found.driver,
        note=note,
    )


def _read(path: Path, root: Path) -> Iterator[PciDevice]:
    vendor = _VENDORS.get(_number(path / "vendor") or 0)
    kind = _number(path / "class")
    if vendor is None or kind is None or kind >> 16 not in _ACCELERATOR_CLASSES:
        return
    number = _number(path / "device") or 0
    driver = path / "driver"
    yield PciDevice(
        vendor=vendor,
        address=path.name.lower(),
        name=_text(path / "product_name") or _named(vendor, number, root),
        driver=driver.resolve().name if driver.exists() else None,
        memory_bytes=_number(path / "mem_info_vram_total"),
        unique_id=_text(path / "unique_id") or None,
    )


def _named(vendor: Vendor, number: int, root: Path) -> str:
    known = _NAMES.get((vendor, number))
    return known or _from_database(vendor, number, root) or f"{vendor.upper()} device {number:#06x}"


def _from_database(vendor: Vendor, number: int, root: Path) -> str | None:
    vendor_id = next(key for key, name in _VENDORS.items() if name == vendor)
    for place in _DATABASES:
        text = _text(root / place)
        section = re.search(rf"^{vendor_id:04x}  .*\n((?:[\t#].*\n?|\n)*)", text, re.MULTILINE)
        entry = section and re.search(rf"^\t{number:04x}  (.*)$", section[1], re.MULTILINE)
        if entry:
            # "AD104GL [L4]": the chip, then the product.
            product = re.search(r"\[([^\]]+)\]", entry[1])
            return product[1] if product else str(entry[1])
    return None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip("\n ")
    except OSError:
        return ""


def _number(path: Path) -> int | None:
    try:
        return int(_text(path), 0)
    except ValueError:
        return None
