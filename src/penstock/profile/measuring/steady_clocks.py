"""A GPU's clocks: up and steady before anything is timed, and watched while it is.

An idle GPU runs at a fraction of its clock, and takes from tenths of a second to seconds to reach what it keeps under
load. So the whole model runs untimed until its time no longer changes. What the clocks did meanwhile, and what held
them down, is asked of the driver beside the measurement, not behind it: a second later the device is idle again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import median
from types import TracebackType
from typing import Self, final

from penstock.device.facts import DeviceFacts
from penstock.errors import PenstockError
from penstock.profile.measured_machine import Machine
from penstock.profile.measuring.worker_start import Meter

STEADY = 0.01
"""Times are steady if a slice's median is this close to those of the two slices before it."""

SLICE_S = 0.25
LONGEST_S = 4.0
PERIOD_S = 0.2


def warm_until_steady(slice_us: Callable[[], float], most_slices: int) -> bool:
    """Run slices until three medians in a row agree within :data:`STEADY`; False if they never do.

    ``slice_us`` runs for about :data:`SLICE_S` and gives the median time of a run, in microseconds.
    """
    last: list[float] = []
    for _ in range(most_slices):
        last = [*last[-2:], slice_us()]
        if len(last) == 3 and max(last) <= min(last) * (1 + STEADY):
            return True
    return False


@dataclass(frozen=True)
class ClocksSeen:
    """Of the readings under load: the median and the least clock in MHz, None if the driver does not tell; reasons for
    lower clocks, sorted."""

    sm_clock_mhz: int | None
    least_sm_clock_mhz: int | None
    memory_clock_mhz: int | None
    throttle_reasons: tuple[str, ...]

    def put_into(self, machine: Machine) -> Machine:
        """``machine`` with what was seen in place of what its driver says now."""
        return replace(
            machine,
            sm_clock_mhz=self.sm_clock_mhz,
            least_sm_clock_mhz=self.least_sm_clock_mhz,
            memory_clock_mhz=self.memory_clock_mhz,
            throttle_reasons=self.throttle_reasons,
        )


def clocks_seen(readings: list[DeviceFacts]) -> ClocksSeen | None:
    """What ``readings`` say of the device under load, without those of an idle one; None if no other is left."""
    busy = [one for one in readings if "idle" not in one.throttle_reasons]
    if not busy:
        return None
    sm = [one.sm_clock_mhz for one in busy if one.sm_clock_mhz is not None]
    memory = [one.memory_clock_mhz for one in busy if one.memory_clock_mhz is not None]
    return ClocksSeen(
        round(median(sm)) if sm else None,
        min(sm, default=None),
        round(median(memory)) if memory else None,
        tuple(sorted({reason for one in busy for reason in one.throttle_reasons})),
    )


@final
class ClockWatch:
    """Asks ``meter`` every ``period_s`` seconds on a thread of its own, from its beginning to its end."""

    def __init__(self, meter: Meter, period_s: float = PERIOD_S) -> None:
        self._meter, self._period_s = meter, period_s
        self._over = threading.Event()
        self._readings: list[DeviceFacts] = []
        self._thread = threading.Thread(target=self._read_on, daemon=True, name="clock-watch")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    @property
    def seen(self) -> ClocksSeen | None:
        """What was read until now; None if there is no driver to ask, or the device was idle each time."""
        return clocks_seen(list(self._readings))

    def _read_on(self) -> None:
        while not self._over.wait(self._period_s):
            try:
                reading = self._meter.read()
            except PenstockError:
                return  # a device that is lost: the measurement itself says so
            if reading is None:
                return
            self._readings.append(reading)
