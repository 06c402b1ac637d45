"""One plan of the search: the margins and the tastes for slack that it is made with.

Besides a hard margin, each model has a ``taste`` for slack: a template's rate counts

    (1 + taste * slack / SLO) / (1 + taste),    slack = SLO - latency,

of what it is. In heavy traffic a pool that gives up on late requests loses about
``theta / (exp(2 theta K) - 1)`` of them at load ``1 - theta``, with ``K = sum of rate * slack`` over its
pipelines: the backlog, in requests, that it can still work off in time (the limit of Ward and Glynn, "A
diffusion approximation for a Markovian queue with reneging", Queueing Systems 2003). The best mix of
pipelines for a given ``K`` is a linear program, and the taste is the multiplier of its constraint on ``K``:
tight pipelines carry the load, loose ones the backlog, which a margin common to all cannot say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import final

import numpy as np

from penstock.errors import InfeasibleError
from penstock.plan.assemble import model_plans, proven
from penstock.plan.budget import ModelBudget, fleet_of
from penstock.plan.dominance import fractional_undominated
from penstock.plan.infeasible import fleet_too_small, no_pipeline
from penstock.plan.plan import Plan
from penstock.plan.planner import SearchLimits
from penstock.plan.program import Fleet, Prices, relax
from penstock.plan.scenario import Scenario
from penstock.plan.search import search
from penstock.plan.shared_pools import pools_of, with_shared_pools
from penstock.plan.templates import F64, I64, LatencyBudget, Templates, enumerate_templates, join
from penstock.plan.value import model_rates
from penstock.profile.table import Profile
from penstock.units import US_PER_S

PLANNER_NAME = "penstock-held"

ESTIMATE_ROUNDS = 2
"""Rounds from the estimate in the scenario, or none, to the fluid rate; it moves by less than 1% after two."""


@dataclass(frozen=True)
class ModelChoice:
    """How one model is planned: ``margin`` a share of its SLO, ``taste`` for slack, most ``stages``."""

    margin: float
    taste: float
    stages: int


Choice = tuple[ModelChoice, ...]
"""One entry a model."""


@dataclass(frozen=True)
class Planned:
    """A plan for a choice. ``tasted_rps``: each model's rate as its taste counts it, which weights divide."""

    plan: Plan
    choice: Choice
    tasted_rps: tuple[float, ...]


@final
class Candidates:
    """Plans of one scenario by choice, over templates that are enumerated once.

    ``prices``: the linear relaxation without margin or taste, whose ``bound`` no plan passes. Gathering a
    batch is reckoned at that rate (at the demand, where the plan is to meet one) and with factor 1, as a plan of
    the search serves near it; whether batches fill in time is then for the judge to say.
    :class:`InfeasibleError` where a model has no pipeline at all.
    """

    def __init__(self, scenario: Scenario, profiles: Mapping[str, Profile], stages: int) -> None:
        self._profiles = profiles
        self._slo_us = np.array([model.latency_slo_us for model in scenario.models], dtype=np.float64)
        settings = {"max_stages": stages, "batch_build_factor": 1.0, "share_devices": True}
        bare = scenario.model_copy(update={"planner": scenario.planner.model_copy(update=settings)})
        self._fleet = fleet_of(bare)
        self._scenario = bare
        if self.meets_demand:
            self._reckon(self._fleet.weight)
            return
        self._reckon(np.array([model.estimated_rps or np.inf for model in scenario.models]))
        for _ in range(ESTIMATE_ROUNDS):
            self._reckon(self.prices.bound * self._fleet.weight)

    def _reckon(self, rates_rps: F64) -> None:
        """Templates whose batches gather at ``rates_rps`` (models,), and their fluid prices."""
        self._rates = rates_rps
        self._templates = _templates(self._scenario, self._profiles, US_PER_S / rates_rps)
        self.prices = _fluid(self._templates, self._fleet)

    @property
    def meets_demand(self) -> bool:
        """Whether weights are demands, to be met at the least cost."""
        return self._fleet.hourly_cost is not None

    def plan(self, choice: Choice, weights: Sequence[float], limits: SearchLimits) -> Planned:
        """The best plan for ``choice``, sharing the fleet out by ``weights`` in place of the scenario's.

        :class:`InfeasibleError` where the choice leaves a model without pipeline or device.
        """
        margin, taste, stages = (
            np.array([getattr(one, name) for one in choice]) for name in ("margin", "taste", "stages")
        )
        all_slack = self._slack(self._templates)
        model = self._templates.model
        rows = (all_slack >= margin[model]) & (self._templates.stages <= stages[model])
        kept = self._templates.take(rows)
        for m in range(len(choice)):
            if not (kept.model == m).any():
                served = self._scenario.models[m]
                raise no_pipeline(
                    self._scenario, self._profiles[served.name], served, US_PER_S / self._rates[m]
                )
        found = search(
            self._tasted(kept, taste),
            replace(self._fleet, weight=np.array(weights, dtype=np.float64)),
            limits,
        )
        if not found.found:
            raise self._no_plan()
        tasted = model_rates(found.templates, found.workers, len(choice))
        plan = self._plan(self._tasted(found.templates, taste, back=True), found.workers, margin)
        return Planned(plan, choice, tuple(tasted.tolist()))

    def shared(self, planned: Planned) -> Planned | None:
        """``planned`` with its pools shared; None where memory forbids that, or no two stages are of a kind."""
        try:
            plan = with_shared_pools(planned.plan, self._profiles)
        except InfeasibleError:
            return None
        if all(len(pool.stages) == 1 for pool in pools_of(plan)):
            return None
        return replace(planned, plan=plan)

    def _no_plan(self) -> InfeasibleError:
        if not self.meets_demand:
            return fleet_too_small(self._scenario)
        return InfeasibleError(
            "the cluster cannot meet the demand with room for queueing. Lower rate_rps, or add devices; "
            "'penstock capacity' says which."
        )

    @property
    def hourly_cost(self) -> F64:
        """What a device of each class costs: (classes,), 0 where cost does not count."""
        return self._fleet.device_cost

    @property
    def devices(self) -> F64:
        """Devices of each class that there are: (classes,)."""
        return self._fleet.count.astype(np.float64)

    def devices_held(self, plan: Plan) -> F64:
        """Devices of each class that each model holds, parts by their size: (models, classes)."""
        names = list(self._scenario.cluster.device_classes)
        index = {model.name: m for m, model in enumerate(plan.models)}
        held = np.zeros((len(index), len(names)))
        for worker in plan.placement:
            held[index[worker.model], names.index(worker.device_class)] += 1.0 / worker.share
        return held

    def _slack(self, templates: Templates) -> F64:
        return 1.0 - templates.latency_us / self._slo_us[templates.model]

    def _tasted(self, templates: Templates, taste: F64, *, back: bool = False) -> Templates:
        """``templates`` with their rates as ``taste`` (models,) counts them, or ``back`` from that."""
        own = taste[templates.model]
        factor = (1.0 + own * self._slack(templates)) / (1.0 + own)
        return replace(
            templates, worker_rps=templates.worker_rps * (1.0 / factor if back else factor)[:, None]
        )

    def _plan(self, templates: Templates, workers: I64, margin: F64) -> Plan:
        margins_us = [int(share * slo) for share, slo in zip(margin, self._slo_us, strict=True)]
        models = [
            model.model_copy(
                update={"slo_margin": None, "slo_margin_us": own_us, "estimated_rps": float(rate)}
            )
            for model, own_us, rate in zip(self._scenario.models, margins_us, self._rates, strict=True)
        ]
        scenario = self._scenario.model_copy(update={"models": models})
        budget = [
            ModelBudget(model.latency_slo_us, own_us, float(rate), US_PER_S / float(rate))
            for model, own_us, rate in zip(models, margins_us, self._rates, strict=True)
        ]
        plans = model_plans(templates, workers, scenario, self._profiles, budget)
        return proven(
            plans, scenario, planner=PLANNER_NAME, bound=abs(self.prices.bound), gap=0.0, stats={}
        ).solution


def _templates(scenario: Scenario, profiles: Mapping[str, Profile], build_us: F64) -> Templates:
    parts = []
    for m, model in enumerate(scenario.models):
        budget = LatencyBudget(model.latency_slo_us, float(build_us[m]))
        stages = scenario.planner.max_stages
        part = enumerate_templates(profiles[model.name], scenario.cluster, budget, max_stages=stages, model=m)
        if not len(part):
            raise no_pipeline(scenario, profiles[model.name], model, float(build_us[m]))
        parts.append(part)
    return join(parts)


def _fluid(templates: Templates, fleet: Fleet) -> Prices:
    return relax(templates.take(fractional_undominated(templates)), fleet)
