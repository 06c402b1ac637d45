"""The planner ``dart-r``: pairs of one fast and one slow device, each with its own pipeline.

This is the stronger baseline of Kong et al., "PPipe" (USENIX ATC 2025, evaluation). It follows DART (Xiang and Kim,
RTSS 2019), with its pairs replicated:

1. Devices are divided among the models as NP's plan divides them, the rest evenly
   (:mod:`penstock.plan.planners.dart_r_split`).
2. Each model pairs its devices, the fastest with the slowest. A pair gets the best plan for a cluster of just these
   two devices, and the plan is replicated (:mod:`penstock.plan.planners.dart_r_pairs`). Devices without a partner run
   the whole model. They are idle if the model misses its SLO on them.

Margin, estimated rate and therefore the largest batch are those of NP's plan. Every model keeps what NP's objective
needs, and a pair is never worse than its two devices separately. So the objective is never below NP's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import final

import numpy as np

from penstock.clock import solving_seconds
from penstock.errors import InfeasibleError
from penstock.plan.documents.plan import ModelPlan, PipelinePlan, Plan
from penstock.plan.documents.scenario import Scenario
from penstock.plan.interfaces import SearchLimits
from penstock.plan.planners.dart_r_pairs import best_pipelines, fastest_first, merged, pairings
from penstock.plan.planners.dart_r_split import split_devices
from penstock.plan.planners.rule_based import plan_by_rule, refuse_cost
from penstock.plan.planners.whole_model import WholeModelPlanner
from penstock.plan.planning_question import PlanningQuestion
from penstock.profile.table import Profile
from penstock.result import Result


@final
@dataclass(frozen=True)
class PairPlanner:
    """Pipelines over one fast and one slow device, replicated. ``limits`` apply to each small plan."""

    limits: SearchLimits = field(default_factory=SearchLimits)
    name: str = "dart-r"

    def plan(self, scenario: Scenario, profiles: Mapping[str, Profile]) -> Result[Plan]:
        """The plan of the rule. Raises :class:`penstock.errors.InfeasibleError` if NP has none."""
        began = solving_seconds()
        refuse_cost(scenario, self.name)
        np_plan = self._np_plan(scenario, profiles)
        question = PlanningQuestion(_settled(scenario, np_plan), profiles, self.limits).of_whole_batches()
        small = _Pieces(question)
        classes = [name for name, spec in scenario.cluster.device_classes.items() if spec.available]
        names = list(scenario.cluster.device_classes)
        device_rps = np.zeros((len(np_plan.models), len(names)))
        for m in range(len(np_plan.models)):
            for name in classes:
                device_rps[m, names.index(name)] = sum(p.rate_rps for p in small.pipelines(m, (name,)))
        devices = split_devices(np_plan, device_rps, question.device_counts)
        models = [
            self._model_plan(m, dict(zip(names, row.tolist(), strict=True)), np_plan, small)
            for m, row in enumerate(devices)
        ]
        return plan_by_rule(
            models,
            question.about(scenario),
            planner=self.name,
            began=began,
            stats={"np_objective": np_plan.objective},
        )

    def _np_plan(self, scenario: Scenario, profiles: Mapping[str, Profile]) -> Plan:
        try:
            return WholeModelPlanner(self.limits).plan(scenario, profiles).solution
        except InfeasibleError as error:
            raise InfeasibleError(
                f"{self.name} divides the devices among models as np's plan does, and np has no plan: {error}"
            ) from None

    def _model_plan(self, m: int, held: Mapping[str, int], np_plan: Plan, small: _Pieces) -> ModelPlan:
        """Model ``m`` on the devices it holds, by class."""
        served = small.question.scenario.models[m]
        order = fastest_first(served, small.question.profile(m), list(held))
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
        rate_rps = sum(pipeline.rate_rps for pipeline in pipelines)
        return np_plan.models[m].edited(rate_rps=rate_rps, pipelines=pipelines)


@dataclass(frozen=True)
class _Pieces:
    """The best pipelines on one device or a pair. Each is computed once."""

    question: PlanningQuestion
    known: dict[tuple[int, tuple[str, ...]], list[PipelinePlan]] = field(default_factory=dict)

    def pipelines(self, m: int, classes: tuple[str, ...]) -> list[PipelinePlan]:
        """Pipelines of model ``m`` on one whole device of each of ``classes``. None if none meets its SLO."""
        key = m, classes
        if key not in self.known:
            self.known[key] = best_pipelines(self.question, m, classes)
        return self.known[key]


def _settled(scenario: Scenario, np_plan: Plan) -> Scenario:
    """``scenario`` with the margins and estimates of NP's plan."""
    planned = {model.name: model for model in np_plan.models}
    return scenario.with_models(
        lambda model: model.with_estimate(planned[model.name].margin_us, planned[model.name].estimated_rps)
    )
