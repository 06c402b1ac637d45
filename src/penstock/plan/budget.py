"""Latency budgets: what each model's pipelines may take, and how long a batch takes to gather.

Two figures of a scenario may be absent. A margin then is the default of
:mod:`penstock.plan.margin`. A rate, which the gathering term divides by, is the demand where there is one,
as then no more arrives, whatever the objective: a demand is met at some cost if, and only if, the best throughput
is at least one of every demand. Else it is estimated:

- start at batch 1, which gathers nothing, and take the rate of the linear relaxation over whole models
  (over pipelines, for a model that fits no device whole);
- with that rate as the estimate, larger batches become feasible: take the rate again, until it stands.

A higher estimate only adds templates, so the rates never fall, and templates are finite: it ends. The
estimate is low on purpose: a plan that serves more gathers faster than it assumed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from penstock.plan.dominance import fractional_undominated
from penstock.plan.infeasible import no_pipeline
from penstock.plan.margin import margin_us
from penstock.plan.program import Fleet, relax
from penstock.plan.scenario import Scenario
from penstock.plan.templates import LatencyBudget, Templates, enumerate_templates, join
from penstock.profile.table import Profile
from penstock.units import US_PER_S

MOST_ROUNDS = 50
"""Rounds of the estimate; published instances settle in two to four."""

NOT_GATHERED_US = 1e15
"""A gathering time that no SLO meets: leaves batch 1."""


@dataclass(frozen=True)
class ModelBudget:
    """One model's SLO and margin in microseconds, and the rate that gathering a batch is reckoned with."""

    slo_us: int
    margin_us: int
    estimated_rps: float
    build_us: float

    @property
    def latency(self) -> LatencyBudget:
        """What a template of the model must meet."""
        return LatencyBudget(self.slo_us - self.margin_us, self.build_us)


def fleet_of(scenario: Scenario) -> Fleet:
    """The scenario's device counts, weights or demands, and costs where they count, in its order."""
    classes = scenario.cluster.device_classes.values()
    cost = np.array([spec.hourly_cost or 0.0 for spec in classes])
    return Fleet(
        count=np.array([spec.available for spec in classes], dtype=np.int64),
        weight=np.array([model.weight for model in scenario.models]),
        hourly_cost=cost if scenario.planner.objective == "cost" else None,
        share_devices=scenario.planner.share_devices,
    )


def budgets(
    scenario: Scenario,
    profiles: Mapping[str, Profile],
    *,
    max_stages: int | None = None,
    max_share: int | None = None,
) -> list[ModelBudget]:
    """Margin and estimated rate of every model, in the scenario's order.

    ``max_stages`` and ``max_share`` limit the pipelines of a model that fits no device whole, as its planner does.
    :class:`penstock.errors.InfeasibleError` where an estimate is needed for a model that has no pipeline.
    """
    rates = [model.estimated_rps or model.rate_rps for model in scenario.models]
    known = [rate for rate in rates if rate]
    if None in rates:
        known = _estimated(scenario, profiles, rates, max_stages or scenario.planner.max_stages, max_share)
    return [
        ModelBudget(model.latency_slo_us, margin_us(model), rate, _build_us(scenario, rate))
        for model, rate in zip(scenario.models, known, strict=True)
    ]


def _estimated(
    scenario: Scenario,
    profiles: Mapping[str, Profile],
    given: Sequence[float | None],
    max_stages: int,
    max_share: int | None,
) -> list[float]:
    """``given`` with every absent rate estimated, by the rounds that the module describes."""
    fleet = replace(fleet_of(scenario), hourly_cost=None)
    build_us = [NOT_GATHERED_US if rate is None else _build_us(scenario, rate) for rate in given]
    fits_whole = [len(_whole(scenario, profiles, m, build)) > 0 for m, build in enumerate(build_us)]
    objective = 0.0
    for _ in range(MOST_ROUNDS):
        parts = [
            _whole(scenario, profiles, m, build)
            if fits_whole[m]
            else _pipelines(scenario, profiles, m, build, max_stages, max_share)
            for m, build in enumerate(build_us)
        ]
        for m, part in enumerate(parts):
            if not len(part):
                model = scenario.models[m]
                raise no_pipeline(
                    scenario,
                    profiles[model.name],
                    model,
                    build_us[m],
                    max_stages=max_stages,
                    max_share=max_share,
                )
        templates = join(parts)
        before = objective
        objective = relax(templates.take(fractional_undominated(templates)), fleet).bound
        rates = [
            rate or objective * weight for rate, weight in zip(given, fleet.weight.tolist(), strict=True)
        ]
        if objective <= before * (1 + 1e-9):
            break
        build_us = [_build_us(scenario, rate) for rate in rates]
    return rates


def _build_us(scenario: Scenario, rate_rps: float) -> float:
    return scenario.planner.batch_build_factor * US_PER_S / rate_rps


def _whole(scenario: Scenario, profiles: Mapping[str, Profile], m: int, build_us: float) -> Templates:
    """The whole-model templates of model ``m``."""
    model = scenario.models[m]
    budget = LatencyBudget(model.latency_slo_us - margin_us(model), build_us)
    return enumerate_templates(
        profiles[model.name], scenario.cluster, budget, max_stages=1, max_share=1, model=m
    )


def _pipelines(
    scenario: Scenario,
    profiles: Mapping[str, Profile],
    m: int,
    build_us: float,
    max_stages: int,
    max_share: int | None,
) -> Templates:
    """All templates of model ``m`` of at most ``max_stages`` stages and shares up to ``max_share``."""
    model = scenario.models[m]
    budget = LatencyBudget(model.latency_slo_us - margin_us(model), build_us)
    return enumerate_templates(
        profiles[model.name], scenario.cluster, budget, max_stages=max_stages, max_share=max_share, model=m
    )
