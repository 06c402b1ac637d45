"""Workers on real devices, as a fake driver shows them: pinned, refused, lost while they serve."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import tritonclient.http as triton
from msgspec import structs
from serve_cases import WIDTH, skip_profile, write_plan, write_skip_model

from fake_nvml import FakeGpu, FakeNvml, build, install
from one_l4 import one_l4
from penstock.device.facts import DeviceFacts, Vendor
from penstock.device.requirement import Requirement
from penstock.errors import BadInputError, DeviceLostError, DeviceMismatchError, PenstockError
from penstock.plan.documents.store import load_plan
from penstock.plan.scheduled.scheduled_plan import scheduled_plan
from penstock.runtime import available
from penstock.runtime.device_errors import is_out_of_memory, is_poisoned
from penstock.runtime.settings import RuntimeSettings
from penstock.serve.devices import DeviceNeed, WorkerDevice, machines_here, visible, worker_devices
from penstock.serve.engine.child import Child
from penstock.serve.engine.watch.device_watch import WATCH_US, DeviceWatch
from penstock.serve.executor.runtime_options import parse_runtimes, with_gpu_defaults, with_run_cache
from penstock.serve.local_server import LocalServer
from penstock.serve.prepare import ServeOptions, prepare
from penstock.serve.scheduled.scheduled_prepare import _devices
from penstock.serve.spec import ExecutorKind, write_spec

FLEET = [FakeGpu(uuid="GPU-l4-0"), FakeGpu(name="Tesla T4", uuid="GPU-t4"), FakeGpu(uuid="GPU-l4-1")]
# Only the driver is fake here: there is no CUDA to compute with.
ARGUMENTS = ["--overhead-us", "60000", "--device", "cpu"]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> FakeNvml:
    return build(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def driver(library: FakeNvml, monkeypatch: pytest.MonkeyPatch) -> FakeNvml:
    install(library, monkeypatch)
    # The server's processes find the library as they would find the real one.
    monkeypatch.setenv("LD_LIBRARY_PATH", library.environment["LD_LIBRARY_PATH"])
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    library.show(FLEET)
    return library


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    """Two workers of one stage on devices 0 and 1 of class ``gpu``, which must be an L4."""
    model = write_skip_model(tmp_path / "skip.onnx")
    path = write_plan(tmp_path, skip_profile(model), (0, 4), workers=2)
    return require(path, nvidia="L4")


def require(path: Path, **names: str) -> Path:
    document = json.loads(path.read_text())
    document["scenario"]["cluster"]["device_classes"]["gpu"]["requires"] = names
    path.write_text(json.dumps(document))
    return path


def spec_of(plan: Path, folder: Path):
    folder.mkdir(exist_ok=True)
    loaded = load_plan(plan)
    return prepare(loaded.plan, loaded.profiles, ServeOptions({}, plan=plan), folder)


def test_devices_whose_models_take_turns_are_pinned_too(driver: FakeNvml, tmp_path: Path) -> None:
    """Two models on each of two L4s: a worker is a device, whatever the number of its models."""
    scenario, profiles = one_l4(devices=2)
    classes = scenario.cluster.device_classes
    cluster = scenario.cluster.model_copy(
        update={"device_classes": {"L4": classes["L4"].model_copy(update={"requires": {"nvidia": "L4"}})}}
    )
    plan = scheduled_plan(
        scenario.model_copy(update={"cluster": cluster}), profiles, bound=1e9, miss_budget=0.01
    )
    gpu = {"L4": RuntimeSettings(kind="torch", device="cuda")}
    options = ServeOptions({"L4": "emulated"}, window=3)
    assert prepare(plan, profiles, options, tmp_path).worker_devices == (None, None)
    given = _devices(plan, ServeOptions({"L4": "torch"}, runtimes=gpu), ["L4"], {"L4": [0, 1]})
    assert [(one.in_plan, one.uuid) for one in given if one is not None] == [
        ("L4:0", "GPU-l4-0"),
        ("L4:1", "GPU-l4-1"),
    ]
    driver.show([FakeGpu(uuid="GPU-l4-0")])
    with pytest.raises(DeviceMismatchError, match="requires nvidia L4, and the plan uses 2 of them"):
        _devices(plan, ServeOptions({"L4": "torch"}, runtimes=gpu), ["L4"], {"L4": [0, 1]})
    on_onnx = ServeOptions({}, runtimes={"L4": RuntimeSettings(device="cuda")})
    with pytest.raises(BadInputError, match=r"by torch only, not by onnxruntime on L4=cuda\."):
        prepare(plan, profiles, on_onnx, tmp_path)


def test_workers_get_the_devices_of_their_class(driver: FakeNvml, plan: Path) -> None:
    given = worker_devices(load_plan(plan).plan, {"gpu": "onnxruntime"})
    assert [(d.in_plan, d.uuid) for d in given if d is not None] == [
        ("gpu:0", "GPU-l4-0"),
        ("gpu:1", "GPU-l4-1"),
    ]
    assert given[1] is not None
    assert given[1].environment == {"CUDA_VISIBLE_DEVICES": "GPU-l4-1"}


@pytest.mark.parametrize("executor", ["emulated", "padded"])
def test_what_stands_in_for_a_device_needs_none(driver: FakeNvml, plan: Path, executor: str) -> None:
    driver.show([])
    assert worker_devices(load_plan(plan).plan, {"gpu": executor}) == (None, None)


def test_a_machine_without_the_devices_is_refused(driver: FakeNvml, plan: Path, tmp_path: Path) -> None:
    driver.show(FLEET[:2])
    with pytest.raises(
        DeviceMismatchError, match=r"'gpu' requires nvidia L4.*uses 2.*has 1 free.*T4 \(Tesla T4"
    ):
        spec_of(plan, tmp_path / "run")


def test_a_device_hidden_from_this_process_is_not_given(
    driver: FakeNvml, plan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-l4-1,0")
    given = worker_devices(load_plan(plan).plan, {"gpu": "onnxruntime"})
    assert [d.uuid for d in given if d is not None] == ["GPU-l4-1", "GPU-l4-0"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-l4-1")
    with pytest.raises(DeviceMismatchError, match="has 1 free"):
        worker_devices(load_plan(plan).plan, {"gpu": "onnxruntime"})


@pytest.mark.parametrize(
    ("listed", "seen"),
    [(None, "abc"), ("", "c"), ("-1", "c"), ("1,0", "bac"), ("a,7,b", "ac"), ("0,0", "ac")],
)
def test_visible_devices(listed: str | None, seen: str) -> None:
    devices = [
        DeviceFacts("nvidia", 0, "NVIDIA L4", "L4", "a", ""),
        DeviceFacts("nvidia", 1, "NVIDIA L4", "L4", "b", ""),
        DeviceFacts("amd", 0, "AMD MI210", "MI210", "c", ""),
    ]
    environment = {} if listed is None else {"CUDA_VISIBLE_DEVICES": listed}
    assert "".join(device.uuid for device in visible(devices, environment)) == seen


def test_of_several_devices_only_those_of_nvidia_can_be_pinned(driver: FakeNvml, plan: Path) -> None:
    require(plan, amd="MI210")
    several = [DeviceFacts("amd", i, "AMD MI210", "MI210", f"0000:0{i}:00.0", "") for i in range(2)]
    with pytest.raises(DeviceMismatchError, match="only NVIDIA's can be pinned"):
        worker_devices(load_plan(plan).plan, {"gpu": "onnxruntime"}, several)


def test_a_worker_refuses_a_device_of_another_class(driver: FakeNvml, plan: Path, tmp_path: Path) -> None:
    """The worker's own check, in its own process: the machine changed after the supervisor chose."""
    folder = tmp_path / "run"
    spec = spec_of(plan, folder)
    write_spec(spec, folder)
    driver.show([FakeGpu(name="Tesla T4", uuid="GPU-l4-0"), FLEET[2]])
    device = spec.device_of(0)
    assert device is not None
    child = Child("worker", folder, 0, 0, 1, environment=device.environment)
    (problem,) = child.line.receive() or ()
    child.problem = problem.message
    reason = child.reap(20.0)
    assert "device class 'gpu' requires nvidia L4, but the device here is nvidia T4 (Tesla T4" in reason


def test_a_class_that_requires_a_gpu_computes_on_it() -> None:
    classes = frozenset({"fast", "slow", "stand-in"})
    executors: dict[str, ExecutorKind] = {"stand-in": "emulated", "": "torch"}
    found = parse_runtimes({"device": []}, executors, classes, None, frozenset({"fast", "stand-in"}))
    assert {name: one.device for name, one in found.items()} == {
        "fast": "cuda",
        "slow": "cpu",
        "stand-in": "cpu",
    }
    found = parse_runtimes({"device": ["fast=cpu"]}, executors, classes, None, frozenset({"fast"}))
    assert found["fast"].device == "cpu"
    with pytest.raises(BadInputError, match=r"fast=cuda:1: the class requires a device, which serve chooses"):
        parse_runtimes({"device": ["fast=cuda:1"]}, executors, classes, None, frozenset({"fast"}))


def test_only_errors_that_last_end_a_worker() -> None:
    assert is_poisoned(RuntimeError("CUDA error: an illegal memory access was encountered"))
    assert is_poisoned(RuntimeError("CUDA failure 719: unspecified launch failure ; GPU=0"))
    assert is_poisoned(RuntimeError("TensorRT EP execution context enqueue failed."))
    assert not is_poisoned(ValueError("shapes differ"))


@pytest.mark.parametrize(
    "text",
    [
        "CUDA out of memory. Tried to allocate 2 GiB",  # torch
        "CUDA error: out of memory",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "CUDA failure 2: out of memory ; GPU=0",  # onnxruntime
        "bfc_arena.cc:359 Failed to allocate memory for requested buffer of size 4096",
        "bfc_arena.cc:376 Available memory of 1 is smaller than requested bytes of 2",
    ],
)
def test_too_little_memory_fails_a_batch_and_ends_a_profile_no_worker(text: str) -> None:
    assert is_out_of_memory(RuntimeError(text))
    assert not is_poisoned(RuntimeError(text))
    assert not is_out_of_memory(RuntimeError("CUDA error: an illegal memory access was encountered"))


@pytest.fixture
def watch(driver: FakeNvml, plan: Path, tmp_path: Path) -> Iterator[DeviceWatch]:
    """Closed before the fake driver goes: else its session ends in another test and asks a driver that is gone."""
    with closing(DeviceWatch(spec_of(plan, tmp_path / "run"))) as made:
        yield made


def test_the_watch_tells_each_loss_once_and_sees_a_device_come_back(
    driver: FakeNvml, watch: DeviceWatch
) -> None:
    assert watch.newly_lost(0) == {}
    driver.lose(2)
    assert watch.newly_lost(WATCH_US - 1) == {}  # not asked yet
    lost = watch.newly_lost(WATCH_US)
    assert list(lost) == [1]
    assert "GPU-l4-1 is lost" in lost[1]
    assert (watch.is_lost(0), watch.is_lost(1)) == (False, True)
    assert watch.left([1]) == "gpu has 1 of 2 devices left"
    assert watch.lost_in_plan == {"gpu:1"}
    assert watch.newly_lost(2 * WATCH_US) == {}
    driver.show(FLEET)
    assert watch.newly_lost(3 * WATCH_US) == {}
    assert not watch.is_lost(1)


def test_a_watch_whose_plan_is_served_no_more_asks_for_what_is_lost_only(
    driver: FakeNvml, watch: DeviceWatch
) -> None:
    driver.lose(2)
    watch.newly_lost(0)
    assert watch.retire()
    driver.lose(0)
    assert watch.newly_lost(WATCH_US) == {}
    assert watch.lost_in_plan == {"gpu:1"}
    driver.show(FLEET)
    watch.newly_lost(2 * WATCH_US)
    assert watch.lost_in_plan == frozenset()


def test_a_driver_that_is_unloaded_loses_all(driver: FakeNvml) -> None:
    device = WorkerDevice(DeviceNeed(Requirement("gpu", {"nvidia": "L4"}), 0, 0, 1), "nvidia", "GPU-l4-0")
    device.check()
    driver.state.unlink()
    assert "does not answer" in (device.why_lost() or "")
    with pytest.raises(PenstockError):
        device.check()
    driver.show([])
    with pytest.raises(DeviceLostError):
        device.check()


def wait_until(condition, seconds: float = 20.0) -> None:
    """Poll a fact about other processes; bounded."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(0.02)


def workers_of(pid: int) -> dict[int, str]:
    """The visible devices of each living worker, by process id."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    found = {}
    for child in map(int, children):
        words = Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
        if b"worker" in words:
            entries = dict(
                e.split(b"=", 1) for e in Path(f"/proc/{child}/environ").read_bytes().split(b"\0") if e
            )
            found[child] = entries.get(b"CUDA_VISIBLE_DEVICES", b"").decode()
    return found


def assert_doubles(url: str) -> None:
    """The server at ``url`` answers right."""
    x = np.ones((1, WIDTH), np.float32)
    tensor = triton.InferInput("x", x.shape, "FP32")
    tensor.set_data_from_numpy(x)
    with triton.InferenceServerClient(url.removeprefix("http://")) as client:
        np.testing.assert_array_equal(client.infer("skip", [tensor]).as_numpy("double"), 2 * x)


@pytest.mark.slow
def test_a_device_lost_while_serving(driver: FakeNvml, plan: Path) -> None:
    with LocalServer(plan, ARGUMENTS) as server:
        assert sorted(workers_of(server.pid).values()) == ["GPU-l4-0", "GPU-l4-1"]
        driver.lose(0)
        wait_until(lambda: "to plan without" in server.notes)
        assert "lost the device of worker 0: device GPU-l4-0 is lost" in server.notes
        assert "gpu has 1 of 2 devices left" in server.notes
        assert f"to plan without: penstock replan {plan} --lost gpu:0 -o NEW" in server.notes
        wait_until(lambda: list(workers_of(server.pid).values()) == ["GPU-l4-1"])
        # The rest of the class serves on.
        assert_doubles(server.url)
        driver.show(FLEET)
        wait_until(lambda: sorted(workers_of(server.pid).values()) == ["GPU-l4-0", "GPU-l4-1"])
    # What was proposed is a command that works: a plan on the device that is left.
    new = plan.with_name("new.json")
    command = [
        sys.executable,
        "-m",
        "penstock.cli.main",
        "replan",
        str(plan),
        "--lost",
        "gpu:0",
        "-o",
        str(new),
    ]
    subprocess.run(command, check=True, timeout=120, env=os.environ, capture_output=True)
    assert {worker.device for worker in load_plan(new).plan.placement} == {1}


@pytest.mark.slow
def test_a_lost_device_is_planned_away(driver: FakeNvml, plan: Path) -> None:
    """The server finds a plan on the device that is left, switches to it, and back when the device is there again."""
    with LocalServer(plan, [*ARGUMENTS, "--replan-after", "0"]) as server:
        driver.lose(0)
        wait_until(lambda: "switched to plan" in server.notes, seconds=120)
        assert "planning without gpu:0" in server.notes
        assert_doubles(server.url)
        wait_until(lambda: list(workers_of(server.pid).values()) == ["GPU-l4-1"])
        driver.show(FLEET)
        wait_until(lambda: f"switched to plan {plan}" in server.notes, seconds=120)
        wait_until(lambda: sorted(workers_of(server.pid).values()) == ["GPU-l4-0", "GPU-l4-1"])


@pytest.mark.parametrize(
    ("providers", "built_for", "expected"),
    [
        (("CUDAExecutionProvider", "CPUExecutionProvider"), "is not installed", "onnxruntime"),
        (("CPUExecutionProvider",), "CUDA", "torch"),
        ((), "CUDA", "torch"),
    ],
)
def test_a_class_that_requires_a_gpu_gets_a_runtime_that_can_use_one(
    monkeypatch: pytest.MonkeyPatch, providers: tuple[str, ...], built_for: str, expected: str
) -> None:
    monkeypatch.setattr(available, "available_providers", lambda: providers)
    monkeypatch.setattr(available, "_torch_is_built_for", lambda: built_for)
    assert with_gpu_defaults({}, [], {"fast": ("nvidia",)}) == {"fast": expected}


def test_models_that_take_turns_on_a_gpu_get_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(available, "available_providers", lambda: ("CUDAExecutionProvider",))
    monkeypatch.setattr(available, "_torch_is_built_for", lambda: "CUDA")
    fast: dict[str, tuple[Vendor, ...]] = {"fast": ("nvidia",)}
    assert with_gpu_defaults({}, [], fast) == {"fast": "onnxruntime"}
    assert with_gpu_defaults({}, [], fast, by_turns=True) == {"fast": "torch"}
    monkeypatch.setattr(available, "_torch_is_built_for", lambda: "is not installed")
    with pytest.raises(BadInputError, match="by torch only, but torch is not installed"):
        with_gpu_defaults({}, [], fast, by_turns=True)


def test_what_onnxruntime_builds_for_a_gpu_is_kept_in_the_run(tmp_path: Path) -> None:
    given = {
        "gpu": RuntimeSettings(device="cuda"),
        "stated": RuntimeSettings(device="cuda", cache="/engines"),
        "torch": RuntimeSettings(kind="torch", device="cuda"),
        "cpu": RuntimeSettings(),
    }
    caches = {name: one.cache for name, one in with_run_cache(given, tmp_path).items()}
    assert caches == {"gpu": str(tmp_path), "stated": "/engines", "torch": None, "cpu": None}


def test_without_such_a_runtime_the_class_is_refused_unless_something_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(available, "available_providers", lambda: ("CPUExecutionProvider",))
    monkeypatch.setattr(available, "_torch_is_built_for", lambda: "2.13.0+cpu is built for other devices")
    fast: dict[str, tuple[Vendor, ...]] = {"fast": ("nvidia",)}
    with pytest.raises(
        BadInputError, match=r"'fast' requires a device of NVIDIA, but nothing here computes .* other devices"
    ):
        with_gpu_defaults({}, ["slow=cpu"], fast)
    assert with_gpu_defaults({}, ["fast=cpu"], fast) == {}
    assert with_gpu_defaults({"": "emulated"}, [], fast) == {"": "emulated"}
    assert with_gpu_defaults({"fast": "emulated"}, [], fast) == {"fast": "emulated"}


@pytest.mark.parametrize(
    ("vendors", "providers", "needs"),
    [
        (("amd",), ("MIGraphXExecutionProvider", "CPUExecutionProvider"), None),
        (("intel",), ("OpenVINOExecutionProvider", "CPUExecutionProvider"), None),
        # Neither CUDA of onnxruntime nor that of torch computes on these.
        (("amd",), ("CUDAExecutionProvider", "CPUExecutionProvider"), "AMD, .*MIGraphXExecutionProvider"),
        (("intel",), ("CPUExecutionProvider",), "Intel, .*OpenVINOExecutionProvider"),
    ],
)
def test_classes_of_other_vendors_are_not_computed_on_the_cpu_in_silence(
    monkeypatch: pytest.MonkeyPatch,
    vendors: tuple[Vendor, ...],
    providers: tuple[str, ...],
    needs: str | None,
) -> None:
    monkeypatch.setattr(available, "available_providers", lambda: providers)
    monkeypatch.setattr(available, "_torch_is_built_for", lambda: "CUDA")
    if needs is None:
        assert with_gpu_defaults({}, [], {"other": vendors}) == {"other": "onnxruntime"}
    else:
        with pytest.raises(BadInputError, match=f"requires a device of {needs}"):
            with_gpu_defaults({}, [], {"other": vendors})


@pytest.mark.parametrize(
    ("asked", "names"),
    [({"requires": {"amd": "MI300X"}}, "AMD"), ({"min_memory_gb": 1}, "NVIDIA or AMD or Intel")],
)
def test_a_class_that_needs_any_device_is_refused_where_nothing_computes_on_one(
    driver: FakeNvml, plan: Path, asked: dict[str, object], names: str
) -> None:
    """It was pinned, and computed on the CPU."""
    document = json.loads(plan.read_text())
    one = document["scenario"]["cluster"]["device_classes"]["gpu"]
    del one["requires"]
    one.update(asked)
    plan.write_text(json.dumps(document))
    command = [sys.executable, "-m", "penstock.cli.main", "serve", str(plan), "--http", "127.0.0.1:0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=os.environ)
    assert done.returncode == 2
    assert f"requires a device of {names}, but nothing here computes on one" in done.stderr.replace("\n", " ")


def test_what_serves_is_compared_with_what_measured(driver: FakeNvml, plan: Path, tmp_path: Path) -> None:
    spec = spec_of(plan, tmp_path / "run")
    (name,) = {stage.device_class for stage in spec.stages}
    on_gpu = RuntimeSettings(kind="torch", device="cuda", precision="tf32")
    stages = tuple(structs.replace(one, executor="torch", runtime=on_gpu) for one in spec.stages)
    here = machines_here(stages, spec.worker_devices)[name]
    assert (here.device_class, here.driver, here.executor, here.precision) == (
        "L4",
        "570.86.15",
        "torch (graph)",
        "tf32",
    )
    # The class requires an L4, but its user said --device cpu.
    here = machines_here(spec.stages, spec.worker_devices)[name]
    assert (here.driver, here.executor, here.precision) == (None, "onnxruntime", None)
    emulated = tuple(structs.replace(one, executor="emulated") for one in spec.stages)
    assert machines_here(emulated, spec.worker_devices) == {}
