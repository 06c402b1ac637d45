"""The checker: are the statements of a plan true?

It shares no code with any planner. It reads the scenario and the profiles, and computes again, in plain
Python and from the definitions (Kong et al., "PPipe", USENIX ATC 2025, planning), everything that a plan
states. It checks every plan that is written or loaded. So it also finds errors in a plan that was edited by hand.

Rules of pipelines, interfaces, placement, memory, proof and turns are in :mod:`penstock.plan.documents.rules`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from penstock.errors import BadInputError
from penstock.plan.documents.margin import DEFAULT_MARGIN
from penstock.plan.documents.plan import ModelPlan, Plan, has_split_stages
from penstock.plan.documents.rules.interface_rules import check_interfaces
from penstock.plan.documents.rules.pipeline_rules import check_pipeline
from penstock.plan.documents.rules.placement_rules import check_placement
from penstock.plan.documents.rules.proof_rules import check_proof, check_verification
from penstock.plan.documents.rules.scheduled_rules import check_scheduled
from penstock.plan.documents.rules.tolerance import RELATIVE_TOLERANCE, differs
from penstock.plan.documents.scenario import Scenario, ServedModel
from penstock.profile.table import Profile

MOST_SHOWN = 20


def check_plan(plan: Plan, profiles: Mapping[str, Profile]) -> None:
    """Raise :class:`BadInputError` with a list of all violations of ``plan``. ``profiles`` by model name."""
    violations = [
        *_check_lending(plan),
        *(
            _check_models(plan, profiles)
            if plan.scheduled is None
            else check_scheduled(plan, plan.scheduled, profiles)
        ),
        *check_proof(plan),
        *check_verification(plan),
        *check_placement(plan, profiles),
    ]
    if not violations:  # what passes a host can be computed only if stages and places exist
        violations = list(check_interfaces(plan, profiles))
    if violations:
        shown = violations[:MOST_SHOWN]
        if len(violations) > MOST_SHOWN:
            shown.append(f"and {len(violations) - MOST_SHOWN} more")
        raise BadInputError(
            f"the plan breaks {len(violations)} rule{'s' if len(violations) > 1 else ''}; plan again, or "
            f"correct it:\n  " + "\n  ".join(shown)
        )


def _check_lending(plan: Plan) -> Iterator[str]:
    if plan.lent_pools and not plan.shared_pools:
        yield "lent_pools: a worker can be lent only if it holds the pieces of its pool, so shared_pools must be true"
    if plan.lent_pools and has_split_stages(plan):
        yield "lent_pools: a plan with split stages lends no worker, so lent_pools must be false"


def _check_models(plan: Plan, profiles: Mapping[str, Profile]) -> Iterator[str]:
    """Every model of the scenario is served exactly once, at the sum of its pipelines' rates."""
    served = {model.name: model for model in plan.scenario.models}
    planned = [model.name for model in plan.models]
    if planned != list(served):
        yield f"models: the plan serves {planned}, its scenario asks for {list(served)}, in that order"
    for model in plan.models:
        if model.name in served and model.name in profiles:
            yield from _check_model(model, served[model.name], plan.scenario, profiles[model.name])


def _check_model(
    model: ModelPlan, served: ServedModel, scenario: Scenario, profile: Profile
) -> Iterator[str]:
    where = f"model {model.name!r}"
    if model.slo_us != served.latency_slo_us:
        yield f"{where}: slo_us {model.slo_us}, the scenario says {served.latency_slo_us}"
    margin_us, says = served.margin_us, "the scenario says"
    if margin_us is None:
        margin_us, says = (
            round(DEFAULT_MARGIN * served.latency_slo_us),
            "the scenario gives none, which means",
        )
    if model.margin_us != margin_us:
        yield f"{where}: margin_us {model.margin_us}, {says} {margin_us}"
    estimate = model.estimated_rps or served.estimated_rps
    if served.estimated_rps and differs(estimate or 0.0, served.estimated_rps):
        yield f"{where}: estimated_rps {model.estimated_rps}, the scenario says {served.estimated_rps}"
    if (
        not served.estimated_rps
        and served.rate_rps
        and (estimate or 0.0) > served.rate_rps * (1 + RELATIVE_TOLERANCE)
    ):
        yield f"{where}: estimated_rps {model.estimated_rps}, but only {served.rate_rps} arrive"
    most_rps = _most_rps(scenario, profile)
    if not served.estimated_rps and (estimate or 0.0) > most_rps * (1 + RELATIVE_TOLERANCE):
        yield f"{where}: estimated_rps {model.estimated_rps}, but the whole cluster serves at most {most_rps}"
    for p, pipeline in enumerate(model.pipelines):
        yield from check_pipeline(
            f"{where}, pipeline {p}", pipeline, scenario, profile, model.slo_us - model.margin_us, estimate
        )
    total = sum(pipeline.rate_rps for pipeline in model.pipelines)
    if differs(model.rate_rps, total):
        yield f"{where}: rate_rps {model.rate_rps}, its pipelines sum to {total}"


def _most_rps(scenario: Scenario, profile: Profile) -> float:
    """The highest rate of the model that the whole cluster could serve, without any latency limit.

    Block ``k`` takes at least ``work[c][k]`` device seconds of class ``c``, and a whole model takes ``whole[c]``. Let
    a second cost ``1 / whole[c]``. Then a request costs at least the sum over blocks of the cheapest class, and all
    devices together can spend ``sum of count[c] / whole[c]`` each second.
    """
    shares, spend = [], 0.0
    for name, spec in scenario.cluster.device_classes.items():
        tables = [
            (share, table.latency_us.tolist())
            for (device_class, share), table in profile.tables.items()
            if device_class == name and share <= spec.max_share
        ]
        if not spec.available or not tables:
            continue
        work_us = [
            min(time / (b * share) for share, rows in tables for b, time in enumerate(rows[k], start=1))
            for k in range(len(profile.blocks))
        ]
        if sum(work_us) <= 0:
            return math.inf
        shares.append([time / sum(work_us) for time in work_us])
        spend += spec.available * 1e6 / sum(work_us)
    cost = sum(min(block) for block in zip(*shares, strict=True))
    return spend / cost if cost > 0 else math.inf
