"""Plans whose rates are chosen and verified by simulation: the planner and the simulator in the closed loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from penstock.api.showing.objective import held_unit
from penstock.api.showing.plan_tables import rate_text
from penstock.api.trials import any_rate, check_share
from penstock.plan.documents.plan import Plan, Verification
from penstock.plan.documents.scenario import Scenario
from penstock.plan.hold.closed_loop import expected_rates, held_candidates, plan_to_hold, with_intervals
from penstock.plan.hold.depth_search import Measured
from penstock.plan.interfaces import Score
from penstock.profile.table import Profile
from penstock.progress import task
from penstock.simulate.judge.evaluate import attainments, evaluate
from penstock.simulate.judge.goodput_bound import bounds_of_pools, goodput_bounds
from penstock.simulate.judge.run_lengths import judging
from penstock.simulate.judge.trial import Trial

FIRST_SECONDS = 20.0
"""Of the runs that measure the load's dispersion."""


@dataclass(frozen=True)
class Holding:
    """The share of requests to hold, under a policy and an arrival process."""

    target: float
    policy: str
    arrivals: tuple[str, ...]


def plan_held(scenario: Scenario, profiles: Mapping[str, Profile], asked: Holding) -> Plan:
    """The plan of the closed loop. Its rates are verified on seeds that the search did not use."""
    check_share("--hold", asked.target)
    process = any_rate(asked.arrivals, [model.name for model in scenario.models])
    trial = Trial(process, asked.policy, FIRST_SECONDS, (0,), True)
    candidates = held_candidates(scenario, profiles)
    how = judging(trial, expected_rates(scenario, candidates))
    tried, best_rps = 0, 0.0
    with task("trying plans by simulation") as step:

        def watch(measured: Measured) -> None:
            nonlocal tried, best_rps
            tried, best_rps = tried + 1, max(best_rps, measured.goodput_rps)
            step(tried, f"{tried} plans tried, the best holds {rate_text(best_rps)} {held_unit(scenario)}")

        def measured_by(runs: Trial, tolerance: float) -> Callable[..., Score]:
            return lambda plan, near=None: evaluate(
                plan, profiles, runs, target=asked.target, tolerance=tolerance, near=near
            )

        plan = plan_to_hold(
            scenario,
            profiles,
            evaluate=measured_by(how.search, 0.01),
            paths=how.search.paths,
            candidates=candidates,
            judges=(measured_by(how.middle, 0.006), measured_by(how.last, 0.004)),
            confirm=lambda plan, rates: attainments(plan, profiles, how.fresh, rates).tolist(),
            verification=Verification(
                target=asked.target,
                policy=asked.policy,
                arrivals=", ".join(asked.arrivals),
                seconds=how.fresh.seconds,
                seeds=list(how.fresh.seeds),
            ),
            watch=watch,
        )
    if scenario.planner.pays_for_devices:
        return plan
    plan = with_intervals(plan, measured_by(how.fresh, 0.004)(plan))
    stats = {**plan.stats, "dispersion": how.dispersion}
    return plan.edited(stats={**stats, **_bounds(plan, scenario, profiles, how.fresh, asked.target)})


def _bounds(
    plan: Plan, scenario: Scenario, profiles: Mapping[str, Profile], trial: Trial, target: float
) -> dict[str, float]:
    """The bounds on the arrivals that verified the plan, as entries of its ``stats``."""
    found = goodput_bounds(scenario, profiles, trial, target)
    stats = {"static_bound_rps": found.static_rps, "any_policy_bound_rps": found.any_policy_rps}
    pools = bounds_of_pools(plan, profiles, trial, target)
    if pools is not None:
        weights = [model.weight for model in scenario.models]
        stats["pools_bound_rps"] = min(rate / weight for rate, weight in zip(pools, weights, strict=True))
    return stats
