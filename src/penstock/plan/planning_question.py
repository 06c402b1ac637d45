"""The planning question: a scenario, its profiles, and the limits of a planner's search.

Every planner reads device counts, templates and limits from here. So no planner can use a lost device.
:meth:`PlanningQuestion.about` asks the same question about a changed scenario. Scenarios are changed only by methods
that validate (:class:`penstock.plan.documents.scenario.Scenario`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import final

import numpy as np

from penstock.arrays import I64
from penstock.plan.documents.margin import margin_us
from penstock.plan.documents.scenario import Scenario
from penstock.plan.interfaces import SearchLimits
from penstock.plan.templates.fleet import Fleet
from penstock.plan.templates.promise import excesses, promising_space
from penstock.plan.templates.space import TemplateSpace
from penstock.plan.templates.table import LatencyBudget, Templates, join, list_templates
from penstock.profile.table import Profile
from penstock.units import US_PER_S

SPLIT_LISTED = 2
"""Up to so many stages, templates with split stages are listed."""


@final
@dataclass(frozen=True)
class PlanningQuestion:
    """Which plan serves ``scenario`` best?

    ``profiles`` by model name. ``stages``: the most stages of a pipeline, None for the scenario's ``max_stages``.
    ``max_share``: the most workers on one device, None for the limits of the device classes. ``most_pieces``: into how
    many pieces a stage may split a batch, None for the scenario's ``split_stages``. ``equal_parts``: whether each
    device has an equal part of its host's interface; without it, interfaces limit no template's rate.
    """

    scenario: Scenario
    profiles: Mapping[str, Profile]
    limits: SearchLimits = field(default_factory=SearchLimits)
    stages: int | None = None
    max_share: int | None = None
    most_pieces: int | None = None
    equal_parts: bool = True

    def about(self, scenario: Scenario) -> PlanningQuestion:
        """The same question about another scenario."""
        return replace(self, scenario=scenario)

    def within(self, time_limit_s: float, gap: float | None = None) -> PlanningQuestion:
        """The same question with another time limit in seconds, and another relative ``gap`` if it is given."""
        limits = SearchLimits(self.limits.gap if gap is None else gap, time_limit_s)
        return replace(self, limits=limits)

    @property
    def max_stages(self) -> int:
        """The most stages that a pipeline may have."""
        return self.stages or self.scenario.planner.max_stages

    @property
    def device_counts(self) -> I64:
        """Devices in service, without the lost ones: (classes,), in the cluster's order."""
        classes = self.scenario.cluster.device_classes.values()
        return np.array([spec.available for spec in classes], dtype=np.int64)

    @property
    def weights(self) -> list[float]:
        """Each model's weight, or its demand in requests per second."""
        return [model.weight for model in self.scenario.models]

    @property
    def fleet(self) -> Fleet:
        """What a program distributes: device counts, weights or demands, and prices if the objective counts them."""
        scenario = self.scenario
        price = np.array([scenario.device_price(name) or 0.0 for name in scenario.cluster.device_classes])
        return Fleet(
            count=self.device_counts,
            weight=np.array(self.weights),
            hourly_cost=price if scenario.planner.pays_for_devices else None,
            share_devices=scenario.planner.share_devices,
        )

    def profile(self, m: int) -> Profile:
        """The profile of model ``m``."""
        return self.profiles[self.scenario.models[m].name]

    def build_us(self, rate_rps: float) -> float:
        """The time until one more request of a batch arrives at ``rate_rps``, times the scenario's factor."""
        return self.scenario.planner.batch_build_factor * US_PER_S / rate_rps

    def budget(self, m: int, build_us: float) -> LatencyBudget:
        """What a template of model ``m`` must meet: its SLO less its margin."""
        model = self.scenario.models[m]
        return LatencyBudget(model.latency_slo_us - margin_us(model), build_us)

    @property
    def pieces(self) -> int:
        """Into how many pieces a stage may split a batch."""
        return self.most_pieces or self.scenario.planner.split_stages

    def space(self, m: int, budget: LatencyBudget, *, promised: bool = True) -> TemplateSpace:
        """The templates of model ``m`` within ``budget``, without listing them.

        If ``promised``, they are those that a policy can promise, if there is any
        (:mod:`penstock.plan.templates.promise`).
        """
        space = TemplateSpace.of(
            self.profile(m),
            self.scenario.cluster,
            limit_us=budget.limit_us,
            build_us=budget.build_us,
            max_stages=self.max_stages,
            max_share=self.max_share,
            most_pieces=self.pieces,
            equal_parts=self.equal_parts,
            model=m,
        )
        if not promised:
            return space
        names = list(self.scenario.cluster.device_classes)
        units = [
            (names[index], share)
            for index, share in zip(space.device_class.tolist(), space.share.tolist(), strict=True)
        ]
        excess_us = excesses(self.profile(m), units, len(space.batches))
        return promising_space(space, excess_us, self.scenario.models[m].latency_slo_us)

    def templates(self, m: int, budget: LatencyBudget, *, promised: bool = True) -> Templates:
        """All templates of model ``m`` within ``budget``; ``promised`` as in :meth:`space`.

        Those of more than :data:`SPLIT_LISTED` stages are listed without split stages: they would be too many.
        """
        if self.pieces == 1 or self.max_stages <= SPLIT_LISTED:
            return list_templates(self.space(m, budget, promised=promised))
        whole = self.of_whole_batches().templates(m, budget, promised=promised)
        short = replace(self, stages=SPLIT_LISTED).templates(m, budget, promised=promised)
        return join([whole, short.take(short.is_split)])

    def whole_models(self) -> PlanningQuestion:
        """The same question over whole models on whole devices."""
        return replace(self, stages=1, max_share=1, most_pieces=1)

    def of_whole_batches(self) -> PlanningQuestion:
        """The same question without split stages."""
        return replace(self, most_pieces=1)
