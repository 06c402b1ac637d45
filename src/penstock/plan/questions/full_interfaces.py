"""Which interfaces keep a pipeline below the rate of its slowest pool."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from penstock.plan.documents.plan import NEARLY, Plan
from penstock.plan.documents.rules.interface_rules import interface_loads
from penstock.profile.table import Profile


@dataclass(frozen=True)
class FullInterface:
    """One direction of a host's interface. ``used``: the part of what it carries that the plan's rates need.

    ``direction``: ``uplink``, which sends, or ``downlink``, which receives.
    """

    device_class: str
    host: int
    direction: str
    used: float


@dataclass(frozen=True)
class HeldDown:
    """A pipeline whose ``rate_rps`` is below ``pools_rps``, the rate of its slowest pool.

    ``interfaces``: those that it passes and that are full. None is full if somebody else lowered the rate.
    """

    model: str
    pipeline: int
    rate_rps: float
    pools_rps: float
    interfaces: tuple[FullInterface, ...]


def held_down(plan: Plan, profiles: Mapping[str, Profile]) -> Iterator[HeldDown]:
    """The pipelines of ``plan`` that serve less than their slowest pool sustains. ``profiles`` by model name."""
    slower = {
        (model.name, number): pipeline
        for model in plan.models
        for number, pipeline in enumerate(model.pipelines)
        if pipeline.is_held_down
    }
    if not slower:
        return
    loads = interface_loads(plan, profiles)
    used = {interface: sum(parts.values()) for interface, parts in loads.items()}
    for key, pipeline in slower.items():
        full = sorted(one for one, parts in loads.items() if key in parts and used[one] > 1 - NEARLY)
        yield HeldDown(
            *key,
            pipeline.rate_rps,
            pipeline.pools_rps,
            tuple(FullInterface(*interface, used[interface]) for interface in full),
        )
