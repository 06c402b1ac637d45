"""Why a scenario has no plan. :mod:`penstock.plan.planners.remedies` adds the smallest changes that give it one."""

from __future__ import annotations

import math
from collections.abc import Mapping

from penstock.errors import InfeasibleError
from penstock.plan.documents.margin import margin_us
from penstock.plan.documents.remedy import Remedy
from penstock.plan.documents.scenario import Scenario, ServedModel
from penstock.plan.planning_question import PlanningQuestion
from penstock.plan.templates.pricing import fastest
from penstock.plan.templates.table import LatencyBudget, Templates
from penstock.profile.table import Profile
from penstock.units import US_PER_MS

NO_PROFILES: Mapping[str, Profile] = {}


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


def no_pipeline(question: PlanningQuestion, m: int, build_us: float) -> NoPlanError:
    """The error if no pipeline of model ``m`` meets its SLO. It names the fastest pipeline and the nearest SLO."""
    model, scenario = question.scenario.models[m], question.scenario
    quickest = fastest(question.space(m, LatencyBudget(math.inf, build_us), promised=False))
    if not len(quickest):
        return _too_large(model, question.max_stages)
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
        cut, remedy = " if it is not cut", "Let it be cut (max_stages, and the planner penstock)"
    return NoPlanError(
        f"model {model.name!r} fits no device of the cluster: its parameters and activations at batch 1 exceed the "
        f"memory of every class{cut}. {remedy}, or add a class with more memory."
    )


def fleet_too_small(scenario: Scenario, profiles: Mapping[str, Profile] = NO_PROFILES) -> NoPlanError:
    """The error for a fleet that cannot give every model one worker at each stage of some pipeline.

    With ``profiles`` it says so if memory is the reason why a model needs more than one.
    """
    held = ", ".join(f"{spec.available} {name}" for name, spec in scenario.cluster.device_classes.items())
    place = (
        "a device, or a share of one"
        if scenario.planner.share_devices
        else "at least one whole device that no other model uses"
    )
    return NoPlanError(
        f"the cluster ({held}) is too small for {len(scenario.models)} models: each needs, for every stage "
        f"of one pipeline that meets its SLO, {place}. {_of_memory(scenario, profiles)}"
        f"Add devices, drop a model, or raise an SLO so that it fits a class with devices to spare."
    )


def _of_memory(scenario: Scenario, profiles: Mapping[str, Profile]) -> str:
    """The models whose weights alone exceed the memory of every class, and so must be cut."""
    limits = [spec.memory_gb for spec in scenario.cluster.device_classes.values()]
    known = [limit for limit in limits if limit is not None]
    if not known or len(known) < len(limits):
        return ""
    sizes = {name: one.parameter_bytes(0, len(one.blocks)) / 1e9 for name, one in profiles.items()}
    return "".join(
        f"Model {name!r} has {size:.3f} GB of weights, more than the memory of any class ({max(known)} GB), so it "
        f"needs several devices. "
        for name, size in sizes.items()
        if size > max(known)
    )


def nearest_slo_us(model: ServedModel, latency_us: float) -> int:
    """The smallest SLO that, less the model's margin, is at least ``latency_us``."""

    def holds(slo_us: int) -> bool:
        return slo_us - margin_us(model, slo_us) >= latency_us

    # As the SLO grows, the budget never falls by more than rounding: first enclose the answer, then bisect.
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
