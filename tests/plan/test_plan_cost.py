"""The objective cost: demands met at the least hourly cost, with a proof, or how much of them can be."""

from __future__ import annotations

import math

import pytest
from every_plan import best_throughput, least_cost, small_instances
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from toy_plans import toy_model, toy_profile, toy_scenario

from penstock.cluster import DeviceClass
from penstock.errors import BadInputError, InfeasibleError
from penstock.plan.documents.checker import check_plan
from penstock.plan.documents.scenario import Scenario
from penstock.plan.interfaces import SearchLimits
from penstock.plan.planners.pool_planner import plan_templates
from penstock.plan.planners.whole_model import WholeModelPlanner
from penstock.plan.planning_question import PlanningQuestion
from penstock.profile.table import Profile
from penstock.result import Status

EXACT = SearchLimits(gap=1e-9, time_limit_s=30)
WHOLE = toy_profile("m", {("dear", 1): [[5_000]], ("cheap", 1): [[20_000]]})


def planned(scenario: Scenario, profiles: dict[str, Profile]):
    """The planner, without its search for remedies if there is no plan."""
    stages = scenario.planner.max_stages
    result = plan_templates(PlanningQuestion(scenario, profiles, EXACT, stages), "penstock")
    check_plan(result.solution, profiles)
    return result


def asked(rate_rps: float, *, dear: int = 3, cheap: int = 9, slo_us: int = 20_000, **model) -> Scenario:
    classes = {
        "dear": DeviceClass(count=dear, hourly_cost=3.0),
        "cheap": DeviceClass(count=cheap, hourly_cost=1.0),
    }
    return toy_scenario(classes, [toy_model("m", slo_us, rate_rps=rate_rps, **model)], objective="cost")


@pytest.mark.parametrize(
    ("rate_rps", "slo_us", "cost"),
    [
        (1.0, 20_000, 1.0),  # one cheap device serves 50/s
        (150.0, 20_000, 3.0),  # three cheap: as much as one dear, which serves 200/s
        (200.0, 20_000, 3.0),  # one dear, to its last request
        (250.0, 20_000, 4.0),  # one of each
        (1.0, 19_999, 3.0),  # the cheap class misses the SLO
    ],
)
def test_the_cheapest_devices_that_meet_the_demand(rate_rps: float, slo_us: int, cost: float):
    result = planned(asked(rate_rps, slo_us=slo_us), {"m": WHOLE})
    assert result.status is Status.OPTIMAL
    assert result.objective == pytest.approx(cost)
    # A solver's bound is lowered by its slack, 1e-6, before it counts.
    assert cost * (1 - 2e-6) <= result.bound <= cost


def test_whole_models_can_be_planned_for_cost_too():
    assert WholeModelPlanner(EXACT).plan(asked(250.0), {"m": WHOLE}).objective == pytest.approx(4.0)


def test_what_cannot_be_met_is_refused_with_the_part_that_can():
    # 3 dear and 9 cheap devices serve 600 + 450 = 1050/s: 0.75 of 1400/s.
    with pytest.raises(InfeasibleError, match=r"0\.7500 \(m 1050 of 1400 requests/s\)"):
        planned(asked(1400.0), {"m": WHOLE})
    assert planned(asked(1050.0), {"m": WHOLE}).objective == pytest.approx(18.0)


def test_the_part_that_can_be_met_counts_the_slower_gathering():
    # A batch of two takes 15 ms and serves 133/s; to gather at r/s takes 1.3 s / r more: within 20 ms from 260/s
    # on. One worker at a time serves 100/s, so two devices serve 267/s in batches, else 200/s. Of 1000/s the plan
    # in batches would serve 0.2666, just enough to gather; of a demand with an SLO of 19.8 ms (270/s), not.
    profile = toy_profile("m", {("gpu", 1): [[10_000, 15_000]]})

    def part(slo_us: int) -> str:
        classes = {"gpu": DeviceClass(count=2, hourly_cost=1.0)}
        model = toy_model("m", slo_us, rate_rps=1000.0, estimated_rps=None)
        scenario = toy_scenario(classes, [model], objective="cost")
        with pytest.raises(InfeasibleError) as caught:
            planned(scenario, {"m": profile})
        return str(caught.value).split("found for is ")[1].split(" ")[0]

    assert part(20_000) == "0.2666"
    assert part(19_800) == "0.2000"


def test_no_demand_is_too_small_to_be_a_result_but_a_model_without_pipeline_is():
    assert planned(asked(1e-3), {"m": WHOLE}).objective == pytest.approx(1.0)
    with pytest.raises(InfeasibleError, match="nearest feasible SLO"):
        planned(asked(1.0, slo_us=4_000), {"m": WHOLE})


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda d: d.update(objective=2.0, bound=2.0, gap=0.0), "the devices used cost 4.0 an hour"),
        (lambda d: d.update(bound=9.0), "bound 9.0 is above the objective"),
        (
            lambda d: d["scenario"]["models"][0].update(rate_rps=999.0, weight=999.0),
            "the scenario asks for 999.0",
        ),
        (lambda d: d["models"][0].update(estimated_rps=999.0), "but only 250.0 arrive"),
    ],
)
def test_the_checker_recomputes_cost_and_demands(edit, message):
    plan = planned(asked(250.0, estimated_rps=None), {"m": WHOLE}).solution
    document = plan.model_dump(mode="json")
    edit(document)
    with pytest.raises(BadInputError, match=message):
        check_plan(type(plan).model_validate(document, strict=False), {"m": WHOLE})


@settings(max_examples=200, deadline=None)
@given(small_instances(), st.booleans(), st.integers(1, 20), st.booleans())
def test_no_plan_that_meets_the_demand_is_cheaper(instance, share_devices, hundreds_rps, two_models):
    profile, classes, slo_us = instance
    models = [toy_model("m", slo_us, rate_rps=100.0 * hundreds_rps)]
    models += [toy_model("n", 2 * slo_us, rate_rps=130.0)] * two_models
    scenario = toy_scenario(
        classes, models, max_stages=1 if two_models else 2, share_devices=share_devices, objective="cost"
    )
    profiles = {"m": profile, "n": profile}
    best = least_cost(scenario, profiles)
    try:
        result = planned(scenario, profiles)
    except InfeasibleError as error:
        assert math.isinf(best)
        served = best_throughput(scenario, profiles)
        if served >= 1e-3:
            assert f"found for is {math.floor(served * 10_000 + 1e-6) / 10_000:.4f}" in str(error)
        return
    assert result.objective == pytest.approx(best, rel=1e-6)
    assert result.bound <= result.objective


@settings(max_examples=40, deadline=None)
@given(small_instances(), st.integers(1, 10))
def test_more_demand_is_never_cheaper_and_more_devices_never_dearer(instance, hundreds_rps):
    profile, classes, slo_us = instance

    def cost(rate_rps: float, **counts: int) -> float:
        fleet = {
            name: spec.model_copy(update={"count": counts.get(name, spec.count)})
            for name, spec in classes.items()
        }
        model = toy_model("m", slo_us, rate_rps=rate_rps)
        try:
            return planned(toy_scenario(fleet, [model], objective="cost"), {"m": profile}).objective
        except InfeasibleError:
            return math.inf

    before = cost(100.0 * hundreds_rps)
    assume(math.isfinite(before))
    assert cost(100.0 * hundreds_rps + 50.0) >= before * (1 - 1e-6)
    assert cost(100.0 * hundreds_rps, b=3) <= before * (1 + 1e-6)
