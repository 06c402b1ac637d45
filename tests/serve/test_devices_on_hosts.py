"""Real devices on many hosts: the agent of each chooses among its own, says what it lacks, and what it lost."""

from __future__ import annotations

import json
import re
from pathlib import Path

import loopback_hosts
import pytest
from serve_cases import skip_profile, write_plan, write_skip_model
from test_serve_devices import FLEET, assert_doubles, driver, library, require, wait_until, workers_of

from fake_nvml import FakeGpu, FakeNvml
from penstock.errors import DeviceMismatchError, PenstockError
from penstock.plan.documents.store import load_plan
from penstock.serve import local_server
from penstock.serve.devices import chosen_devices, device_needs
from penstock.serve.engine.replan_on_loss import used_by
from penstock.serve.local_server import LocalServer
from penstock.serve.prepare import ServeOptions, prepare

__all__ = ["driver", "library"]  # fixtures
OPTIONS = ["--engine", "ray", "--address", "10.0.0.1:6379", "--device", "cpu", "--overhead-us", "200000"]


def plan_of(tmp_path: Path, *, workers: int, per_host: int) -> Path:
    """Workers of one stage, each on a device of its own of class ``gpu``, which must be an L4."""
    model = write_skip_model(tmp_path / "skip.onnx")
    path = write_plan(tmp_path, skip_profile(model), (0, 4), workers=workers, slo_us=20_000_000)
    document = json.loads(path.read_text())
    document["scenario"]["cluster"]["device_classes"]["gpu"]["per_host"] = per_host
    for worker in document["placement"]:
        worker["host"] = worker["device"] // per_host
    path.write_text(json.dumps(document))
    return require(path, nvidia="L4")


def test_a_host_chooses_among_its_own(driver: FakeNvml, tmp_path: Path) -> None:
    plan = load_plan(plan_of(tmp_path, workers=3, per_host=2)).plan
    needs = device_needs(plan, {"gpu": "onnxruntime"}, on_hosts=True)
    assert [(one.in_plan, one.place, one.count) for one in needs if one is not None] == [
        ("gpu:0", 0, 2),
        ("gpu:1", 1, 2),
        ("gpu:2", 0, 1),  # the last host has one
    ]
    assert [one.uuid for one in chosen_devices(needs[:2]) if one is not None] == ["GPU-l4-0", "GPU-l4-1"]
    driver.show([FakeGpu(uuid="GPU-of-the-other-host")])
    (only,) = chosen_devices(needs[2:])
    assert only is not None
    assert (only.in_plan, only.uuid) == ("gpu:2", "GPU-of-the-other-host")
    with pytest.raises(DeviceMismatchError, match="uses 2 of them, but this machine has 1 free"):
        chosen_devices(needs[:2])
    assert device_needs(plan, {"gpu": "emulated"}, on_hosts=True) == (None, None, None)


def test_the_head_needs_no_device(driver: FakeNvml, tmp_path: Path) -> None:
    """It prepares a plan for hosts on a machine without a GPU, and knows which devices may be lost."""
    driver.show([])
    path = plan_of(tmp_path, workers=2, per_host=1)
    loaded = load_plan(path)
    (tmp_path / "run").mkdir()
    spec = prepare(
        loaded.plan, loaded.profiles, ServeOptions({}, hosts_choose_devices=True), tmp_path / "run"
    )
    assert spec.worker_devices == ()
    assert used_by(spec) == {"gpu:0", "gpu:1", "gpu:host0", "gpu:host1"}
    with pytest.raises(DeviceMismatchError):
        prepare(loaded.plan, loaded.profiles, ServeOptions({}), tmp_path / "run")


def agents_of(server: LocalServer) -> dict[str, int]:
    return {host: int(pid) for host, pid in re.findall(r"the agent of (gpu:\d) is (\d+)", server.notes)}


@pytest.fixture
def on_hosts(monkeypatch: pytest.MonkeyPatch):
    """Serves with agents that see the given devices."""
    monkeypatch.setattr(local_server, "_RUN", loopback_hosts.COMMAND)

    def start(plan: Path, **seen: str) -> LocalServer:
        hosts = {f"gpu:{number}": devices for number, devices in zip(range(2), seen.values(), strict=True)}
        monkeypatch.setenv(loopback_hosts.VISIBLE, json.dumps(hosts))
        return LocalServer(plan, OPTIONS, ready_s=240)

    return start


@pytest.mark.slow
def test_workers_are_pinned_on_their_hosts_and_a_lost_device_is_named(
    driver: FakeNvml, tmp_path: Path, on_hosts
) -> None:
    plan = plan_of(tmp_path, workers=2, per_host=1)
    with on_hosts(plan, first="GPU-l4-0", second="GPU-l4-1") as server:
        agents = agents_of(server)
        assert [list(workers_of(agents[host]).values()) for host in ("gpu:0", "gpu:1")] == [
            ["GPU-l4-0"],
            ["GPU-l4-1"],
        ]
        driver.lose(2)
        wait_until(lambda: f"to plan without: penstock replan {plan} --lost gpu:1 -o NEW" in server.notes, 60)
        assert "host gpu:1: lost the device of worker 1: device GPU-l4-1 is lost" in server.notes
        assert_doubles(server.url)
        driver.show(FLEET)
        wait_until(lambda: list(workers_of(agents["gpu:1"]).values()) == ["GPU-l4-1"], 60)


@pytest.mark.slow
def test_a_host_without_the_device_ends_the_start(driver: FakeNvml, tmp_path: Path, on_hosts) -> None:
    plan = plan_of(tmp_path, workers=2, per_host=1)
    with (
        pytest.raises(PenstockError, match=r"host gpu:1: device class 'gpu' requires nvidia L4.*Tesla T4"),
        on_hosts(plan, first="GPU-l4-0", second="GPU-t4"),
    ):
        pass
