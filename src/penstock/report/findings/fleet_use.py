"""The fleet of a plan: what is used, what is idle and why, and what the answers cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from penstock.plan.documents.plan import Plan, devices_of
from penstock.plan.questions.cost import cost_per_million, hourly_cost
from penstock.report.findings.verdict import Verdict


@dataclass(frozen=True)
class ClassUse:
    """One device class of a plan: devices in service and in use, and hosts in use."""

    device_class: str
    available: int
    used: int
    hosts: int

    @property
    def idle(self) -> int:
        """Devices that hold no worker."""
        return self.available - self.used


def class_uses(plan: Plan) -> list[ClassUse]:
    """Every class of the plan's cluster, in its order."""
    used = devices_of(plan)
    return [
        ClassUse(
            name,
            spec.available,
            used[name],
            len({worker.host for worker in plan.placement if worker.device_class == name}),
        )
        for name, spec in plan.scenario.cluster.device_classes.items()
    ]


def cost_per_million_met(plan: Plan, found: Sequence[Verdict]) -> float | None:
    """The price of a million requests that met their SLO, on the devices in use. None if a price is unknown."""
    hourly = hourly_cost(plan)
    goodput_rps = sum(verdict.summary.goodput_rps for verdict in found)
    if not hourly or not goodput_rps:
        return None
    return cost_per_million(hourly, goodput_rps)
