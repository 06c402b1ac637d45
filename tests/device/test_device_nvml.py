"""Discovery through the real ctypes layer of pynvml, over a stub of NVIDIA's library."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from fake_nvml import FakeGpu, FakeNvml, build, install
from penstock.device.discover import assignable, describe_device, discover
from penstock.device.nvml import check_present, energy_mj
from penstock.errors import BadInputError, DeviceLostError, NoDriverError
from penstock.profile.machine_here import machine_at_hand
from penstock.profile.measuring.class_check import check_known_class
from penstock.profile.measuring.worker_start import NvmlMeter
from penstock.runtime.settings import RuntimeSettings

A100 = FakeGpu(
    name="NVIDIA A100-SXM4-80GB", uuid="GPU-a100", total_mib=81920, mig=1, power_mw=-1, energy_mj=-1
)
SLICES = (
    "mig;1;NVIDIA A100-SXM4-80GB MIG 1g.10gb;MIG-one;9728;14",
    "mig;1;NVIDIA A100-SXM4-80GB MIG 2g.20gb;MIG-two;19968;28",
)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> FakeNvml:
    return build(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def driver(library: FakeNvml, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeNvml:
    install(library, monkeypatch)
    # Hides a multi-process service that may run on this machine.
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", str(tmp_path / "mps"))
    return library


def test_facts_of_a_device(driver: FakeNvml, tmp_path: Path) -> None:
    # 0x4 | 0x40 | 0x1 in NVML's header: power cap, hardware thermal slowdown, idle.
    driver.show([FakeGpu(reasons=0x45)], [f"process;0;{os.getpid()};700"])
    (found,) = discover(tmp_path)
    assert (found.vendor, found.name, found.device_class, found.uuid) == (
        "nvidia",
        "NVIDIA L4",
        "L4",
        "GPU-l4-0",
    )
    assert found.memory_bytes == 23034 * 2**20
    assert found.memory_used_bytes == 512 * 2**20
    assert (found.driver, found.cuda, found.pci_address) == ("570.86.15", "12.8", "0000:0a:00.0")
    assert (found.sm_clock_mhz, found.memory_clock_mhz) == (1500, 6251)
    assert (found.max_sm_clock_mhz, found.max_memory_clock_mhz) == (2040, 6251)
    assert (found.power_w, found.power_limit_w, found.energy_mj) == (31.5, 72.0, 123_456)
    assert found.throttle_reasons == ("idle", "power cap", "hardware thermal slowdown")
    assert found.is_throttled
    (process,) = found.processes
    assert (process.pid, process.memory_bytes) == (os.getpid(), 700 * 2**20)
    assert process.name == Path("/proc/self/comm").read_text().strip()
    assert not found.mps
    assert found.provider == "TensorrtExecutionProvider"
    assert energy_mj("GPU-l4-0") == 123_456


def test_idle_is_no_throttling(driver: FakeNvml, tmp_path: Path) -> None:
    driver.show([FakeGpu(reasons=0x3)])
    assert not discover(tmp_path)[0].is_throttled


def test_what_a_device_does_not_tell_is_none(driver: FakeNvml, tmp_path: Path) -> None:
    driver.show([FakeGpu(power_mw=-1, energy_mj=-1, sm_mhz=-1, mig=-1, reasons=-1)])
    (found,) = discover(tmp_path)
    assert found.power_w is found.energy_mj is found.sm_clock_mhz is None
    assert not found.mig
    assert found.throttle_reasons == ()


def test_mig_instances_are_devices_of_classes_of_their_own(driver: FakeNvml, tmp_path: Path) -> None:
    driver.show([FakeGpu(), A100], SLICES)
    found = discover(tmp_path)
    assert [each.device_class for each in found] == ["L4", "A100"]
    assert [(one.profile, one.multiprocessors) for one in found[1].mig_instances] == [
        ("1g.10gb", 14),
        ("2g.20gb", 28),
    ]
    given = assignable(found)
    assert [each.device_class for each in given] == ["L4", "A100 MIG 1g.10gb", "A100 MIG 2g.20gb"]
    assert given[1].memory_bytes == 9728 * 2**20
    assert given[1].parent_uuid == "GPU-a100"
    assert describe_device("MIG-two") == given[2]


def test_a_profile_of_an_instance_is_of_its_class(driver: FakeNvml, monkeypatch: pytest.MonkeyPatch) -> None:
    """The draw is that of the whole device, so nothing is said of the instance's; its memory is its own."""
    driver.show(
        [replace(A100, power_mw=90_000, energy_mj=5)], [line.replace("mig;1", "mig;0") for line in SLICES]
    )
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-one")
    settings = RuntimeSettings(kind="torch", device="cuda:0")
    assert machine_at_hand(settings).device_class == "A100 MIG 1g.10gb"
    check_known_class("A100 MIG 1g.10gb", settings)
    with pytest.raises(
        BadInputError, match=r"--device-class A100 is the name of a GPU, but NVIDIA A100.* MIG 1g"
    ):
        check_known_class("A100", settings)
    read = NvmlMeter(settings).read()
    assert read is not None
    assert (read.power_w, read.energy_mj, read.memory_used_bytes) == (None, None, 0)
    assert describe_device("GPU-a100").power_w == 90.0


def test_describe_by_index_and_uuid(driver: FakeNvml) -> None:
    driver.show([FakeGpu(), FakeGpu(uuid="GPU-l4-1")])
    assert describe_device(1).uuid == "GPU-l4-1"
    assert describe_device("GPU-l4-1") == describe_device(1)
    with pytest.raises(BadInputError, match=r"no device 2 .*GPU-l4-1"):
        describe_device(2)
    # To the driver an unknown and a vanished device are the same.
    with pytest.raises(DeviceLostError, match="GPU-other"):
        describe_device("GPU-other")


def test_a_lost_device_is_told_and_the_others_are_kept(driver: FakeNvml, tmp_path: Path) -> None:
    driver.show([FakeGpu(), FakeGpu(uuid="GPU-l4-1")])
    check_present("GPU-l4-0")
    driver.lose(0)
    with pytest.raises(DeviceLostError, match=r"GPU-l4-0 is lost \(NVML: GPU is lost\).*penstock replan"):
        check_present("GPU-l4-0")
    check_present("GPU-l4-1")
    lost, kept = discover(tmp_path)
    assert lost.device_class == "lost"
    assert "GPU is lost" in lost.note
    assert kept.uuid == "GPU-l4-1"


def test_a_driver_that_does_not_answer(driver: FakeNvml, tmp_path: Path) -> None:
    driver.state.unlink()
    with pytest.raises(NoDriverError, match="nvidia-smi"):
        check_present("GPU-l4-0")
    assert discover(tmp_path) == []
    driver.show([])


def test_the_multi_process_service_is_seen(driver: FakeNvml, tmp_path: Path) -> None:
    driver.show([FakeGpu()])
    (tmp_path / "mps").mkdir()
    pid_file = tmp_path / "mps/nvidia-cuda-mps-control.pid"
    pid_file.write_text(f"{os.getpid()}\n")
    assert discover(tmp_path)[0].mps
    # Above the largest process id of Linux: the file of a daemon that ended.
    pid_file.write_text(f"{2**22 + 1}\n")
    assert not discover(tmp_path)[0].mps
