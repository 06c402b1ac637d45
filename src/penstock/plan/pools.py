"""The planner ``penstock``: pool-based pipelines over unlike devices, exact.

The plan space is that of Kong et al., "PPipe" (USENIX ATC 2025): a model is served by pipelines, a pipeline
is a chain of pools, any worker of the next pool may take a batch, pools match in rate. They pose one
integer program over cuts, classes and batches; here every template is enumerated
(:mod:`penstock.plan.templates`), which makes the program small enough to solve with a proof that covers
all of them (:mod:`penstock.plan.search`).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import final

from penstock.errors import BadInputError, InfeasibleError
from penstock.plan.assemble import model_plans, objective_of, proven, trimmed
from penstock.plan.budget import budgets, fleet_of
from penstock.plan.infeasible import fleet_too_small, no_pipeline
from penstock.plan.plan import Plan
from penstock.plan.planner import SearchLimits
from penstock.plan.scenario import Scenario
from penstock.plan.search import SearchOutcome, search
from penstock.plan.templates import enumerate_templates, join
from penstock.profile.table import Profile
from penstock.result import Result


@final
@dataclass(frozen=True)
class PoolPlanner:
    """Pipelines of at most the scenario's ``max_stages`` stages, on any classes and shares."""

    limits: SearchLimits = field(default_factory=SearchLimits)
    name: str = "penstock"

    def plan(self, scenario: Scenario, profiles: Mapping[str, Profile]) -> Result[Plan]:
        """The best plan; :class:`penstock.errors.InfeasibleError` names the model and the nearest SLO."""
        return plan_templates(
            scenario, profiles, self.limits, planner=self.name, max_stages=scenario.planner.max_stages
        )


def plan_templates(
    scenario: Scenario,
    profiles: Mapping[str, Profile],
    limits: SearchLimits,
    *,
    planner: str,
    max_stages: int,
    max_share: int | None = None,
) -> Result[Plan]:
    """The best plan over the templates of at most ``max_stages`` stages and shares up to ``max_share``."""
    if scenario.planner.objective == "cost":
        raise BadInputError(
            f"the planner {planner} cannot plan for objective 'cost'; set it to 'throughput'."
        )
    began = time.perf_counter()
    budget = budgets(scenario, profiles)
    parts = []
    for m, model in enumerate(scenario.models):
        profile = profiles[model.name]
        part = enumerate_templates(
            profile,
            scenario.cluster,
            budget[m].latency,
            max_stages=max_stages,
            max_share=max_share,
            model=m,
        )
        if not len(part):
            raise no_pipeline(
                scenario, profile, model, budget[m].build_us, max_stages=max_stages, max_share=max_share
            )
        parts.append(part)
    templates, fleet = join(parts), fleet_of(scenario)

    def finished(outcome: SearchOutcome) -> Result[Plan]:
        stats = {**outcome.stats, "solve_seconds": time.perf_counter() - began}
        workers = trimmed(outcome.templates, outcome.workers)
        if objective_of(outcome.templates, workers, fleet) <= 0.0:
            raise fleet_too_small(scenario)
        models = model_plans(outcome.templates, workers, scenario, profiles, budget)
        return proven(models, scenario, planner=planner, bound=outcome.bound, gap=limits.gap, stats=stats)

    outcome = search(templates, fleet, limits)
    try:
        return finished(outcome)
    except InfeasibleError:
        if not outcome.workers.any():
            raise
    # Mixtures of shares may need more devices than their sum (1/2 + 1/3 + 1/5 > 1): then each share gets
    # devices of its own. The first bound holds for this smaller plan space too.
    separate = search(templates, fleet, limits, mix_shares=False)
    return finished(replace(separate, bound=outcome.bound))
