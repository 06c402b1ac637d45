"""The planner ``even``: every model cut into stages of equal time, its devices divided evenly among them.

What a pipeline looks like before anyone plans, by the oldest rule for it. It is this:

1. Every class is divided among the models in proportion to their weights, in whole devices; what rounding
   leaves goes one each to the models with the fewest devices for their weight.
2. A candidate is a sequence of up to ``max_stages`` device classes and a batch. Its cuts are those whose
   slowest worker is fastest, of those that meet the SLO: stages of equal time, as far as blocks allow.
   Workers are whole devices.
3. A class that serves several stages of a candidate gives each the same number of its devices. The model
   takes the candidate of the highest rate; devices that its slowest pool leaves idle, and classes that it
   has no stage on, are free for the next candidate, until none fits.

Pools are not matched in rate and devices not moved between models, which is what planning would add. The
plans lie in the space of the planner ``penstock``, whose bound holds for them.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import final

import numpy as np

from penstock.errors import InfeasibleError
from penstock.plan.apportion import apportion
from penstock.plan.assemble import model_plans
from penstock.plan.baseline import refuse_cost, ruled
from penstock.plan.budget import budgets
from penstock.plan.infeasible import no_pipeline
from penstock.plan.plan import Plan
from penstock.plan.planner import SearchLimits
from penstock.plan.scenario import Scenario
from penstock.plan.templates import I64, Templates, enumerate_templates, join
from penstock.plan.value import trimmed
from penstock.profile.table import Profile
from penstock.result import Result


@final
@dataclass(frozen=True)
class EvenPlanner:
    """Stages of equal time on equal parts of the fleet. The rule is direct: ``limits`` give the gap only."""

    limits: SearchLimits = field(default_factory=SearchLimits)
    name: str = "even"

    def plan(self, scenario: Scenario, profiles: Mapping[str, Profile]) -> Result[Plan]:
        """The plan of the rule; :class:`penstock.errors.InfeasibleError` names the model it leaves out."""
        began = time.perf_counter()
        refuse_cost(scenario, self.name)
        budget = budgets(scenario, profiles)
        chosen, workers = [], []
        for m, devices in enumerate(split_by_weight(scenario)):
            model = scenario.models[m]
            profile = profiles[model.name]
            stages = scenario.planner.max_stages
            every = enumerate_templates(
                profile, scenario.cluster, budget[m].latency, max_stages=stages, max_share=1, model=m
            )
            if not len(every):
                raise no_pipeline(
                    scenario, profile, model, budget[m].build_us, max_stages=stages, max_share=1
                )
            templates, staff = staffed(most_even(every), devices)
            if not len(templates):
                raise _left_out(scenario, m, devices)
            chosen.append(templates)
            workers.append(staff)
        joined = join(chosen)
        longest = joined.share.shape[1]
        staff = np.concatenate([np.pad(part, ((0, 0), (0, longest - part.shape[1]))) for part in workers])
        models = model_plans(joined, staff, scenario, profiles, budget)
        return ruled(models, scenario, profiles, planner=self.name, limits=self.limits, began=began, stats={})


def split_by_weight(scenario: Scenario) -> I64:
    """Devices of every model: int64, shape (models, classes), all devices given out."""
    weight = np.array([model.weight for model in scenario.models])
    held = np.zeros((len(weight), 0), dtype=np.int64)
    for spec in scenario.cluster.device_classes.values():
        part = apportion(spec.count, weight, held.sum(axis=1) / weight)
        held = np.column_stack([held, part])
    return held


def most_even(templates: Templates) -> Templates:
    """One template for each sequence of device classes and batch: the one whose slowest worker is fastest."""
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
