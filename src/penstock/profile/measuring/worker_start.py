"""What a worker costs besides its time: how long it takes to start, its context's memory, its device's power.

A worker's start is timed as it happens in service: a new process that imports its runtime, loads a piece and runs it
once. Two pieces, the whole model and the smallest block, give a line: a fixed time and one for each byte of weights.
Memory and power are the driver's (NVML): the context is what the device's memory in use grew by, less what the runtime
says that it took; power at full load is energy over time of the whole model at its largest batch.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, final

from penstock.device.discover import describe_device
from penstock.device.facts import DeviceFacts
from penstock.errors import MissingExtraError, NoDriverError
from penstock.profile.measured_machine import WorkerCosts
from penstock.profile.measuring._measure_worker import Reply, Step
from penstock.profile.measuring.copies import OpenCopies
from penstock.profile.measuring.timing import Piece
from penstock.runtime.settings import RuntimeSettings

BUSY_SECONDS = 1.5
"""Energy counters are updated ten to fifty times a second, so both ends of a measurement are off by some hundredths
of a second."""


class Meter(Protocol):
    """The driver's view of the device."""

    def read(self) -> DeviceFacts | None:
        """The device now; None if no driver can be asked."""


@final
class NvmlMeter:
    """The meter of the device that ``settings`` name."""

    def __init__(self, settings: RuntimeSettings) -> None:
        self._name = settings.driver_name

    def read(self) -> DeviceFacts | None:
        """The device now; None without nvidia-ml-py or a driver."""
        try:
            return describe_device(self._name)
        except (MissingExtraError, NoDriverError):
            return None


@dataclass(frozen=True)
class _Start:
    """One worker's start: how long, and what it and the device then held in memory."""

    seconds: float
    piece_bytes: int
    context_bytes: int
    busy_w: float | None


def measure_worker_costs(
    pieces: Sequence[Piece],
    batch: int,
    settings: RuntimeSettings,
    open_copies: OpenCopies,
    meter: Meter,
    now_s: Callable[[], float] = time.perf_counter,
) -> WorkerCosts:
    """The costs of a worker of the model whose last piece is the whole; ``batch`` indexes the pieces' inputs.

    Nothing else may start or end on the device meanwhile: memory and power are the whole device's.
    """
    before = meter.read()
    smallest = min(pieces, key=lambda piece: piece.model.stat().st_size)
    whole = _start(pieces[-1], batch, settings, open_copies, meter, now_s, BUSY_SECONDS)
    small = _start(smallest, batch, settings, open_copies, meter, now_s, 0.0)
    more_bytes = whole.piece_bytes - small.piece_bytes
    us_per_byte = max((whole.seconds - small.seconds) * 1e6 / more_bytes, 0.0) if more_bytes > 0 else 0.0
    return WorkerCosts(
        workspace_bytes=whole.context_bytes,
        load_fixed_us=max(round(whole.seconds * 1e6 - us_per_byte * whole.piece_bytes), 0),
        load_us_per_gbyte=us_per_byte * 1e9,
        idle_w=None if before is None else before.power_w,
        busy_w=whole.busy_w,
    )


def _start(
    piece: Piece,
    batch: int,
    settings: RuntimeSettings,
    open_copies: OpenCopies,
    meter: Meter,
    now_s: Callable[[], float],
    busy_seconds: float,
) -> _Start:
    before = meter.read()
    began = now_s()
    with open_copies(1, settings.threads) as copies:
        (reply,) = copies.run(Step(piece.model, piece.inputs[batch], 0.0, 0, 1, settings))
        seconds = now_s() - began
        loaded = meter.read()
        busy_w = None
        if busy_seconds > 0:
            began = now_s()
            copies.run(Step(piece.model, piece.inputs[batch], busy_seconds, 1, 1, settings))
            busy_w = _watts(loaded, meter.read(), now_s() - began)
    return _Start(seconds, piece.model.stat().st_size, _context_bytes(before, loaded, reply), busy_w)


def _context_bytes(before: DeviceFacts | None, loaded: DeviceFacts | None, reply: Reply) -> int:
    """What the worker took beyond weights, activations and workspace; 0 if the device does not tell."""
    if before is None or loaded is None or reply.memory is None:
        return 0
    if before.memory_used_bytes is None or loaded.memory_used_bytes is None:
        return 0
    return max(loaded.memory_used_bytes - before.memory_used_bytes - sum(reply.memory), 0)


def _watts(before: DeviceFacts | None, after: DeviceFacts | None, seconds: float) -> float | None:
    """Mean power between two readings: of the energy counter, else the power shown at the end, itself a mean."""
    if before is None or after is None:
        return None
    if before.energy_mj is None or after.energy_mj is None:
        return after.power_w
    return round((after.energy_mj - before.energy_mj) / 1e3 / seconds, 1)
