"""Devices without a vendor's library: from a copy of what the kernel shows in /sys."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.device.discover import describe_device, discover
from penstock.device.pci import pci_devices
from penstock.errors import BadInputError


def add(root: Path, address: str, **files: str) -> None:
    folder = root / "sys/bus/pci/devices" / address
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name).write_text(text + "\n")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    add(
        tmp_path,
        "0000:03:00.0",
        vendor="0x1002",
        device="0x74a1",
        mem_info_vram_total="206141652992",
        **{"class": "0x120000"},
    )
    add(tmp_path, "0000:04:00.0", vendor="0x8086", device="0x56c0", **{"class": "0x038000"})
    add(tmp_path, "0000:05:00.0", vendor="0x10de", device="0x27b8", **{"class": "0x030200"})
    # Not accelerators: a network card of Intel, a display of another maker.
    add(tmp_path, "0000:06:00.0", vendor="0x8086", device="0x1572", **{"class": "0x020000"})
    add(tmp_path, "0000:07:00.0", vendor="0x1a03", device="0x2000", **{"class": "0x030000"})
    # As if no driver of NVIDIA answered, on any machine.
    monkeypatch.setenv("LD_LIBRARY_PATH", "")
    return tmp_path


def test_all_vendors_are_found_and_named(root: Path) -> None:
    found = pci_devices(root)
    assert [(each.vendor, each.address, each.name) for each in found] == [
        ("amd", "0000:03:00.0", "AMD Instinct MI300X"),
        ("intel", "0000:04:00.0", "Intel Data Center GPU Flex 170"),
        ("nvidia", "0000:05:00.0", "NVIDIA device 0x27b8"),
    ]
    assert found[0].memory_bytes == 206141652992


def test_names_come_from_the_database_of_the_system(root: Path) -> None:
    database = root / "usr/share/misc/pci.ids"
    database.parent.mkdir(parents=True)
    database.write_text(
        "# comment\n1002  Advanced Micro Devices\n\t27b8  Another maker's\n"
        "10de  NVIDIA Corporation\n\t27b0  AD104GL [Other]\n\t27b8  AD104GL [L4]\n\t\t10de 16ee  NVIDIA L4\n"
    )
    assert pci_devices(root)[2].name == "L4"


def test_without_a_driver_the_note_says_why(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from penstock.device import discover as module
    from penstock.errors import NoDriverError

    def no_driver() -> None:
        raise NoDriverError("the driver does not answer")

    monkeypatch.setattr(module, "nvidia_devices", no_driver)
    nvidia, amd, intel = discover(root)
    assert (nvidia.vendor, nvidia.note) == ("nvidia", "the driver does not answer")
    assert (amd.device_class, amd.provider) == ("MI300X", "MIGraphXExecutionProvider")
    assert (intel.device_class, intel.provider) == ("Data Center GPU Flex 170", "OpenVINOExecutionProvider")
    assert intel.uuid == "0000:04:00.0"


def test_a_device_of_another_vendor_is_found_by_its_address(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penstock.device.discover.discover", lambda: discover(root))
    assert describe_device("0000:03:00.0").vendor == "amd"
    with pytest.raises(
        BadInputError, match=r"no device '0000:09:00.0' on this machine \(devices: .*0000:04:00.0"
    ):
        describe_device("0000:09:00.0")


def test_a_machine_without_a_bus(tmp_path: Path) -> None:
    assert pci_devices(tmp_path) == []
