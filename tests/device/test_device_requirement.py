"""Which device meets which requirement, and who gets which device."""

from __future__ import annotations

import pytest

from penstock.device.assignment import assign
from penstock.device.facts import DeviceFacts
from penstock.device.names import device_class_of
from penstock.device.requirement import Requirement
from penstock.errors import DeviceMismatchError


def device(name: str, uuid: str = "GPU-x", memory_gb: float | None = 24) -> DeviceFacts:
    memory_bytes = None if memory_gb is None else int(memory_gb * 1e9)
    return DeviceFacts("nvidia", 0, name, device_class_of(name), uuid, "", memory_bytes=memory_bytes)


@pytest.mark.parametrize(
    ("name", "device_class"),
    [
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA H100 PCIe", "H100"),
        ("Tesla V100-SXM2-16GB", "V100"),
        ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", "A100 MIG 1g.5gb"),
        ("NVIDIA RTX 6000 Ada Generation", "RTX 6000 Ada"),
        ("NVIDIA GeForce RTX 4090", "RTX 4090"),
        ("AMD Instinct MI300X", "MI300X"),
        ("NVIDIA", "NVIDIA"),
    ],
)
def test_class_of_a_name(name: str, device_class: str) -> None:
    assert device_class_of(name) == device_class


@pytest.mark.parametrize(
    ("wanted", "name", "fits"),
    [
        ("L4", "NVIDIA L4", True),
        ("NVIDIA L4", "NVIDIA L4", True),
        ("l4", "NVIDIA L4", True),
        ("L4", "NVIDIA L40", False),
        ("L4", "NVIDIA L40S", False),
        ("H100 PCIe", "NVIDIA H100 PCIe", True),
        ("H100 PCIe", "NVIDIA H100 80GB HBM3", False),
        ("A100 80GB", "NVIDIA A100-SXM4-80GB", True),
        ("A100 80GB", "NVIDIA A100-SXM4-40GB", False),
        ("RTX 6000", "NVIDIA RTX 6000 Ada Generation", False),
        ("A100", "NVIDIA A100-SXM4-40GB MIG 1g.5gb", False),
        ("A100 MIG 1g.5gb", "NVIDIA A100-SXM4-40GB MIG 1g.5gb", True),
        ("A100 MIG 1g.5gb", "NVIDIA A100-SXM4-40GB MIG 2g.10gb", False),
    ],
)
def test_names_that_fit(wanted: str, name: str, fits: bool) -> None:
    assert Requirement("any", {"nvidia": wanted}).is_met_by(device(name)) is fits


def test_memory_counts_and_unknown_memory_is_not_enough() -> None:
    needs = Requirement("big", min_memory_gb=24)
    assert needs.is_met_by(device("NVIDIA L4", memory_gb=24))
    assert not needs.is_met_by(device("NVIDIA L4", memory_gb=23.9))
    assert not needs.is_met_by(device("NVIDIA L4", memory_gb=None))


def test_vendors_are_alternatives() -> None:
    assert Requirement("fast", {"amd": "MI300X", "nvidia": "L4"}).is_met_by(device("NVIDIA L4"))
    assert not Requirement("fast", {"amd": "MI300X"}).is_met_by(device("NVIDIA L4"))


def test_the_refusal_names_found_and_required() -> None:
    with pytest.raises(
        DeviceMismatchError, match=r"'fast' requires nvidia L4 .*24 GB.*T4 \(Tesla T4, 16.0 GB, GPU-x\)"
    ):
        Requirement("fast", {"nvidia": "L4"}, 24).check(device("Tesla T4", memory_gb=16))


def test_each_device_is_given_once_and_the_pickiest_class_goes_first() -> None:
    here = [device("NVIDIA L4", "one"), device("Tesla T4", "two"), device("NVIDIA L4", "three")]
    needs = {"any": Requirement("any"), "L4": Requirement("L4", {"nvidia": "L4"})}
    found = assign({"any": [4], "L4": [1, 0, 1]}, needs, here, {"any": 9, "L4": 2})
    assert {key: each.uuid for key, each in found.items()} == {
        ("L4", 0): "one",
        ("L4", 1): "three",
        ("any", 4): "two",
    }


def test_a_device_keeps_its_number_if_all_are_here() -> None:
    here = [device("NVIDIA L4", uuid) for uuid in ("one", "two", "three")]
    needs = {"L4": Requirement("L4", {"nvidia": "L4"})}
    # Device 1 of three is lost and not used; its neighbours stay where they were.
    assert [d.uuid for d in assign({"L4": [0, 2]}, needs, here, {"L4": 3}).values()] == ["one", "three"]
    # The fleet has eight, this machine three: those in use in order.
    assert [d.uuid for d in assign({"L4": [5, 7]}, needs, here, {"L4": 8}).values()] == ["one", "two"]


def test_too_few_devices_are_refused() -> None:
    needs = {"L4": Requirement("L4", {"nvidia": "L4"})}
    with pytest.raises(DeviceMismatchError, match=r"uses 2 of them.*has 1 free .*GPU-x"):
        assign({"L4": [0, 1]}, needs, [device("NVIDIA L4")], {"L4": 2})
