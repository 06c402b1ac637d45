"""``penstock doctor`` with a fake driver, and what it advises."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fake_nvml import FakeGpu, build
from penstock.cli.doctor import advise, verbs_use
from penstock.device.facts import DeviceFacts, DeviceProcess
from penstock.device.host import host_facts
from penstock.device.software import installed, ray_address

PACKAGES: dict[str, str | None] = {**dict.fromkeys(installed()), "torch": "2.13.0+cpu"}
CPU_ONLY = ("CPUExecutionProvider",)


def device(**facts: object) -> DeviceFacts:
    known = {
        "vendor": "nvidia",
        "index": 0,
        "name": "NVIDIA L4",
        "device_class": "L4",
        "uuid": "GPU-x",
        "provider": "",
    }
    return DeviceFacts(**{**known, **facts})  # type: ignore[arg-type]


def doctor(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "penstock.cli.main", "doctor", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120, env=environment)


def test_devices_are_shown(tmp_path: Path) -> None:
    driver = build(tmp_path)
    driver.show([FakeGpu(), FakeGpu(name="NVIDIA A100-SXM4-80GB", uuid="GPU-a", mig=1)], [
        "mig;1;NVIDIA A100-SXM4-80GB MIG 1g.10gb;MIG-one;9728;14",
    ])  # fmt: skip
    told = json.loads(doctor(driver.environment, "--json").stdout)
    assert [each["device_class"] for each in told["devices"]][:2] == ["L4", "A100"]
    assert told["devices"][1]["mig_instances"][0]["device_class"] == "A100 MIG 1g.10gb"
    assert told["host"]["cores"] == os.cpu_count()
    assert "L4" in told["verbs"]["profile"]
    text = doctor({**driver.environment, "COLUMNS": "300"}).stdout
    assert "{nvidia: L4}" in text
    assert "{nvidia: A100 MIG 1g.10gb}" in text
    assert "31.5 of 72" in text


def test_advice_names_what_is_missing() -> None:
    (said,) = advise([device()], PACKAGES, CPU_ONLY)
    assert said.startswith("no installed runtime serves nvidia devices: install a build of onnxruntime with")
    assert advise([device()], PACKAGES, ("CUDAExecutionProvider", *CPU_ONLY)) == []
    assert advise([device()], {**PACKAGES, "torch": "2.11.0"}, CPU_ONLY) == []
    (said,) = advise([device(vendor="amd")], {**PACKAGES, "torch": "2.11.0"}, CPU_ONLY)
    assert "MIGraphXExecutionProvider" in said


def test_advice_names_what_disturbs_a_profile() -> None:
    busy = device(
        throttle_reasons=("idle", "power cap"), processes=(DeviceProcess(7, "", 1), DeviceProcess(8, "a", 1))
    )
    slowed, used = advise([busy], PACKAGES, ("CUDAExecutionProvider",))
    assert "is slowed down by idle, power cap" in slowed
    assert "is used by process 7, a 8" in used


def test_verbs_without_runtimes() -> None:
    bare = verbs_use([], dict.fromkeys(installed()), (), None)
    assert bare["serve"] == bare["profile"] == "nothing: install penstock-serving[serve]"
    assert "install penstock-serving[ray]" in bare["serve --engine ray"]


def test_limits_of_a_container(tmp_path: Path) -> None:
    group = tmp_path / "sys/fs/cgroup"
    group.mkdir(parents=True)
    # 50 ms of every 100 ms: half a core.
    (group / "cpu.max").write_text("50000 100000\n")
    (group / "memory.max").write_text("2147483648\n")
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text("MemTotal:       16000000 kB\nMemAvailable:    8000000 kB\n")
    found = host_facts(tmp_path)
    assert found.usable_cores == 0.5
    assert (found.memory_bytes, found.memory_limit_bytes, found.memory_free_bytes) == (
        16_384_000_000,
        2**31,
        8_192_000_000,
    )
    (group / "cpu.max").write_text("max 100000\n")
    (group / "memory.max").write_text("max\n")
    unlimited = host_facts(tmp_path)
    assert unlimited.memory_limit_bytes is None
    assert 1 <= unlimited.usable_cores < math.inf


def test_ray_is_found_where_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    assert ray_address() is None
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray/ray_current_cluster").write_text("10.0.0.7:6379\n")
    assert ray_address() == "10.0.0.7:6379"
