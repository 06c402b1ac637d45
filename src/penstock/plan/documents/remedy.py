"""A change that gives a plan to a scenario without one: longer SLOs, more devices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from penstock.plan.documents.scenario import Scenario


@dataclass(frozen=True)
class Remedy:
    """New SLOs by model and new counts by device class, which together give a scenario a plan."""

    slo_us: Mapping[str, int] = field(default_factory=dict)
    count: Mapping[str, int] = field(default_factory=dict)

    def applied(self, scenario: Scenario) -> Scenario:
        """``scenario`` with the remedy. A margin given as a share grows with the SLO."""
        changed = scenario.with_models(
            lambda model: model.with_slo_us(self.slo_us[model.name]) if model.name in self.slo_us else model
        )
        return changed.with_device_counts(self.count)

    def described(self, scenario: Scenario) -> str:
        """The remedy as edits of the scenario."""
        now = {model.name: model.latency_slo_us for model in scenario.models}
        slos = [f"slo_us {slo_us} for {name!r} (now {now[name]})" for name, slo_us in self.slo_us.items()]
        classes = scenario.cluster.device_classes
        counts = [
            f"count {count} for {name} (now {classes[name].count})" for name, count in self.count.items()
        ]
        return " with ".join(slos + counts)
