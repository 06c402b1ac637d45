"""Plans over split templates, made and measured as the closed loop makes and measures its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from penstock.arrays import F64, I64
from penstock.errors import InfeasibleError
from penstock.plan.dispatch_table import dispatch_table
from penstock.plan.documents.plan import ModelPlan, PipelinePlan, Plan, StagePlan
from penstock.plan.documents.scenario import Scenario
from penstock.plan.exact.listed_search import search
from penstock.plan.exact.objective import rates_of
from penstock.plan.exact.worker_program import relax
from penstock.plan.hold.choices import ModelChoice
from penstock.plan.interfaces import SearchLimits
from penstock.plan.placement.assemble import plan_with_proof
from penstock.plan.planning_question import PlanningQuestion
from penstock.plan.templates.dominance import fractional_undominated
from penstock.plan.templates.table import LatencyBudget, Templates, join
from penstock.profile.table import Profile
from penstock.schedule.table import DispatchTable
from penstock.simulate.judge.sweep import FIRST_STEP, Held, sweep
from penstock.simulate.judge.trial import WARM_UP_SHARE, Trial
from penstock.traffic.arrivals import draw_arrivals
from penstock.units import US_PER_S, transfer_us, us_from_seconds
from rebatch_parts.split_simulator import SplitTable, counts, split_table
from rebatch_parts.split_templates import is_split, list_split, stages_of

ESTIMATE_ROUNDS = 3
NEAR_STEP = 0.01


@dataclass(frozen=True)
class SplitPlan:
    """``plan`` has each stage's own batch. ``table``: with the batches of the pipelines. ``split``: the share of the
    rate that takes pipelines with split stages."""

    plan: Plan
    table: SplitTable
    product_table: DispatchTable
    split: float

    @property
    def weights(self) -> list[float]:
        """Of the models."""
        return [model.weight for model in self.plan.scenario.models]


class SplitSpace:
    """All templates of a scenario with at most ``pieces`` at a stage, listed once, as in the closed loop.

    Templates of three stages are not split: they would be too many to list. ``bound_rps``: of the relaxation.
    """

    def __init__(
        self,
        scenario: Scenario,
        profiles: Mapping[str, Profile],
        *,
        pieces: int,
        stages: int,
        margin: float = 0.0,
    ) -> None:
        self._scenario = scenario.with_planner(
            max_stages=stages, batch_build_factor=1.0, share_devices=True, fill=False
        )
        self._profiles = profiles
        self._question = PlanningQuestion(self._scenario, profiles)
        self._fleet = self._question.fleet
        self._slo_us = np.array([model.latency_slo_us for model in scenario.models], np.float64)
        rates = np.full(len(self._slo_us), np.inf)
        for _ in range(ESTIMATE_ROUNDS):
            self._rates = rates
            self.templates = join([self._of_model(m, pieces, stages, margin) for m in range(len(rates))])
            kept = self.templates.take(fractional_undominated(self.templates))
            self.bound_rps = relax(kept, self._fleet).bound
            rates = self.bound_rps * self._fleet.weight

    def _of_model(self, m: int, pieces: int, stages: int, margin: float) -> Templates:
        budget = LatencyBudget(float(self._slo_us[m]) * (1 - margin), float(US_PER_S / self._rates[m]))
        space = self._question.space(m, budget)
        whole = list_split(space, 1)
        if pieces == 1:
            return whole
        short = list_split(replace(space, max_stages=min(2, stages)), pieces)
        return join([whole, short.take(is_split(short))])

    def plan(self, choice: ModelChoice, limits: SearchLimits) -> SplitPlan:
        """The best plan for one choice for all models. Raises :class:`InfeasibleError` if there is none."""
        slack = 1.0 - self.templates.latency_us / self._slo_us[self.templates.model]
        rows = np.flatnonzero((slack >= choice.margin) & (self.templates.stages <= choice.stages))
        kept = self.templates.take(rows)
        if len(np.unique(kept.model)) < len(self._slo_us):
            raise InfeasibleError("the choice leaves a model without a pipeline: choose a lower margin.")
        factor = (1.0 + choice.slack_weight * slack[rows]) / (1.0 + choice.slack_weight)
        counted = replace(kept, worker_rps=kept.worker_rps * factor[:, None])
        found = search(counted, self._fleet, limits)
        if not found.found:
            raise InfeasibleError("no plan was found in time: raise the time limit.")
        return self._assembled(kept.take(found.rows), found.workers)

    def _assembled(self, templates: Templates, workers: I64) -> SplitPlan:
        rates = rates_of(templates, workers)
        models, rows = [], []
        for m, model in enumerate(self._scenario.models):
            own = [
                t
                for t in np.argsort(-rates, kind="stable").tolist()
                if templates.model[t] == m and rates[t] > 0
            ]
            pipelines = [self._pipeline(templates, t, workers[t]) for t in own]
            rows += own
            models.append(
                ModelPlan(
                    name=model.name,
                    rate_rps=sum(pipeline.rate_rps for pipeline in pipelines),
                    slo_us=model.latency_slo_us,
                    margin_us=0,
                    estimated_rps=float(self._rates[m]),
                    pipelines=pipelines,
                )
            )
        plan = plan_with_proof(
            models, self._scenario, planner="split", bound=self.bound_rps, gap=0.0, stats={}
        ).solution
        table = dispatch_table(plan, self._profiles)
        split = split_table(
            table,
            templates.batch[rows],
            _stage_batches(plan),
            table.latency_us,
            _samples_us(plan, self._profiles),
        )
        share = rates[rows][is_split(templates.take(np.array(rows)))].sum() / rates[rows].sum()
        return SplitPlan(plan, split, table, float(share))

    def _pipeline(self, templates: Templates, t: int, workers: I64) -> PipelinePlan:
        names, profile = list(self._scenario.cluster.device_classes), self._profiles_of(templates, t)
        stages = []
        for start, stop, batch, s in stages_of(templates, t):
            name, share = names[templates.device_class[t, s]], int(templates.share[t, s])
            stages.append(
                StagePlan(
                    blocks=(start, stop),
                    device_class=name,
                    share=share,
                    batch=batch,
                    workers=int(workers[s]),
                    inference_us=int(profile.table(name, share).span_us(start, stop)[batch - 1]),
                    transfer_us=0,
                    rate_rps=float(workers[s] * templates.worker_rps[t, s]),
                )
            )
        return PipelinePlan(rate_rps=min(stage.rate_rps for stage in stages), stages=stages)

    def _profiles_of(self, templates: Templates, t: int) -> Profile:
        return self._profiles[self._scenario.models[int(templates.model[t])].name]


def _stage_batches(plan: Plan) -> I64:
    return np.array([s.batch for model in plan.models for p in model.pipelines for s in p.stages], np.int64)


def _samples_us(plan: Plan, profiles: Mapping[str, Profile]) -> F64:
    """The time to receive a sample at each stage, 0 at the first of a pipeline."""
    found = []
    for model in plan.models:
        for pipeline in model.pipelines:
            found.append(0.0)
            for sender, receiver in zip(pipeline.stages, pipeline.stages[1:], strict=False):
                gbps = plan.scenario.cluster.link_gbps(sender.device_class, receiver.device_class)
                found.append(transfer_us(profiles[model.name].boundary_bytes[receiver.blocks[0]], gbps))
    return np.array(found)


@dataclass(frozen=True)
class SplitTrial:
    """As a :class:`Trial`, for a plan with split stages."""

    trial: Trial
    table: SplitTable

    def counts(self, table: DispatchTable, rates_rps: Sequence[float]) -> tuple[I64, I64]:
        """Requests missed and arrived, (seeds, models). ``table`` is not used."""
        rows = []
        for seed in self.trial.seeds:
            rng = np.random.default_rng(seed)
            arrivals = draw_arrivals(self.trial.arrivals, rates_rps, self.trial.seconds, rng)
            rows.append(counts(self.table, arrivals, us_from_seconds(self.trial.seconds * WARM_UP_SHARE)))
        return np.stack([missed for missed, _ in rows]), np.stack([arrived for _, arrived in rows])


def held(one: SplitPlan, trial: Trial, tolerance: float, near: Sequence[Held] = ()) -> list[Held]:
    """The rates that the plan holds at 99%. The product's simulator runs it if nothing is split."""
    first, step = [0.97 * model.rate_rps for model in one.plan.models], FIRST_STEP
    if near and all(model.rate_rps > 0 for model in near):
        first, step = [model.rate_rps for model in near], NEAR_STEP
    judge = SplitTrial(trial, one.table) if one.split else trial
    return sweep(one.product_table, first, judge, target=0.99, tolerance=tolerance, first_step=step)  # type: ignore[arg-type]
