"""What measured a profile, and what a worker costs there besides its time: facts that timings depend on.

A profile holds true on the device, driver and libraries that it was measured with. :func:`differences` says how
this machine differs from that one, for a warning when the profile is used.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version

from penstock.device.facts import DeviceFacts
from penstock.runtime.settings import NOT_YET_KNOWN

# The packages whose version changes what a block takes.
TIMED_LIBRARIES = ("onnxruntime", "onnxruntime-gpu", "torch", "tensorrt")


@dataclass(frozen=True)
class Machine:
    """What ran the measurement. ``device_class`` as :func:`penstock.device.names.device_class_of` gives it.

    ``libraries``: version by package. Clocks are those under load, in MHz: medians, and the least; ``precision`` is
    what the executor was asked for (``fp32``, ``tf32``, ``fp16``). None if it is not known.
    """

    device_name: str
    device_class: str
    driver: str | None = None
    libraries: Mapping[str, str] = field(default_factory=dict)
    sm_clock_mhz: int | None = None
    memory_clock_mhz: int | None = None
    power_limit_w: float | None = None
    throttle_reasons: tuple[str, ...] = ()
    mps: bool | None = None
    executor: str | None = None
    precision: str | None = None
    least_sm_clock_mhz: int | None = None


@dataclass(frozen=True)
class WorkerCosts:
    """What a worker of this model takes on a device class besides latency; 0 and None if not measured.

    ``workspace_bytes``: memory beyond weights and activations (the runtime's context, libraries, scratch).
    Loading ``n`` bytes of weights takes ``load_fixed_us + n * load_us_per_gbyte / 1e9`` until the worker is warm.
    ``idle_w`` and ``busy_w``: power of the whole device without work, and at full load with this model.
    """

    workspace_bytes: int = 0
    load_fixed_us: int = 0
    load_us_per_gbyte: float = 0.0
    idle_w: float | None = None
    busy_w: float | None = None

    def load_us(self, parameter_bytes: int) -> int:
        """Time from the start of a worker with ``parameter_bytes`` of weights until it can serve."""
        return round(self.load_fixed_us + parameter_bytes * self.load_us_per_gbyte / 1e9)


def machine_of(device: DeviceFacts, *, executor: str | None = None, precision: str | None = None) -> Machine:
    """The machine as ``device`` and the installed packages describe it now."""
    return Machine(
        device_name=device.name,
        device_class=device.device_class,
        driver=device.driver,
        libraries=installed_libraries(),
        sm_clock_mhz=device.sm_clock_mhz,
        memory_clock_mhz=device.memory_clock_mhz,
        power_limit_w=device.power_limit_w,
        throttle_reasons=device.throttle_reasons,
        mps=device.mps,
        executor=executor,
        precision=precision,
    )


def installed_libraries(names: Iterable[str] = TIMED_LIBRARIES) -> dict[str, str]:
    """Versions of those of ``names`` that are installed; nothing is imported."""
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _on(running: bool | None) -> str | None:
    return None if running is None else "on" if running else "off"


def differences(measured_on: Machine, here: Machine) -> list[str]:
    """In words, how ``here`` differs from the machine of the profile. Empty if nothing that is known of both
    differs."""
    found = []
    for what, then, now in (
        ("device", measured_on.device_class, here.device_class),
        ("driver", measured_on.driver, here.driver),
        ("power limit in W", measured_on.power_limit_w, here.power_limit_w),
        ("multi-process service", _on(measured_on.mps), _on(here.mps)),
        ("precision", measured_on.precision, here.precision),
        *(
            (f"library {name}", measured_on.libraries[name], here.libraries.get(name, "not installed"))
            for name in sorted(measured_on.libraries)
        ),
    ):
        if then is not None and now is not None and then != now:
            found.append(f"{what} was {then}, is {now}")
    if measured_on.executor is not None and here.executor is not None:
        then, now = measured_on.executor, here.executor
        # Which provider will start is not known before, only the runtime.
        if NOT_YET_KNOWN in now:
            then, now = then.partition(" ")[0], now.partition(" ")[0]
        if then != now:
            found.append(f"executor was {then}, is {now}")
    return found
