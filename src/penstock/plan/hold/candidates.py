"""Plans of one scenario for the closed loop, over templates that are listed once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import final

import numpy as np

from penstock.arrays import F64, I64
from penstock.errors import InfeasibleError
from penstock.plan.documents.plan import ModelPlan, Plan, has_split_stages
from penstock.plan.documents.scenario import Scenario
from penstock.plan.documents.shared_pools import pools_of, with_shared_pools
from penstock.plan.exact.latency_budget import ModelBudget
from penstock.plan.exact.objective import rates_of
from penstock.plan.hold.depth_program import DepthProgram, Drafted
from penstock.plan.no_pipeline import fleet_too_small, no_pipeline
from penstock.plan.placement.assemble import model_plans, plan_with_proof
from penstock.plan.placement.within_interfaces import placed_within_interfaces
from penstock.plan.planning_question import PlanningQuestion
from penstock.plan.templates.dominance import undominated_at
from penstock.plan.templates.table import LatencyBudget, Templates, join
from penstock.profile.table import Profile
from penstock.units import US_PER_S

PLANNER_NAME = "penstock-held"

PLANNED_PARTS = (0.6, 0.8)
"""How much of the interfaces is planned: of that of its host, for each device, and of all those of a class. If links
are always busy, batches wait for ever. Which part holds more depends on how even the traffic is."""

LINK_WAIT = 0.75
"""How long a batch waits for each link, in transfers: in a queue with equal services ``load / (2 * (1 - load))``
(Pollaczek and Khinchine), for a load of 0.6."""

ESTIMATE_ROUNDS = 2
"""Rounds from the scenario's estimate (or none) to the fluid rate. After two it changes by less than 1%."""

LEAST_SLACK = 0.02
"""Templates with less slack, as a part of the SLO, are left out if the model has others: a batch that cannot wait at
all finds its workers free only by luck."""


@final
class Candidates:
    """Plans of one scenario, over templates that are listed once.

    ``bound``: of the linear relaxation in which nothing queues, with the interfaces of each class as a whole. No plan
    exceeds it (with the objective ``cost``: no plan that meets the demands costs less). The gathering time of a batch
    is computed from that rate (from the demand, if the plan is to meet one) and with factor 1, because a plan of the
    search serves almost that rate. The judge then finds out whether batches fill in time. Raises
    :class:`InfeasibleError` if a model has no pipeline at all.
    """

    def __init__(self, scenario: Scenario, profiles: Mapping[str, Profile], stages: int) -> None:
        self._profiles = profiles
        self._slo_us = np.array([model.latency_slo_us for model in scenario.models], dtype=np.float64)
        bare = scenario.with_planner(max_stages=stages, batch_build_factor=1.0)
        bare = bare.with_models(lambda model: model.with_margin(0.0))  # also for what errors say
        self._question = PlanningQuestion(bare, profiles, equal_parts=False)
        self._fleet = self._question.fleet
        self._scenario = bare
        if self.meets_demand:
            self._reckon(self._fleet.weight)
            return
        self._reckon(np.array([model.estimated_rps or np.inf for model in scenario.models]))
        for _ in range(ESTIMATE_ROUNDS):
            self._reckon(self.bound * self._fleet.weight)

    def _reckon(self, rates_rps: F64) -> None:
        """List the templates whose batches gather at ``rates_rps`` (models,), and find their bound."""
        self._rates = rates_rps
        self._listed = _listed(self._question, US_PER_S / rates_rps)
        self.bound = self._program(part=1.0, wait=0.0, least_slack=0.0).fluid_bound()

    def program(self, part: float) -> DepthProgram:
        """The program that plans ``part`` of the interfaces."""
        return self._program(part, LINK_WAIT, LEAST_SLACK)

    def _program(self, part: float, wait: float, least_slack: float) -> DepthProgram:
        """``wait``: for each link, in transfers. ``least_slack``: as a part of the SLO."""
        templates, computing, loads = [], [], []
        for listed, slo_us in zip(self._listed, self._slo_us.tolist(), strict=True):
            slower, load = listed.within(part, wait), listed.load
            slack = 1.0 - slower.latency_us / slo_us
            rows = np.flatnonzero(slack >= min(least_slack, slack.max()))
            rows = rows[undominated_at(slower.take(rows), np.column_stack([slower.latency_us, load])[rows])]
            templates.append(slower.take(rows))
            computing.append(listed.templates.take(rows))
            loads.append(load[rows])
        joined = join(templates)
        return DepthProgram(
            templates=joined,
            compute_rps=join(computing).worker_rps,
            fleet=self._fleet,
            slack_s=self.slo_s[joined.model] - joined.latency_us / US_PER_S,
            load=np.concatenate(loads).T,
            room=part * np.tile(_interfaces(self._scenario, self._fleet.count), 2),
        )

    @property
    def slo_s(self) -> F64:
        """The SLO of each model in seconds: (models,)."""
        return self._slo_us / US_PER_S

    @property
    def meets_demand(self) -> bool:
        """Whether weights are demands that must be met at the least cost."""
        return self._fleet.hourly_cost is not None

    def no_plan(self) -> InfeasibleError:
        """Why no workers can be found."""
        if not self.meets_demand:
            return fleet_too_small(self._scenario)
        most = self._scenario.with_planner(objective="throughput")
        part = Candidates(most, self._profiles, most.planner.max_stages).bound
        return InfeasibleError(
            f"the cluster cannot meet the demand and leave time for queueing. If nothing queued, it would serve at "
            f"most {part:.3g} of every rate_rps. Lower rate_rps, or add devices; 'penstock capacity' says which. "
            f"'plan --hold' with objective throughput finds the part that is held."
        )

    def plan(self, drafted: Drafted) -> Plan:
        """``drafted`` as a plan. Its stages state what their workers compute, its pipelines what is moved too."""
        rates_rps = self._rates.tolist()
        models = [
            model.with_estimate(0, rate) for model, rate in zip(self._scenario.models, rates_rps, strict=True)
        ]
        scenario = self._scenario.edited(models=models)
        budget = [
            ModelBudget(model.latency_slo_us, 0, rate, US_PER_S / rate)
            for model, rate in zip(models, rates_rps, strict=True)
        ]
        rates = rates_of(drafted.templates, drafted.workers)
        templates = replace(drafted.templates, worker_rps=drafted.compute_rps)
        plans = model_plans(templates, drafted.workers, scenario, self._profiles, budget, rates=rates)
        plans, placement = placed_within_interfaces(plans, scenario, self._profiles)
        return plan_with_proof(
            plans,
            scenario,
            planner=PLANNER_NAME,
            bound=self.bound,
            gap=0.0,
            stats={},
            placement=placement,
        ).solution

    def expected_rps(self, plan: Plan, drafted: Drafted) -> F64:
        """What each model of ``plan`` should hold by the needs that it was drafted for: (models,)."""
        expected = []
        for m, (model, need) in enumerate(zip(plan.models, drafted.needs, strict=True)):
            capacity_rps, depth = self._capacity_and_depth(model, US_PER_S / float(self._rates[m]))
            expected.append(need.served_rps(float(drafted.estimate_rps[m]), capacity_rps, depth))
        return np.array(expected)

    def _capacity_and_depth(self, model: ModelPlan, gather_us: float) -> tuple[float, float]:
        """Requests per second, and how many requests may wait. ``gather_us``: for each further request of a batch."""
        depth = 0.0
        for pipeline in model.pipelines:
            work_us = sum(
                stage.inference_us + (1 + LINK_WAIT) * stage.transfer_us for stage in pipeline.stages
            )
            work_us += gather_us * (pipeline.stages[0].batch - 1)
            depth += pipeline.rate_rps * max(model.slo_us - work_us, 0.0) / US_PER_S
        return model.rate_rps, depth

    def shared(self, plan: Plan, *, lent: bool) -> Plan | None:
        """``plan`` with its pools shared, or only ``lent``.

        None if memory forbids it, if no two stages are of the same kind, or if stages are split and none would be lent.
        """
        if lent and has_split_stages(plan):
            return None
        try:
            found = with_shared_pools(plan, self._profiles, lent=lent)
        except InfeasibleError:
            return None
        return None if all(len(pool.stages) == 1 for pool in pools_of(found)) else found


@dataclass(frozen=True)
class _Listed:
    """All templates of one model, at the rates that their workers compute. ``moved_us`` (templates, stages + 1): the
    time to move one sample into each stage, and after the last one; mostly 0. ``load`` (templates, interfaces)."""

    templates: Templates
    moved_us: F64
    load: F64

    def within(self, part: float, wait: float) -> Templates:
        """The templates at the rates that devices move with ``part`` of an interface, and slower by ``wait`` transfers
        for each link."""
        listed = self.templates
        slowest_us = np.maximum(self.moved_us[:, :-1], self.moved_us[:, 1:]) * np.maximum(listed.share, 1)
        with np.errstate(divide="ignore"):
            moved_rps = part * US_PER_S / slowest_us
        return replace(
            listed,
            worker_rps=np.minimum(listed.worker_rps, moved_rps),
            latency_us=listed.latency_us + wait * listed.batch * self.moved_us.sum(axis=1),
        )


def _listed(question: PlanningQuestion, build_us: F64) -> list[_Listed]:
    found = []
    for m, model in enumerate(question.scenario.models):
        budget = LatencyBudget(model.latency_slo_us, float(build_us[m]))
        templates = question.templates(m, budget)
        if not len(templates):
            raise no_pipeline(question, m, float(build_us[m]))
        sample_us = question.space(m, budget, promised=False).sample_us
        moved_us = _moved(templates, sample_us)
        found.append(_Listed(templates, moved_us, _load(templates, moved_us, sample_us.shape[1])))
    return found


def _moved(templates: Templates, sample_us: F64) -> F64:
    """The time to move one sample into each stage, and after the last one: (templates, stages + 1).

    ``sample_us`` (boundaries, classes, classes).
    """
    moved = np.zeros((len(templates), templates.share.shape[1] + 1))
    for s in range(templates.share.shape[1] - 1):
        rows = np.flatnonzero(templates.device_class[:, s + 1] >= 0)
        sender, receiver = templates.device_class[rows, s], templates.device_class[rows, s + 1]
        moved[rows, s + 1] = sample_us[templates.cuts[rows, s + 1], sender, receiver]
    return moved


def _load(templates: Templates, moved_us: F64, classes: int) -> F64:
    """How long one request keeps the interfaces of each class busy, in seconds: uplinks, then downlinks.

    The result is (templates, 2 * classes).
    """
    load = np.zeros((len(templates), 2, classes))
    for s in range(templates.share.shape[1] - 1):
        rows = np.flatnonzero(moved_us[:, s + 1])
        moved_s = moved_us[rows, s + 1] / US_PER_S
        # No template is twice in ``rows``, so plain sums count all.
        load[rows, 0, templates.device_class[rows, s]] += moved_s
        load[rows, 1, templates.device_class[rows, s + 1]] += moved_s
    return load.reshape(len(load), 2 * classes)


def _interfaces(scenario: Scenario, count: I64) -> F64:
    """How many interfaces the devices of each class have: (classes,). A host that is not full counts in part."""
    specs = scenario.cluster.device_classes.values()
    return count / np.array([spec.interface_devices for spec in specs], dtype=np.float64)
