"""Whole set-ups by name: an order, what is late, a window, and whether models are cut.

The baselines bear the names of the ablations in Paella (SOSP 2023, section 7). ``direct-ms`` hands every job to
the device at once, on a stream of its own; ``direct-ss`` and ``single-stream`` put all into one stream, in
order of arrival.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

from penstock.errors import BadInputError
from penstock.schedule.device import DevicePolicy
from penstock.schedule.device.orders import OrderOptions
from penstock.simulate.device.device_loop import NONE, DeviceLoop, Overheads
from penstock.simulate.device.device_record import DeviceRecord
from penstock.simulate.device.interference import Interference
from penstock.simulate.device.mixes import JobArrivals, SharedModel
from penstock.simulate.device.service_shares import ServiceShares

UNBOUNDED = 1_000_000
"""A window or a number of copies that never binds."""


@final
@dataclass(frozen=True)
class Setup:
    """How a device is shared. ``copies``: of each model, None for as many as the window is wide.

    ``known``: the stage times are told and kept; else they are learned while running.
    """

    order: str
    late: str = "keep"
    window: int = 1
    cut: bool = True
    theta: float = OrderOptions.theta
    miss_budget: float | None = None
    copies: int | None = UNBOUNDED
    known: bool = True

    def policy(self, models: Sequence[SharedModel]) -> DevicePolicy:
        """A fresh policy for these models (cut or whole as the set-up says)."""
        copies = self.window if self.copies is None else self.copies
        return DevicePolicy(
            self.order,
            self.late,
            self.window,
            [model.job_type(copies, known=self.known) for model in self.models(models)],
            theta=self.theta,
            miss_budget=self.miss_budget,
            learn=not self.known,
        )

    def models(self, models: Sequence[SharedModel]) -> list[SharedModel]:
        """The models as this set-up runs them."""
        return [model if self.cut else model.whole() for model in models]

    def run(
        self,
        models: Sequence[SharedModel],
        arrivals: JobArrivals,
        device: Interference,
        *,
        overheads: Overheads = NONE,
        service: ServiceShares | None = None,
    ) -> DeviceRecord:
        """Simulate it."""
        loop = DeviceLoop(self.policy(models), self.models(models), device, overheads, service)
        return loop.run(arrivals)


SETUPS = {
    "fifo": Setup("fifo"),
    "sjf": Setup("sjf"),
    "srpt": Setup("srpt"),
    "srpt-deficit": Setup("srpt-deficit"),
    "edf": Setup("edf"),
    "edf-demote": Setup("edf", late="demote"),
    "moore-hodgson": Setup("moore-hodgson", late="demote"),
    "moore-hodgson-budgets": Setup("moore-hodgson", late="demote", miss_budget=0.01),
    "round-robin": Setup("round-robin"),
    "priority": Setup("priority"),
    "single-stream": Setup("fifo", cut=False),
    "direct-ss": Setup("fifo", cut=False),
    "job-by-job": Setup("fifo", cut=False),
    "kernel-by-kernel": Setup("round-robin"),
    "direct-ms": Setup("fifo", window=UNBOUNDED, cut=False),
}


def setup_by_name(name: str, **changes: object) -> Setup:
    """The set-up called ``name`` with some fields changed. Raises :class:`BadInputError` for any other name."""
    if name not in SETUPS:
        raise BadInputError(f"set-up (={name!r}) must be one of {', '.join(SETUPS)}.")
    return replace(SETUPS[name], **changes)  # type: ignore[arg-type]
