"""What limits a plan, and why each idle device is idle."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from penstock.api.results.plan_result import PlanResult
from penstock.api.showing.objective import objective_text, unit_of
from penstock.api.showing.plan_tables import verified_parts
from penstock.api.showing.shown import Shown
from penstock.api.showing.tables import Part, table
from penstock.plan.documents.scenario import Scenario
from penstock.plan.questions.explain import Explanation, WhyNot, explain
from penstock.plan.questions.full_interfaces import HeldDown
from penstock.plan.scheduled.choose import why_chosen

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NARROWER = ("np", "dart-r", "even")
"""Planners that use fewer pipelines than those to which the worths apply."""

MOST_HOSTS = 3
"""So many hosts with a full interface are named; the document has all."""


@dataclass(frozen=True, repr=False)
class ExplanationResult(Shown):
    """Slack, pools, device classes, SLOs, and the reasons for idle devices of ``planned``, in ``found``."""

    planned: PlanResult
    found: Explanation
    warnings: tuple[str, ...] = ()

    def parts(self) -> list[Part]:
        """How the SLO is used, the pools, the worths, and a sentence for each idle class and model."""
        plan, found = self.planned.plan, self.found
        scenario = plan.scenario
        is_cost = scenario.planner.pays_for_devices
        unit = unit_of(scenario)
        worth_unit = {"of every demand": "parts of every demand"}.get(
            unit, _paid_in(scenario) if is_cost else unit
        )
        parts = [*_pools(found), *verified_parts(plan), *_worths(found, worth_unit), *why_chosen(plan)]
        parts += [why_idle(reason, is_cost) for reason in found.why_not]
        parts += [_margin_binds(reason) for reason in found.why_not if reason.fits_at_margin is not None]
        parts.append(f"objective   {objective_text(plan.objective)} {unit}")
        parts.append(
            f"relaxation  {objective_text(found.relaxation)} (if workers and devices could be split)"
        )
        if found.planner in NARROWER:
            parts.append(
                f"worths and relaxation are for all pipelines that the planner penstock can use; {found.planner} "
                f"uses fewer"
            )
        return parts

    def document(self) -> dict[str, Any]:
        """Everything that was found."""
        return {**asdict(self.found), "why_chosen": why_chosen(self.planned.plan)}

    def records(self) -> list[dict[str, Any]]:
        """One row a pool: what it sustains and what limits it."""
        return [asdict(pool) for pool in self.found.pools]

    def plot(self) -> Figure:
        """How each pipeline uses its SLO."""
        from penstock.api.showing.pictures import stacked

        shares = {
            "margin": [one.margin_us / 1e3 for one in self.found.slack],
            "gather": [one.gather_us / 1e3 for one in self.found.slack],
            "infer": [one.inference_us / 1e3 for one in self.found.slack],
            "transfer": [one.transfer_us / 1e3 for one in self.found.slack],
            "slack": [max(one.slack_us, 0.0) / 1e3 for one in self.found.slack],
        }
        return stacked([f"{one.model} {one.pipeline}" for one in self.found.slack], shares, "ms of the SLO")


def explain_plan(planned: PlanResult) -> ExplanationResult:
    """What limits ``planned``."""
    return ExplanationResult(planned, explain(planned.plan, planned.profiles), planned.warnings)


def _pools(found: Explanation) -> Iterator[Part]:
    yield table(
        "How the SLO is used, in ms",
        ["model", "pipeline", "slo", "margin", "gather", "infer", "transfer", "slack", "of slo"],
        [
            (
                s.model,
                s.pipeline,
                *(
                    f"{part_us / 1e3:.3f}"
                    for part_us in (
                        s.slo_us,
                        s.margin_us,
                        s.gather_us,
                        s.inference_us,
                        s.transfer_us,
                        s.slack_us,
                    )
                ),
                f"{s.slack_share:.1%}",
            )
            for s in found.slack
        ],
    )
    yield table(
        "Pools",
        ["model", "pipeline", "stage", "class", "workers", "rate/s", "used", "limited by"],
        [
            (
                p.model,
                p.pipeline,
                p.stage,
                _unit(p.device_class, p.share),
                p.workers,
                f"{p.rate_rps:.1f}",
                f"{p.used:.1%}",
                p.limited_by
                if p.limited_by == "inference"
                else f"interface ({p.inference_rps:.1f}/s without)",
            )
            for p in found.pools
        ],
    )
    if found.held_down:
        yield table(
            "Pipelines below the rate of their slowest pool",
            ["model", "pipeline", "rate/s", "slowest pool/s", "full interfaces"],
            [
                (
                    one.model,
                    one.pipeline,
                    f"{one.rate_rps:.1f}",
                    f"{one.pools_rps:.1f}",
                    _full_interfaces(one) or "none: the rate was lowered otherwise",
                )
                for one in found.held_down
            ],
        )
    if found.shared_pools:
        yield table(
            "Shared pools",
            ["class", "stage", "workers", "used", "serves"],
            [
                (_unit(p.device_class, p.share), p.place, p.workers, f"{p.used:.1%}", ", ".join(p.stages))
                for p in found.shared_pools
            ],
        )


def _full_interfaces(pipeline: HeldDown) -> str:
    """The full interfaces of a pipeline: ``L4 uplink of host 0, 1, 2 and 5 more``."""
    hosts: dict[tuple[str, str], list[int]] = {}
    for one in pipeline.interfaces:
        hosts.setdefault((one.device_class, one.direction), []).append(one.host)
    return "; ".join(
        f"{device_class} {direction} of host {', '.join(map(str, found[:MOST_HOSTS]))}"
        f"{f' and {len(found) - MOST_HOSTS} more' if len(found) > MOST_HOSTS else ''}"
        for (device_class, direction), found in hosts.items()
    )


def _unit(device_class: str, share: int) -> str:
    return device_class if share == 1 else f"{device_class} 1/{share}"


def _worths(found: Explanation, unit: str) -> Iterator[Part]:
    yield table(
        f"Device classes; worth of one more in {unit}",
        ["class", "used", "in service", "worth", "binds"],
        [
            (c.device_class, c.used, c.available, f"{c.worth:.4f}", "yes" if c.binds else "no")
            for c in found.classes
        ],
    )
    yield table(
        f"SLOs; worth of the nearest longer one that helps, in {unit}",
        ["model", "slo ms", "next ms", "worth", "by"],
        [
            (s.model, f"{s.slo_us / 1e3:.3f}", "-", "-", "no slower pipeline up to twice the SLO helps")
            if s.better_slo_us is None
            else (
                s.model,
                f"{s.slo_us / 1e3:.3f}",
                f"{s.better_slo_us / 1e3:.3f}",
                f"{s.worth:.4f}",
                s.pipeline,
            )
            for s in found.slos
        ],
    )


def _paid_in(scenario: Scenario) -> str:
    return "an hour" if scenario.planner.objective == "cost" else "W"


def _margin_binds(reason: WhyNot) -> str:
    assert reason.fits_at_margin is not None
    # Rounded down: the next larger per mille would not fit.
    share = math.floor(reason.fits_at_margin * 1000) / 1000
    return (
        f"the margin of {reason.model} binds: with at most {share:.1%} of the SLO as margin, {reason.device_class} "
        f"could serve it without scarce devices. Try slo_margin: {share:g} in the scenario, or "
        f"'penstock plan --hold 0.99', which needs no margin"
    )


def why_idle(reason: WhyNot, is_cost: bool) -> str:
    """Why idle devices of a class do not serve a model, as a sentence."""
    start = f"{reason.idle} {reason.device_class} idle, {reason.model}: "
    fastest = f"the fastest pipeline through {reason.device_class} ({reason.fastest})"
    limit = f"the SLO less its margin, {reason.limit_us / 1e3:.3f} ms"
    if reason.misses_by_us > 0:
        return (
            f"{start}{fastest} takes {reason.latency_us / 1e3:.3f} ms and misses {limit}, by "
            f"{reason.misses_by_us / 1e3:.3f} ms"
        )
    if reason.extra_cost is None:
        return f"{start}{fastest} fits {limit}, but the model does not limit the objective"
    if reason.extra_cost > 1e-6:
        takes = "costs" if is_cost else "needs scarce devices worth"
        return (
            f"{start}{fastest} fits {limit}, but the best through it {takes} {reason.extra_cost:.1%} more than "
            f"its rate{' is worth' if is_cost else ''}"
        )
    if is_cost and not reason.scarce:
        return f"{start}{fastest} fits {limit}, but the demand is met without them"
    beside = (
        f"because no {' and no '.join(reason.scarce)} is free"
        if reason.scarce
        else "because devices are whole"
    )
    return (
        f"{start}{fastest} fits {limit}, and the best through it is worth its devices; no more of it {beside}"
    )
