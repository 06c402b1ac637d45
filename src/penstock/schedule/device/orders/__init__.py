"""The orders in which queued jobs are released, one a file, and their names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

from penstock.errors import BadInputError
from penstock.schedule.device.orders.edf import edf_key
from penstock.schedule.device.orders.fifo import fifo_key
from penstock.schedule.device.orders.keyed import Key, KeyedOrder
from penstock.schedule.device.orders.moore_hodgson import MooreHodgsonOrder
from penstock.schedule.device.orders.order import Copies, Order
from penstock.schedule.device.orders.priority import priority_key
from penstock.schedule.device.orders.round_robin import RoundRobinOrder
from penstock.schedule.device.orders.sjf import sjf_key
from penstock.schedule.device.orders.srpt import srpt_key
from penstock.schedule.device.orders.srpt_deficit import SrptDeficitOrder


@final
@dataclass(frozen=True)
class OrderOptions:
    """What single orders can be told.

    ``theta``: the deficit from which ``srpt-deficit`` serves the type that waits most, in stages. ``miss_budget``:
    the share of jobs of each type that ``moore-hodgson`` may give up, or None to let it give up whichever saves
    most. ``width``: segments in flight, by which it judges how much work fits before a deadline.
    """

    theta: float = 50.0
    miss_budget: float | None = None
    width: int = 1


def _keyed(key: Key) -> Callable[[Copies, OrderOptions], Order]:
    return lambda copies, options: KeyedOrder(copies, key)


ORDERS: dict[str, Callable[[Copies, OrderOptions], Order]] = {
    "fifo": _keyed(fifo_key),
    "sjf": _keyed(sjf_key),
    "srpt": _keyed(srpt_key),
    "srpt-deficit": lambda copies, options: SrptDeficitOrder(copies, options.theta),
    "edf": _keyed(edf_key),
    "moore-hodgson": lambda copies, options: MooreHodgsonOrder(copies, options.width, options.miss_budget),
    "round-robin": lambda copies, options: RoundRobinOrder(copies),
    "priority": _keyed(priority_key),
}


def make_order(name: str, copies: Copies, options: OrderOptions) -> Order:
    """The order called ``name``. Raises :class:`BadInputError` for any other name."""
    if name not in ORDERS:
        raise BadInputError(f"order (={name!r}) must be one of {', '.join(ORDERS)}.")
    return ORDERS[name](copies, options)


__all__ = ["ORDERS", "Copies", "KeyedOrder", "Order", "OrderOptions", "make_order"]
