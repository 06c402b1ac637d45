"""How a device is shared, as plain values: written to a server's spec and to the head of a journal."""

from __future__ import annotations

import msgspec

from penstock.errors import BadInputError
from penstock.runtime.settings import RuntimeSettings
from penstock.schedule.device import DevicePolicy, JobType
from penstock.schedule.device.orders import OrderOptions

COPIES = 16
"""Jobs of a type that may be begun at once. On the CPU a copy is only what crosses one cut, so memory allows many."""

MOST_QUEUED = 4096

MOST_GPU_COPIES = 32
MOST_GPU_WINDOW = 32
"""Segments at once on a GPU: torch has so many different streams, and each segment takes one."""


def copies_of(runtime: RuntimeSettings, window: int) -> int:
    """Jobs of a model that may be begun at once, with ``window`` segments in flight.

    On a GPU in mode ``graph`` each is a set of buffers and graphs, so there are twice as many as can run, and two more.
    """
    if runtime.kind == "torch" and runtime.torch_mode == "graph":
        return min(2 * window + 2, MOST_GPU_COPIES)
    return COPIES


def check_shared_runtime(kind: str, runtime: RuntimeSettings, window: int, prefix: str) -> None:
    """:class:`BadInputError` if nothing runs segments by turns as asked. ``prefix``: ``CLASS=`` of the options."""
    if runtime.device == "cpu" or kind == "emulated":
        return
    if kind != "torch":
        raise BadInputError(
            f"models take turns on a GPU by torch only, not by {kind} on {prefix}{runtime.device}. Add --executor "
            f"{prefix}torch."
        )
    if window > MOST_GPU_WINDOW:
        raise BadInputError(
            f"{window} segments at once: a GPU runs at most {MOST_GPU_WINDOW}, one a stream. Give a smaller number."
        )


class TypeSpec(msgspec.Struct, frozen=True, array_like=True):
    """One model on the device: see :class:`~penstock.schedule.device.JobType`."""

    name: str
    stages: int = 1
    slo_us: int | None = None
    priority: int = 0
    stage_us: tuple[float, ...] | None = None
    copies: int = COPIES


class DeviceSpec(msgspec.Struct, frozen=True):
    """One device: its types, the order, and ``threads`` worker threads, as many segments in flight."""

    types: tuple[TypeSpec, ...]
    order: str = "moore-hodgson"
    late: str = "demote"
    threads: int = 1
    theta: float = OrderOptions.theta
    miss_budget: float | None = None
    most_queued: int = MOST_QUEUED
    learn: bool = True

    def policy(self) -> DevicePolicy:
        """A fresh policy; :class:`~penstock.errors.BadInputError` for names and figures out of range."""
        types = [
            JobType(
                one.name,
                one.stages,
                copies=one.copies,
                slo_us=one.slo_us,
                priority=one.priority,
                stage_us=one.stage_us,
            )
            for one in self.types
        ]
        return DevicePolicy(
            self.order,
            self.late,
            self.threads,
            types,
            theta=self.theta,
            miss_budget=self.miss_budget,
            most_queued=self.most_queued,
            learn=self.learn,
        )
