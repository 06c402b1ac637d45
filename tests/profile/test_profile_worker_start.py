"""Start, context and power of a worker: by hand, with made-up processes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from penstock.device.facts import DeviceFacts
from penstock.errors import NoDriverError
from penstock.profile import machine_here
from penstock.profile.measured_machine import WorkerCosts
from penstock.profile.measuring._measure_worker import Reply, Step
from penstock.profile.measuring.timing import Piece
from penstock.profile.measuring.worker_start import BUSY_SECONDS, measure_worker_costs
from penstock.runtime.settings import RuntimeSettings

SETTINGS = RuntimeSettings()
EMPTY = np.empty(0, np.int64)


def device(**facts: float | None) -> DeviceFacts:
    return DeviceFacts("nvidia", 0, "NVIDIA L4", "L4", "GPU-x", "", **facts)  # type: ignore[arg-type]


class Machine:
    """A device and its processes: starting takes 2 s and a second a kilobyte, and each takes 300 bytes of context."""

    def __init__(self, *, tells_energy: bool = True) -> None:
        self.now = 100.0
        self.used = 1_000
        self.energy_j = 0.0
        self.tells_energy = tells_energy
        self.loaded: Path | None = None

    @contextmanager
    def open_copies(self, share: int, threads: int) -> Iterator[Machine]:
        before = self.used
        self._passes(2.0, 20.0)
        yield self
        self.used, self.loaded = before, None

    def run(self, step: Step) -> list[Reply]:
        if self.loaded is None:
            self._passes(step.model.stat().st_size / 1_000, 20.0)
            self.used += step.model.stat().st_size + 50 + 300
            self.loaded = step.model
        # 70 W while it computes.
        self._passes(step.seconds, 70.0)
        return [Reply(EMPTY, EMPTY, memory=(step.model.stat().st_size, 40, 10))]

    def _passes(self, seconds: float, watts: float) -> None:
        self.now += seconds
        self.energy_j += seconds * watts

    def read(self) -> DeviceFacts:
        energy = round(self.energy_j * 1e3) if self.tells_energy else None
        return device(memory_used_bytes=self.used, energy_mj=energy, power_w=20.0)


def pieces(folder: Path) -> list[Piece]:
    made = []
    for name, size in (("block00", 500), ("block01", 2_500), ("whole", 3_000)):
        file = folder / f"{name}.onnx"
        file.write_bytes(b"x" * size)
        made.append(Piece(name, file, (folder / "in.npz",)))
    return made


def test_costs_by_hand(tmp_path: Path) -> None:
    machine = Machine()
    found = measure_worker_costs(
        pieces(tmp_path),
        0,
        SETTINGS,
        machine.open_copies,
        machine,
        lambda: machine.now,  # type: ignore[arg-type]
    )
    assert found.load_fixed_us == 2_000_000
    # A millisecond a byte.
    assert found.load_us_per_gbyte == pytest.approx(1e12)
    assert found.load_us(3_000) == 5_000_000
    assert found.workspace_bytes == 300
    assert (found.idle_w, found.busy_w) == (20.0, 70.0)
    assert BUSY_SECONDS > 0


def test_without_a_counter_of_energy_the_power_shown_counts(tmp_path: Path) -> None:
    machine = Machine(tells_energy=False)
    found = measure_worker_costs(
        pieces(tmp_path),
        0,
        SETTINGS,
        machine.open_copies,
        machine,
        lambda: machine.now,  # type: ignore[arg-type]
    )
    assert found.busy_w == 20.0


def test_a_gpu_whose_driver_is_not_asked_is_measured_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_driver(name: int | str) -> DeviceFacts:
        raise NoDriverError("the driver does not answer")

    monkeypatch.setattr(machine_here, "describe_device", no_driver)
    machine = machine_here.machine_at_hand(RuntimeSettings(device="cuda", precision="tf32"))
    assert "penstock-serving[gpu]" in machine.device_name
    assert (machine.driver, machine.precision) == (None, "tf32")


def test_without_a_driver_the_start_is_timed_all_the_same(tmp_path: Path) -> None:
    class Silent:
        def read(self) -> None:
            return None

    machine = Machine()
    found = measure_worker_costs(
        pieces(tmp_path),
        0,
        SETTINGS,
        machine.open_copies,
        Silent(),
        lambda: machine.now,  # type: ignore[arg-type]
    )
    assert found == WorkerCosts(0, 2_000_000, pytest.approx(1e12), None, None)
