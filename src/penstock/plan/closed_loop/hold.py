"""A plan that holds its target: searched with a judge, then verified on arrivals that the search never saw.

The rates a search reports are those of the best of many noisy measurements, and so a little too good. The
plan states only what it held on fresh seeds, all models at once: by construction it holds the target at load 1.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from penstock.errors import InfeasibleError
from penstock.plan.closed_loop.choices import Candidates
from penstock.plan.closed_loop.demand import search_demands
from penstock.plan.closed_loop.search import CLOSE, GRID, ROUNDS, ChoiceSearch, Measured
from penstock.plan.plan import Plan, Verification, Verified
from penstock.plan.scenario import Scenario
from penstock.plan.score import Attainments, Evaluate
from penstock.profile.table import Profile

BACK_OFF = 0.005
"""A rate that fresh seeds do not confirm is lowered by this share, until they do."""

MOST_BACK_OFFS = 60


def plan_to_hold(
    scenario: Scenario,
    profiles: Mapping[str, Profile],
    *,
    evaluate: Evaluate,
    confirm: Attainments,
    verification: Verification,
    rounds: int = ROUNDS,
    watch: Callable[[Measured], None] = lambda measured: None,
) -> Plan:
    """The plan that holds ``verification.target`` at the highest rates found, with those rates verified.

    With the objective ``cost``: the cheapest plan found that holds it at every demand.

    ``evaluate`` measures plans during the search, ``confirm`` attainments on fresh seeds, as ``verification`` says.
    Margins and estimates that ``scenario`` states are not used: choosing them is what this is for. The plan's
    ``bound`` is the fluid one, without margin. :class:`InfeasibleError` where a model has no pipeline within its
    SLO, or nothing holds the target.
    """
    began = time.perf_counter()
    if scenario.planner.objective == "cost":
        plan = _plan_demands(scenario, profiles, evaluate, confirm, verification)
    else:
        best = search_to_hold(scenario, profiles, evaluate=evaluate, rounds=rounds, watch=watch)
        rates = [model.held_rps for model in best.score.models]
        plan = verified(best.planned.plan, rates, confirm, verification)
    return plan.model_copy(update={"stats": {"solve_seconds": time.perf_counter() - began}})


def search_to_hold(
    scenario: Scenario,
    profiles: Mapping[str, Profile],
    *,
    evaluate: Evaluate,
    rounds: int = ROUNDS,
    watch: Callable[[Measured], None] = lambda measured: None,
) -> Measured:
    """The plan that holds most by ``evaluate``, not verified: see :func:`plan_to_hold`."""
    weights = [model.weight for model in scenario.models]
    return ChoiceSearch(_candidates(scenario, profiles), weights, evaluate, watch).run(GRID, rounds)


def _plan_demands(
    scenario: Scenario,
    profiles: Mapping[str, Profile],
    evaluate: Evaluate,
    confirm: Attainments,
    verification: Verification,
) -> Plan:
    """The cheapest plan found that holds every demand on fresh seeds too; a model that does not gets more."""
    candidates = _candidates(scenario, profiles)
    demands = [model.weight for model in scenario.models]
    met = search_demands(candidates, demands, evaluate)
    plan, asked = met.plan, list(met.asked_rps)
    for _ in range(MOST_BACK_OFFS):
        attained = confirm(plan, demands)
        if min(attained) >= verification.target:
            return _stated(plan, demands, attained, verification)
        asked = [
            rate if share >= verification.target else rate / (1 - BACK_OFF)
            for rate, share in zip(asked, attained, strict=True)
        ]
        plan = candidates.plan(met.planned.choice, asked, CLOSE).plan
    raise InfeasibleError(
        f"fresh seeds do not confirm {verification.target:.1%} of the demands, even with "
        f"{(1 - BACK_OFF) ** -MOST_BACK_OFFS:.2f} times the capacity. Search with more seeds or seconds."
    )


def _candidates(scenario: Scenario, profiles: Mapping[str, Profile]) -> Candidates:
    return Candidates(scenario, profiles, max(scenario.planner.max_stages, *(one.stages for one in GRID)))


def verified(
    plan: Plan, rates_rps: Sequence[float], confirm: Attainments, verification: Verification
) -> Plan:
    """``plan`` with the highest rates up to ``rates_rps`` that ``confirm`` finds to hold, all models at once."""
    rates = list(rates_rps)
    for _ in range(MOST_BACK_OFFS):
        attained = confirm(plan, rates)
        if min(attained) >= verification.target:
            break
        rates = [
            rate if share >= verification.target else rate * (1 - BACK_OFF)
            for rate, share in zip(rates, attained, strict=True)
        ]
    else:
        raise InfeasibleError(
            f"fresh seeds do not confirm {verification.target:.1%} even at "
            f"{(1 - BACK_OFF) ** MOST_BACK_OFFS:.0%} of the rates found. Search with more seeds or seconds."
        )
    return _stated(plan, rates, attained, verification)


def _stated(
    plan: Plan, rates_rps: Sequence[float], attained: Sequence[float], verification: Verification
) -> Plan:
    """``plan`` with its verified rates."""
    models = [
        model.model_copy(update={"verified": Verified(rate_rps=rate, attainment=float(share))})
        for model, rate, share in zip(plan.models, rates_rps, attained, strict=True)
    ]
    return plan.model_copy(update={"models": models, "verification": verification})
