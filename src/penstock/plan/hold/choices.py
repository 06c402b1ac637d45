"""One plan of the search: the margins, and how much slack counts for each model.

Besides a hard margin, each model has a ``slack_weight``. The rate of a template is multiplied by

    (1 + slack_weight * slack / SLO) / (1 + slack_weight),    slack = SLO - latency.

In heavy traffic, a pool that drops late requests loses about ``theta / (exp(2 theta K) - 1)`` of them at load
``1 - theta``, with ``K = sum of rate * slack`` over its pipelines. ``K`` is the backlog, in requests, that the pool
can still work off in time (the limit of Ward and Glynn, "A diffusion approximation for a Markovian queue with
reneging", Queueing Systems 2003). The best mix of pipelines for a given ``K`` is a linear program. The slack_weight
is the multiplier of its constraint on ``K``: pipelines with little slack serve the load, pipelines with much slack
serve the backlog. A margin that all pipelines share cannot express this.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import final

import numpy as np

from penstock.arrays import F64, I64
from penstock.errors import InfeasibleError
from penstock.plan.documents.plan import Plan, has_split_stages
from penstock.plan.documents.scenario import Scenario
from penstock.plan.documents.shared_pools import pools_of, with_shared_pools
from penstock.plan.exact.latency_budget import ModelBudget
from penstock.plan.exact.listed_search import search
from penstock.plan.exact.objective import model_rates
from penstock.plan.exact.worker_program import relax
from penstock.plan.interfaces import SearchLimits
from penstock.plan.no_pipeline import fleet_too_small, no_pipeline
from penstock.plan.placement.assemble import model_plans, plan_with_proof
from penstock.plan.planning_question import PlanningQuestion
from penstock.plan.templates.dominance import fractional_undominated
from penstock.plan.templates.fleet import Fleet, Prices
from penstock.plan.templates.table import LatencyBudget, Templates, join
from penstock.profile.table import Profile
from penstock.units import US_PER_S

PLANNER_NAME = "penstock-held"

ESTIMATE_ROUNDS = 2
"""Rounds from the scenario's estimate (or none) to the fluid rate. After two it changes by less than 1%."""


@dataclass(frozen=True)
class ModelChoice:
    """How one model is planned: ``margin`` as a part of its SLO, ``slack_weight``, and the most ``stages``.

    ``split``: whether stages may split batches.
    """

    margin: float
    slack_weight: float
    stages: int
    split: bool = False


Choice = tuple[ModelChoice, ...]
"""One entry per model."""


@dataclass(frozen=True)
class Planned:
    """A plan for a choice. ``weighted_rps``: each model's rate as its slack_weight counts it. Weights divide it."""

    plan: Plan
    choice: Choice
    weighted_rps: tuple[float, ...]


@final
class Candidates:
    """Plans of one scenario by choice, over templates that are listed once.

    ``prices``: the linear relaxation without margin or slack_weight. No plan exceeds its ``bound``. The gathering
    time of a batch is computed from that rate (from the demand, if the plan is to meet one) and with factor 1,
    because a plan of the search serves almost that rate. The judge then finds out whether batches fill in time.
    Raises :class:`InfeasibleError` if a model has no pipeline at all.
    """

    def __init__(self, scenario: Scenario, profiles: Mapping[str, Profile], stages: int) -> None:
        self._profiles = profiles
        self._slo_us = np.array([model.latency_slo_us for model in scenario.models], dtype=np.float64)
        bare = scenario.with_planner(max_stages=stages, batch_build_factor=1.0, share_devices=True)
        self._question = PlanningQuestion(bare, profiles)
        self._fleet = self._question.fleet
        self._scenario = bare
        if self.meets_demand:
            self._reckon(self._fleet.weight)
            return
        self._reckon(np.array([model.estimated_rps or np.inf for model in scenario.models]))
        for _ in range(ESTIMATE_ROUNDS):
            self._reckon(self.prices.bound * self._fleet.weight)

    def _reckon(self, rates_rps: F64) -> None:
        """Compute the templates whose batches gather at ``rates_rps`` (models,), and their fluid prices."""
        self._rates = rates_rps
        self._templates = _templates(self._question, US_PER_S / rates_rps)
        self.prices = _fluid(self._templates, self._fleet)

    @property
    def meets_demand(self) -> bool:
        """Whether weights are demands that must be met at the least cost."""
        return self._fleet.hourly_cost is not None

    @property
    def splits(self) -> bool:
        """Whether a choice may allow split stages."""
        return self._question.pieces > 1

    def plan(self, choice: Choice, weights: Sequence[float], limits: SearchLimits) -> Planned:
        """The best plan for ``choice``. It divides the fleet by ``weights``, not by the scenario's weights.

        Raises :class:`InfeasibleError` if the choice leaves a model without pipeline or device.
        """
        margin, slack_weight, stages, split = (
            np.array([getattr(one, name) for one in choice])
            for name in ("margin", "slack_weight", "stages", "split")
        )
        all_slack = self._slack(self._templates)
        model = self._templates.model
        rows = (all_slack >= margin[model]) & (self._templates.stages <= stages[model])
        rows &= split[model] | ~self._templates.is_split
        kept = self._templates.take(rows)
        for m in range(len(choice)):
            if not (kept.model == m).any():
                raise no_pipeline(self._question, m, US_PER_S / self._rates[m])
        found = search(
            self._with_slack_weight(kept, slack_weight),
            replace(self._fleet, weight=np.array(weights, dtype=np.float64)),
            limits,
        )
        if not found.found:
            raise self._no_plan()
        weighted_rps = model_rates(found.templates, found.workers, len(choice))
        plan = self._plan(
            self._with_slack_weight(found.templates, slack_weight, back=True), found.workers, margin
        )
        return Planned(plan, choice, tuple(weighted_rps.tolist()))

    def shared(self, planned: Planned, *, lent: bool) -> Planned | None:
        """``planned`` with its pools shared, or only ``lent``.

        None if memory forbids it, if no two stages are of the same kind, or if stages are split and none would be lent.
        """
        if lent and has_split_stages(planned.plan):
            return None
        try:
            plan = with_shared_pools(planned.plan, self._profiles, lent=lent)
        except InfeasibleError:
            return None
        if all(len(pool.stages) == 1 for pool in pools_of(plan)):
            return None
        return replace(planned, plan=plan)

    def _no_plan(self) -> InfeasibleError:
        if not self.meets_demand:
            return fleet_too_small(self._scenario)
        return InfeasibleError(
            "the cluster cannot meet the demand and leave time for queueing. Lower rate_rps, or add devices; "
            "'penstock capacity' says which."
        )

    @property
    def hourly_cost(self) -> F64:
        """The cost of a device of each class: (classes,), 0 if cost does not count."""
        return self._fleet.device_cost

    @property
    def devices(self) -> F64:
        """The number of devices of each class: (classes,)."""
        return self._fleet.count.astype(np.float64)

    def devices_held(self, plan: Plan) -> F64:
        """Devices of each class that each model holds; shares count by their size: (models, classes)."""
        names = list(self._scenario.cluster.device_classes)
        index = {model.name: m for m, model in enumerate(plan.models)}
        held = np.zeros((len(index), len(names)))
        for worker in plan.placement:
            held[index[worker.model], names.index(worker.device_class)] += 1.0 / worker.share
        return held

    def _slack(self, templates: Templates) -> F64:
        return 1.0 - templates.latency_us / self._slo_us[templates.model]

    def _with_slack_weight(self, templates: Templates, slack_weight: F64, *, back: bool = False) -> Templates:
        """``templates`` with their rates as ``slack_weight`` (models,) counts them. With ``back``, the inverse."""
        own = slack_weight[templates.model]
        factor = (1.0 + own * self._slack(templates)) / (1.0 + own)
        return replace(
            templates, worker_rps=templates.worker_rps * (1.0 / factor if back else factor)[:, None]
        )

    def _plan(self, templates: Templates, workers: I64, margin: F64) -> Plan:
        margins_us = [int(share * slo) for share, slo in zip(margin, self._slo_us, strict=True)]
        models = [
            model.with_estimate(own_us, float(rate))
            for model, own_us, rate in zip(self._scenario.models, margins_us, self._rates, strict=True)
        ]
        scenario = self._scenario.edited(models=models)
        budget = [
            ModelBudget(model.latency_slo_us, own_us, float(rate), US_PER_S / float(rate))
            for model, own_us, rate in zip(models, margins_us, self._rates, strict=True)
        ]
        plans = model_plans(templates, workers, scenario, self._profiles, budget)
        return plan_with_proof(
            plans, scenario, planner=PLANNER_NAME, bound=abs(self.prices.bound), gap=0.0, stats={}
        ).solution


def _templates(question: PlanningQuestion, build_us: F64) -> Templates:
    parts = []
    for m, model in enumerate(question.scenario.models):
        part = question.templates(m, LatencyBudget(model.latency_slo_us, float(build_us[m])))
        if not len(part):
            raise no_pipeline(question, m, float(build_us[m]))
        parts.append(part)
    return join(parts)


def _fluid(templates: Templates, fleet: Fleet) -> Prices:
    return relax(templates.take(fractional_undominated(templates)), fleet)
