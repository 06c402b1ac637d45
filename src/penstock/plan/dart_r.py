"""The planner ``dart-r``: pairs of one fast and one slow device, each with its own pipeline.

The stronger baseline of Kong et al., "PPipe" (USENIX ATC 2025, evaluation), after DART (Xiang and Kim,
RTSS 2019) with its pairs replicated:

1. Devices are split among the models as NP's plan splits them, the rest evenly
   (:mod:`penstock.plan.whole_model_split`).
2. Each model pairs its devices, fastest with slowest; a pair gets the best plan for a cluster of just these
   two, replicated (:mod:`penstock.plan.pairs`). Devices left over run the whole model, or idle where it
   misses its SLO on them.

Margin, estimated rate and so the largest batch are those of NP's plan. Every model keeps what NP's objective
needs, and a pair is never worse than its two devices apart: the objective is never below NP's.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import final

import numpy as np

from penstock.errors import InfeasibleError
from penstock.plan.baseline import refuse_cost, ruled
from penstock.plan.pairs import best_pipelines, fastest_first, merged, pairings
from penstock.plan.plan import ModelPlan, PipelinePlan, Plan
from penstock.plan.planner import SearchLimits
from penstock.plan.scenario import Scenario
from penstock.plan.whole_model import WholeModelPlanner
from penstock.plan.whole_model_split import split_devices
from penstock.profile.table import Profile
from penstock.result import Result


@final
@dataclass(frozen=True)
class PairPlanner:
    """Pipelines over one fast and one slow device, replicated. ``limits`` hold for each small plan."""

    limits: SearchLimits = field(default_factory=SearchLimits)
    name: str = "dart-r"

    def plan(self, scenario: Scenario, profiles: Mapping[str, Profile]) -> Result[Plan]:
        """The plan of the rule; :class:`penstock.errors.InfeasibleError` where NP has none."""
        began = time.perf_counter()
        refuse_cost(scenario, self.name)
        np_plan = self._np_plan(scenario, profiles)
        small = _Pieces(_settled(scenario, np_plan), profiles, self.limits)
        classes = [name for name, spec in scenario.cluster.device_classes.items() if spec.count]
        names = list(scenario.cluster.device_classes)
        device_rps = np.zeros((len(np_plan.models), len(names)))
        for m in range(len(np_plan.models)):
            for name in classes:
                device_rps[m, names.index(name)] = sum(p.rate_rps for p in small.pipelines(m, (name,)))
        devices = split_devices(np_plan, device_rps)
        models = [
            self._model_plan(m, dict(zip(names, row.tolist(), strict=True)), np_plan, small)
            for m, row in enumerate(devices)
        ]
        return ruled(
            models,
            scenario,
            profiles,
            planner=self.name,
            limits=self.limits,
            began=began,
            stats={"np_objective": np_plan.objective},
        )

    def _np_plan(self, scenario: Scenario, profiles: Mapping[str, Profile]) -> Plan:
        try:
            return WholeModelPlanner(self.limits).plan(scenario, profiles).solution
        except InfeasibleError as error:
            raise InfeasibleError(
                f"{self.name} splits the devices among models as np's plan does, and np has none: {error}"
            ) from None

    def _model_plan(self, m: int, held: Mapping[str, int], np_plan: Plan, small: _Pieces) -> ModelPlan:
        """Model ``m`` on the devices it holds, by class."""
        served = small.scenario.models[m]
        order = fastest_first(served, small.profiles[served.name], list(held))
        parts = [
            (pipeline, copies)
            for classes, copies in pairings({name: held[name] for name in order})
            for pipeline in small.pipelines(m, classes)
        ]
        if not parts:
            listed = ", ".join(f"{count} {name}" for name, count in held.items() if count) or "none"
            raise InfeasibleError(
                f"{self.name} found no pipeline of model {served.name!r} on the devices it holds ({listed}), "
                f"in pairs or alone. Raise the time limit, or use the planner penstock."
            )
        pipelines = merged(parts)
        return np_plan.models[m].model_copy(
            update={"rate_rps": sum(pipeline.rate_rps for pipeline in pipelines), "pipelines": pipelines}
        )


@dataclass(frozen=True)
class _Pieces:
    """The best pipelines on one device or a pair, each worked out once."""

    scenario: Scenario
    profiles: Mapping[str, Profile]
    limits: SearchLimits
    known: dict[tuple[int, tuple[str, ...]], list[PipelinePlan]] = field(default_factory=dict)

    def pipelines(self, m: int, classes: tuple[str, ...]) -> list[PipelinePlan]:
        """Of model ``m`` on one whole device of each of ``classes``; none where none meets its SLO."""
        key = m, classes
        if key not in self.known:
            model = self.scenario.models[m]
            self.known[key] = best_pipelines(self.scenario, self.profiles, model, classes, self.limits)
        return self.known[key]


def _settled(scenario: Scenario, np_plan: Plan) -> Scenario:
    """``scenario`` with every margin and estimate as NP's plan has them."""
    models = [
        served.model_copy(
            update={
                "slo_margin": None,
                "slo_margin_us": model.margin_us,
                "estimated_rps": model.estimated_rps,
            }
        )
        for served, model in zip(scenario.models, np_plan.models, strict=True)
    ]
    return scenario.model_copy(update={"models": models})
