"""The planner ``even``: every model is cut into stages of equal time, and its devices are divided evenly among them.

This is the oldest rule for a pipeline, without planning:

1. Every class is divided among the models in proportion to their weights, in whole devices. The devices that rounding
   leaves go, one each, to the models with the fewest devices for their weight.
2. A candidate is a sequence of up to ``max_stages`` device classes and a batch. Of the cuts that meet the SLO, it has
   those whose slowest worker is fastest: stages of equal time, as far as blocks allow. Workers are whole devices.
3. If a class serves several stages of a candidate, it gives each the same number of its devices. The model
   takes the candidate of the highest rate. The devices that its slowest pool leaves idle, and classes without a stage
   of it, are free for the next candidate, until none fits.

Pools are not matched in rate, and devices are not moved between models. Planning would add both. The
plans are in the space of the planner ``penstock``, so its bound holds for them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import final

import numpy as np

from penstock.arrays import I64
from penstock.clock import solving_seconds
from penstock.errors import InfeasibleError
from penstock.plan.documents.plan import Plan
from penstock.plan.documents.scenario import Scenario
from penstock.plan.exact.latency_budget import budgets
from penstock.plan.exact.objective import trimmed
from penstock.plan.interfaces import SearchLimits
from penstock.plan.no_pipeline import no_pipeline
from penstock.plan.placement.assemble import model_plans
from penstock.plan.planners.apportion import apportion
from penstock.plan.planners.rule_based import plan_by_rule, refuse_cost
from penstock.plan.planning_question import PlanningQuestion
from penstock.plan.templates.table import Templates, join
from penstock.profile.table import Profile
from penstock.result import Result


@final
@dataclass(frozen=True)
class EvenPlanner:
    """Stages of equal time on equal parts of the fleet. The rule needs no search, so only the gap of ``limits``
    counts.
    """

    limits: SearchLimits = field(default_factory=SearchLimits)
    name: str = "even"

    def plan(self, scenario: Scenario, profiles: Mapping[str, Profile]) -> Result[Plan]:
        """The plan of the rule. :class:`penstock.errors.InfeasibleError` names the model that it leaves out."""
        began = solving_seconds()
        refuse_cost(scenario, self.name)
        question = PlanningQuestion(scenario, profiles, self.limits).of_whole_batches()
        budget = budgets(question)
        on_whole_devices = replace(question, max_share=1)
        chosen, workers = [], []
        for m, devices in enumerate(split_by_weight(question)):
            every = on_whole_devices.templates(m, budget[m].latency)
            if not len(every):
                raise no_pipeline(on_whole_devices, m, budget[m].build_us)
            templates, staff = staffed(most_even(every), devices)
            if not len(templates):
                raise _left_out(scenario, m, devices)
            chosen.append(templates)
            workers.append(staff)
        joined = join(chosen)
        longest = joined.share.shape[1]
        staff = np.concatenate([np.pad(part, ((0, 0), (0, longest - part.shape[1]))) for part in workers])
        models = model_plans(joined, staff, scenario, profiles, budget)
        return plan_by_rule(models, question, planner=self.name, began=began, stats={})


def split_by_weight(question: PlanningQuestion) -> I64:
    """Devices of every model: int64, shape (models, classes). All devices in service are given out."""
    weight = np.array(question.weights)
    held = np.zeros((len(weight), 0), dtype=np.int64)
    for count in question.device_counts.tolist():
        part = apportion(count, weight, held.sum(axis=1) / weight)
        held = np.column_stack([held, part])
    return held


def most_even(templates: Templates) -> Templates:
    """For each sequence of device classes and batch, the template whose slowest worker is fastest."""
    slowest_rps = templates.worker_rps.min(axis=1)
    key = np.column_stack([templates.batch, templates.device_class])
    order = np.lexsort((-slowest_rps, *key.T))
    is_first = np.ones(len(order), dtype=np.bool_)
    is_first[1:] = (key[order[1:]] != key[order[:-1]]).any(axis=1)
    return templates.take(order[is_first])


def staffed(templates: Templates, devices: I64) -> tuple[Templates, I64]:
    """The templates that a model with ``devices`` (classes,) takes, and their workers (templates, stages)."""
    used = templates.device_class >= 0
    stages_of_class = (templates.device_class[:, :, None] == templates.device_class[:, None, :]).sum(axis=2)
    left = devices.copy()
    workers = np.zeros_like(templates.share)
    while len(templates):
        staff = np.where(used, left[templates.device_class] // stages_of_class, 0)
        pool_rps = np.where(used, staff * np.where(used, templates.worker_rps, 0.0), np.inf)
        best = int(pool_rps.min(axis=1).argmax())
        if not staff[best][used[best]].all():
            break
        needed = trimmed(templates.take(np.array([best])), staff[[best]])[0]
        workers[best] += needed
        np.subtract.at(left, templates.device_class[best][used[best]], needed[used[best]])
    rows = np.flatnonzero(workers.any(axis=1))
    return templates.take(rows), workers[rows]


def _left_out(scenario: Scenario, m: int, devices: Sequence[int] | I64) -> InfeasibleError:
    """The error for a model whose part of the fleet holds none of its pipelines."""
    names = scenario.cluster.device_classes
    held = ", ".join(f"{count} {name}" for name, count in zip(names, devices, strict=True) if count)
    return InfeasibleError(
        f"even gives model {scenario.models[m].name!r} its part by weight, {held or 'no device'}, and no "
        f"pipeline of stages of equal time on these meets its SLO. Use the planner penstock, which divides "
        f"devices by need; or raise the SLO, or add devices."
    )
