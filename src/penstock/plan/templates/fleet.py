"""What a plan distributes, and the prices that a relaxation assigns to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from penstock.arrays import F64, I64

T = TypeVar("T", int, I64)


@dataclass(frozen=True)
class Fleet:
    """What the program distributes, and for which aim.

    ``count``: devices of each class. ``weight``: of each model. With ``hourly_cost`` (classes,), in money or in
    watts, the weights are demands in requests per second. They are met at the least cost.
    """

    count: I64
    weight: F64
    hourly_cost: F64 | None = None
    share_devices: bool = False

    @property
    def device_cost(self) -> F64:
        """How much one used device reduces the value: (classes,), 0 for throughput."""
        return np.zeros(len(self.count)) if self.hourly_cost is None else self.hourly_cost


def device_owner(model: T, stage: T, share_devices: bool) -> tuple[T, T]:
    """The owner of a device. Workers of one class and one owner may share devices.

    ``model`` and ``stage`` (the position in the pipeline) may be numbers or arrays. With ``share_devices``, all
    workers have one owner. Without it, workers of one model and position have one owner (the published rule).
    """
    return (0 * model, 0 * stage) if share_devices else (model, stage)


@dataclass(frozen=True)
class Prices:
    """Optimum and duals of the linear relaxation. No plan has a value above ``bound``.

    In units of the value: ``device`` (classes,) is the price of one device, including its cost, and ``rate``
    (models,) is the value of one request per second. ``bound`` is minus infinity if the demands cannot be met
    even with split workers.
    """

    bound: float
    device: F64
    rate: F64
