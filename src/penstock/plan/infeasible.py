"""Why a scenario has no plan. :mod:`penstock.plan.remedies` adds the smallest changes that give it one."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from penstock.errors import InfeasibleError
from penstock.plan.margin import margin_us
from penstock.plan.pricing import fastest
from penstock.plan.scenario import Scenario, ServedModel
from penstock.plan.template_space import TemplateSpace
from penstock.plan.templates import Templates
from penstock.profile.table import Profile
from penstock.units import US_PER_MS

if TYPE_CHECKING:
    from penstock.plan.remedies import Remedy


class NoPlanError(InfeasibleError):
    """It is proven that the scenario has no plan.

    ``nearest_slo``: the model without a pipeline, and the least SLO in microseconds that gives it one.
    ``remedies``: changes that were solved again and have a plan.
    """

    def __init__(
        self,
        reason: str,
        *,
        nearest_slo: tuple[str, int] | None = None,
        remedies: tuple[Remedy, ...] = (),
    ) -> None:
        super().__init__(reason)
        self.nearest_slo = nearest_slo
        self.remedies = remedies


def no_pipeline(
    scenario: Scenario,
    profile: Profile,
    model: ServedModel,
    build_us: float,
    *,
    max_stages: int | None = None,
    max_share: int | None = None,
) -> NoPlanError:
    """The error for a model none of whose pipelines meets its SLO: names the fastest and the nearest SLO."""
    space = TemplateSpace.of(
        profile,
        scenario.cluster,
        limit_us=math.inf,
        build_us=build_us,
        max_stages=max_stages or scenario.planner.max_stages,
        max_share=max_share,
    )
    quickest = fastest(space)
    if not len(quickest):
        return _too_large(model, max_stages or scenario.planner.max_stages)
    fastest_us = float(quickest.latency_us[0])
    nearest_us = nearest_slo_us(model, fastest_us)
    return NoPlanError(
        f"no pipeline of model {model.name!r} meets its SLO of {_ms(model.latency_slo_us)} less a margin of "
        f"{_ms(margin_us(model))}: the fastest takes {_ms(fastest_us)} ({described(quickest, 0, scenario)}). "
        f"The nearest feasible SLO is {nearest_us} us; raise slo_us to that, lower the margin, or add a "
        f"faster device class.",
        nearest_slo=(model.name, nearest_us),
    )


def _too_large(model: ServedModel, max_stages: int) -> NoPlanError:
    cut, remedy = f", however it is cut in at most {max_stages} stages", "Raise max_stages"
    if max_stages == 1:
        cut, remedy = " where it is not cut", "Let it be cut (max_stages, and the planner penstock)"
    return NoPlanError(
        f"model {model.name!r} fits no device of the cluster: its parameters and activations at batch 1 pass the "
        f"memory of every class{cut}. {remedy}, or add a class with more memory."
    )


def fleet_too_small(scenario: Scenario) -> NoPlanError:
    """The error for a fleet that cannot give every model one worker at each stage of some pipeline."""
    held = ", ".join(f"{spec.available} {name}" for name, spec in scenario.cluster.device_classes.items())
    place = (
        "a device, or a share of one"
        if scenario.planner.share_devices
        else "at least one whole device that no other model uses"
    )
    return NoPlanError(
        f"the cluster ({held}) is too small for {len(scenario.models)} models: each needs, for every stage "
        f"of one pipeline that meets its SLO, {place}. "
        f"Add devices, drop a model, or raise an SLO so that it fits a class with devices to spare."
    )


def nearest_slo_us(model: ServedModel, latency_us: float) -> int:
    """The smallest SLO whose budget, less the model's margin, holds ``latency_us``."""

    def holds(slo_us: int) -> bool:
        return slo_us - margin_us(model, slo_us) >= latency_us

    # The budget never falls by more than rounding as the SLO grows: bracket the answer, then halve.
    low, high = 0, math.ceil(latency_us) + margin_us(model)
    while not holds(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def described(templates: Templates, row: int, scenario: Scenario) -> str:
    """A template in words: spans, classes, shares and batch."""
    names = list(scenario.cluster.device_classes)
    stages = []
    for s in range(int(templates.stages[row])):
        start, stop = templates.cuts[row, s : s + 2]
        share = templates.share[row, s]
        part = "" if share == 1 else f" 1/{share}"
        stages.append(f"[{start}, {stop}) on {names[templates.device_class[row, s]]}{part}")
    return "blocks " + " -> ".join(stages) + f", batch {templates.batch[row]}"


def _ms(duration_us: float) -> str:
    return f"{duration_us / US_PER_MS:.3f} ms"
