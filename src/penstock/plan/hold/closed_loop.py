"""A plan that holds its target. It is searched with a judge, then verified on arrivals that the search never used.

The rates that a search reports are the best of many noisy measurements, so they are a little too high. The
plan states only the rates that it held on fresh seeds, with all models at once. So it holds the target at load 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from penstock.clock import solving_seconds
from penstock.errors import InfeasibleError
from penstock.plan.documents.plan import Plan, Verification, Verified
from penstock.plan.documents.scenario import Scenario
from penstock.plan.goodput_bound.paths import Paths
from penstock.plan.hold.candidates import Candidates
from penstock.plan.hold.demand_search import DemandSearch
from penstock.plan.hold.depth_search import ROUNDS, DepthSearch, Measured
from penstock.plan.interfaces import Attainments, Evaluate, Judge, Score
from penstock.plan.scheduled.choose import Chosen, choose_share
from penstock.profile.table import Profile

BACK_OFF = 0.005
"""If fresh seeds do not confirm a rate, it is lowered by this share until they do."""

MOST_BACK_OFFS = 60

USUAL_STAGES = 3
"""So many stages are planned if the scenario allows two, which is what it allows if it says nothing."""


def plan_to_hold(
    scenario: Scenario,
    profiles: Mapping[str, Profile],
    *,
    evaluate: Evaluate,
    paths: Paths,
    confirm: Attainments,
    verification: Verification,
    candidates: Candidates | None = None,
    rounds: int = ROUNDS,
    watch: Callable[[Measured], None] = lambda measured: None,
    judges: Sequence[Judge] = (),
) -> Plan:
    """The plan that holds ``verification.target`` at the highest rates found. These rates are verified.

    With the objective ``cost``: the cheapest plan found that holds the target at every demand.

    ``evaluate`` measures plans during the search, on the arrivals ``paths``; ``judges`` measure the best again on more
    runs. ``confirm`` measures attainments on fresh seeds, as ``verification`` says. ``candidates``: those of the
    scenario, if they are there already. Margins that ``scenario`` states are not used: the search itself says how much
    must be able to wait. The plan's ``bound`` is the fluid one, without margin. Raises :class:`InfeasibleError` if a
    model has no pipeline within its SLO, or if no plan holds the target.
    """
    began = solving_seconds()
    candidates = candidates or held_candidates(scenario, profiles)
    if scenario.planner.pays_for_devices:
        plan = _plan_demands(scenario, candidates, evaluate, paths, confirm, verification)
    else:
        plan = _plan_throughput(
            scenario, profiles, candidates, evaluate, paths, confirm, verification, rounds, watch, judges
        )
    return plan.edited(stats={**plan.stats, "solve_seconds": solving_seconds() - began})


def _plan_throughput(
    scenario: Scenario,
    profiles: Mapping[str, Profile],
    candidates: Candidates,
    evaluate: Evaluate,
    paths: Paths,
    confirm: Attainments,
    verification: Verification,
    rounds: int,
    watch: Callable[[Measured], None],
    judges: Sequence[Judge],
) -> Plan:
    """The plan that holds most, with its rates verified. Models may take turns if the scenario allows it."""

    def others() -> tuple[Plan, Score]:
        best = search_to_hold(
            scenario,
            profiles,
            evaluate=evaluate,
            paths=paths,
            target=verification.target,
            candidates=candidates,
            rounds=rounds,
            watch=watch,
            judges=judges,
        )
        return best.plan, best.score

    if scenario.planner.scheduled:
        chosen = choose_share(
            scenario, profiles, others, evaluate, bound=candidates.bound, target=verification.target
        )
    else:
        chosen = Chosen(*others(), {})
    rates = [model.held_rps for model in chosen.score.models]
    how = verification
    if chosen.plan.scheduled is not None:
        how = verification.edited(policy=chosen.plan.scheduled.order)
    plan = verified(chosen.plan, rates, confirm, how)
    return plan.edited(stats={**plan.stats, **chosen.stats})


def search_to_hold(
    scenario: Scenario,
    profiles: Mapping[str, Profile],
    *,
    evaluate: Evaluate,
    paths: Paths,
    target: float,
    candidates: Candidates | None = None,
    rounds: int = ROUNDS,
    watch: Callable[[Measured], None] = lambda measured: None,
    judges: Sequence[Judge] = (),
) -> Measured:
    """The plan that holds most by ``evaluate``. It is not verified: see :func:`plan_to_hold`."""
    candidates = candidates or held_candidates(scenario, profiles)
    weights = [model.weight for model in scenario.models]
    return DepthSearch(candidates, weights, evaluate, paths, target, watch, judges).run(rounds)


def _plan_demands(
    scenario: Scenario,
    candidates: Candidates,
    evaluate: Evaluate,
    paths: Paths,
    confirm: Attainments,
    verification: Verification,
) -> Plan:
    """The cheapest plan found that holds every demand on fresh seeds too. A model that does not hold it gets more."""
    demands = [model.weight for model in scenario.models]
    search = DemandSearch(candidates, demands, evaluate, paths, verification.target)
    plan = search.run()
    for _ in range(MOST_BACK_OFFS):
        attained = confirm(plan, demands)
        if min(attained) >= verification.target:
            return _stated(plan, demands, attained, verification)
        plan = search.with_more([share < verification.target for share in attained], BACK_OFF)
    raise InfeasibleError(
        f"fresh seeds do not confirm {verification.target:.1%} of the demands, even with "
        f"{(1 - BACK_OFF) ** -MOST_BACK_OFFS:.2f} times the capacity. Search with more seeds or seconds."
    )


def held_candidates(scenario: Scenario, profiles: Mapping[str, Profile]) -> Candidates:
    """What the closed loop plans with. One stage, which nobody has without asking for it, stays one.

    To list the templates takes up to some seconds, so those who need them twice keep them. Raises
    :class:`InfeasibleError` if a model has no pipeline at all.
    """
    asked = scenario.planner.max_stages
    return Candidates(scenario, profiles, asked if asked == 1 else max(asked, USUAL_STAGES))


def verified(
    plan: Plan, rates_rps: Sequence[float], confirm: Attainments, verification: Verification
) -> Plan:
    """``plan`` with the highest rates up to ``rates_rps`` that ``confirm`` accepts, with all models at once."""
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


def expected_rates(scenario: Scenario, candidates: Candidates) -> list[float]:
    """About the rates at which plans will be measured: the demands, or what the fleet serves if nothing queues."""
    factor = 1.0 if candidates.meets_demand else candidates.bound
    return [factor * model.weight for model in scenario.models]


def with_intervals(plan: Plan, score: Score) -> Plan:
    """``plan`` with the 95% interval of each verified rate, from a search on the verifying runs.

    The interval is that of the rate at which the target is just met. It is as wide around the stated rate.
    """
    models = [
        model.edited(
            verified=model.verified
            and model.verified.edited(
                low_rps=max(one.low_rps - one.held_rps + model.verified.rate_rps, 0.0),
                high_rps=one.high_rps - one.held_rps + model.verified.rate_rps,
            )
        )
        for model, one in zip(plan.models, score.models, strict=True)
    ]
    return plan.edited(models=models)


def _stated(
    plan: Plan, rates_rps: Sequence[float], attained: Sequence[float], verification: Verification
) -> Plan:
    """``plan`` with its verified rates."""
    models = [
        model.edited(verified=Verified(rate_rps=rate, attainment=float(share)))
        for model, rate, share in zip(plan.models, rates_rps, attained, strict=True)
    ]
    return plan.edited(models=models, verification=verification)
