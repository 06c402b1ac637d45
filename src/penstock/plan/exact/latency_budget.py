"""Latency budgets: how long each model's pipelines may take, and how long a batch takes to gather.

A scenario may omit two values. An omitted margin is the default of
:mod:`penstock.plan.documents.margin`. The gathering term divides by a rate. If the model has a demand, the rate is
the demand, for every objective: no more requests arrive then. This is correct because a demand can be met at some
cost if, and only if, the best throughput is at least 1 of every demand. If there is no demand, the rate is estimated:

- Start at batch 1, which needs no gathering, and take the rate of the linear relaxation over whole models
  (over pipelines, for a model that fits no device whole).
- With that rate as the estimate, larger batches become feasible. Take the rate again, until it does not change.

A higher estimate only adds templates, so the rates never fall. The number of templates is finite, so the rounds end.
The estimate is low on purpose: a plan that serves more requests gathers faster than it assumed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from penstock.plan.documents.margin import margin_us
from penstock.plan.exact.worker_program import relax
from penstock.plan.no_pipeline import no_pipeline
from penstock.plan.planning_question import PlanningQuestion
from penstock.plan.templates.dominance import fractional_undominated
from penstock.plan.templates.table import LatencyBudget, join

MOST_ROUNDS = 50
"""Rounds of the estimate. Published instances need two to four."""

NOT_GATHERED_US = 1e15
"""A gathering time that no SLO allows. Only batch 1 remains."""


@dataclass(frozen=True)
class ModelBudget:
    """One model's SLO and margin in microseconds, and the rate from which its gathering time is computed."""

    slo_us: int
    margin_us: int
    estimated_rps: float
    build_us: float

    @property
    def latency(self) -> LatencyBudget:
        """The limits that a template of the model must meet."""
        return LatencyBudget(self.slo_us - self.margin_us, self.build_us)


def budgets(question: PlanningQuestion) -> list[ModelBudget]:
    """Margin and estimated rate of every model, in the scenario's order.

    The question's stages and shares limit the pipelines of a model that fits no device whole.
    Raises :class:`penstock.errors.InfeasibleError` if an estimate is needed for a model that has no pipeline.
    """
    models = question.scenario.models
    rates = [model.estimated_rps or model.rate_rps for model in models]
    known = [rate for rate in rates if rate]
    if None in rates:
        known = _estimated(question, rates)
    return [
        ModelBudget(model.latency_slo_us, margin_us(model), rate, question.build_us(rate))
        for model, rate in zip(models, known, strict=True)
    ]


def _estimated(question: PlanningQuestion, given: Sequence[float | None]) -> list[float]:
    """``given`` with every absent rate estimated, by the rounds that the module describes."""
    fleet = replace(question.fleet, hourly_cost=None)
    build_us = [NOT_GATHERED_US if rate is None else question.build_us(rate) for rate in given]
    whole, question = question.whole_models(), question.of_whole_batches()
    # A model that fits no device whole is estimated from its pipelines.
    asked = [
        whole if len(whole.templates(m, whole.budget(m, build))) else question
        for m, build in enumerate(build_us)
    ]
    objective = 0.0
    for _ in range(MOST_ROUNDS):
        parts = [own.templates(m, own.budget(m, build_us[m])) for m, own in enumerate(asked)]
        for m, part in enumerate(parts):
            if not len(part):
                raise no_pipeline(question, m, build_us[m])
        templates = join(parts)
        before = objective
        objective = relax(templates.take(fractional_undominated(templates)), fleet).bound
        rates = [
            rate or objective * weight for rate, weight in zip(given, fleet.weight.tolist(), strict=True)
        ]
        if objective <= before * (1 + 1e-9):
            break
        build_us = [question.build_us(rate) for rate in rates]
    return rates
