"""Scenarios without a plan: the smallest changes, applied; and one less, which is not enough."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_plans import toy_model, toy_profile, toy_scenario

from penstock.cluster import DeviceClass
from penstock.errors import InfeasibleError
from penstock.plan.documents.remedy import Remedy
from penstock.plan.documents.scenario import Scenario, ServedModel
from penstock.plan.interfaces import SearchLimits
from penstock.plan.no_pipeline import NoPlanError
from penstock.plan.planners.pool_planner import PoolPlanner, plan_templates
from penstock.plan.planners.remedies import with_remedies
from penstock.plan.planners.unmet_demand import unmet_demand
from penstock.plan.planners.whole_model import WholeModelPlanner
from penstock.plan.planning_question import PlanningQuestion
from penstock.profile.table import Profile

LIMITS = SearchLimits(gap=1e-3, time_limit_s=20)
HALVES = toy_profile("m", {("fast", 1): [[10_000], [10_000]], ("slow", 1): [[40_000], [5_000]]})


def refused(scenario: Scenario, profiles: dict[str, Profile]) -> NoPlanError:
    with pytest.raises(NoPlanError) as caught:
        PoolPlanner(LIMITS).plan(scenario, profiles)
    return caught.value


def solved(scenario: Scenario, profiles: dict[str, Profile]) -> float:
    stages = scenario.planner.max_stages
    return plan_templates(PlanningQuestion(scenario, profiles, LIMITS, stages), "penstock").objective


def one_less(remedy: Remedy) -> list[Remedy]:
    """The remedy with each of its numbers one smaller."""
    return [
        *(
            replace(remedy, slo_us={**remedy.slo_us, name: value - 1})
            for name, value in remedy.slo_us.items()
        ),
        *(replace(remedy, count={**remedy.count, name: value - 1}) for name, value in remedy.count.items()),
    ]


def check_remedies(error: NoPlanError, scenario: Scenario, profiles: dict[str, Profile]) -> None:
    """Each of them gives a plan, none of them one less does, and the message says so."""
    for remedy in error.remedies:
        assert solved(remedy.applied(scenario), profiles) > 0
        for less in one_less(remedy):
            with pytest.raises(NoPlanError):
                solved(less.applied(scenario), profiles)
        assert remedy.described(scenario) in str(error)


def fleet(fast: int, slow: int, models: list[ServedModel]) -> Scenario:
    return toy_scenario({"fast": DeviceClass(count=fast), "slow": DeviceClass(count=slow)}, models)


def test_an_slo_that_no_pipeline_meets_is_raised_to_the_fastest():
    # Fastest: 10 ms on fast, then 5 ms on slow. More devices make nothing faster.
    scenario, profiles = fleet(1, 1, [toy_model("m", 9_000)]), {"m": HALVES}
    error = refused(scenario, profiles)
    assert [dict(remedy.slo_us) for remedy in error.remedies] == [{"m": 15_000}]
    assert "'m'" in str(error) and "9.000 ms" in str(error) and "fastest takes 15.000 ms" in str(error)
    check_remedies(error, scenario, profiles)


def test_a_class_without_devices_that_would_meet_the_slo_is_offered():
    # On slow alone the model takes 45 ms; one fast device brings 15 ms.
    scenario, profiles = fleet(0, 1, [toy_model("m", 20_000)]), {"m": HALVES}
    error = refused(scenario, profiles)
    assert [(dict(r.slo_us), dict(r.count)) for r in error.remedies] == [
        ({"m": 45_000}, {}),
        ({}, {"fast": 1}),
    ]
    check_remedies(error, scenario, profiles)


def test_every_model_without_a_pipeline_is_in_the_remedy():
    models = [toy_model("a", 9_000), toy_model("b", 50_000), toy_model("c", 14_999)]
    scenario, profiles = fleet(2, 3, models), dict.fromkeys("abc", HALVES)
    error = refused(scenario, profiles)
    assert dict(error.remedies[0].slo_us) == {"a": 15_000, "c": 15_000}
    check_remedies(error, scenario, profiles)


def test_a_fleet_too_small_says_which_class_lacks_how_many_devices():
    # Three models need a device each: fast whole (20 ms), or slow whole (45 ms) within 50 ms. There are two.
    models = [toy_model(name, 50_000) for name in "abc"]
    scenario = fleet(1, 1, models).model_copy()
    scenario = scenario.model_copy(
        update={"planner": scenario.planner.model_copy(update={"share_devices": False})}
    )
    profiles = dict.fromkeys("abc", HALVES)
    error = refused(scenario, profiles)
    assert [dict(remedy.count) for remedy in error.remedies] == [{"fast": 2}]
    check_remedies(error, scenario, profiles)


def test_an_slo_that_moves_a_model_to_a_class_with_devices_to_spare():
    # Both need the only fast device at 20 ms; at 45 ms one fits slow whole.
    scenario, profiles = (
        fleet(1, 3, [toy_model("a", 20_000), toy_model("b", 20_000)]),
        dict.fromkeys("ab", HALVES),
    )
    error = refused(scenario, profiles)
    assert [(dict(r.slo_us), dict(r.count)) for r in error.remedies] == [
        ({"a": 45_000}, {}),
        ({}, {"fast": 2}),
    ]
    check_remedies(error, scenario, profiles)


def test_slos_and_devices_together_where_neither_alone_helps():
    # Whole models only: 20 ms on fast. The SLO is too short, and two models need two devices.
    scenario = fleet(1, 0, [toy_model("a", 9_000), toy_model("b", 9_000)])
    with pytest.raises(NoPlanError) as caught:
        WholeModelPlanner(LIMITS).plan(scenario, dict.fromkeys("ab", HALVES))
    [remedy] = caught.value.remedies
    assert (dict(remedy.slo_us), dict(remedy.count)) == ({"a": 20_000, "b": 20_000}, {"fast": 2})


def test_a_demand_that_is_not_met_says_how_many_devices_meet_it():
    # 50/s a fast device, 22/s a slow one; 200/s asked for.
    model = toy_model("m", 50_000).demanding(200.0)
    classes = {
        "fast": DeviceClass(count=1, hourly_cost=2.0),
        "slow": DeviceClass(count=1, hourly_cost=1.0),
    }
    scenario = toy_scenario(classes, [model])
    scenario = scenario.model_copy(
        update={"planner": scenario.planner.model_copy(update={"objective": "cost"})}
    )
    error = refused(scenario, {"m": HALVES})
    assert "cannot meet the demand" in str(error)
    assert error.remedies and not error.remedies[-1].slo_us
    check_remedies(error, scenario, {"m": HALVES})


@st.composite
def scenarios(draw):
    times = st.integers(1, 40).map(lambda k: 100 * k)
    profiles = {
        name: toy_profile(
            name, {key: [[draw(times)] for _ in range(2)] for key in (("fast", 1), ("slow", 1))}
        )
        for name in "ab"
    }
    models = [toy_model(name, draw(st.integers(300, 5_000))) for name in "ab"]
    fast = draw(st.integers(0, 2))
    scenario = fleet(fast, draw(st.integers(0 if fast else 1, 2)), models)
    return scenario, profiles


@settings(max_examples=30, deadline=None)
@given(scenarios())
def test_what_is_advised_works_and_one_less_does_not(case):
    scenario, profiles = case
    try:
        solved(scenario, profiles)
    except NoPlanError:
        error = refused(scenario, profiles)
        assert error.remedies
        check_remedies(error, scenario, profiles)


def test_whole_models_that_fit_no_memory_are_told_of_memory():
    # In halves of 1 GB each the model fits, but this planner does not cut.
    profile = toy_profile("m", {("x", 1): [[10_000], [10_000]]}, parameter_bytes=10**9)
    scenario = toy_scenario(
        {"x": DeviceClass(count=2, memory_gb=1.5)}, [toy_model("m", 9_000, estimated_rps=None)]
    )
    with pytest.raises(NoPlanError, match=r"memory of every class if it is not cut. Let it be cut"):
        WholeModelPlanner(LIMITS).plan(scenario, {"m": profile})
    assert "[0, 1) on x -> [1, 2) on x" in str(refused(scenario, {"m": profile}))


@pytest.mark.parametrize(
    ("share_devices", "words"),
    [(True, "a device, or a share of one"), (False, "whole device that no other model")],
)
def test_too_few_devices_are_said_in_the_terms_of_the_fleet(share_devices: bool, words: str):
    scenario = toy_scenario(
        {"fast": DeviceClass(count=1)}, [toy_model(n, 50_000) for n in "ab"], share_devices=share_devices
    )
    assert words in str(refused(scenario, dict.fromkeys("ab", HALVES)))


def test_the_time_limit_ends_the_search_for_remedies_too():
    solved_again = []
    error = with_remedies(
        NoPlanError("none"),
        fleet(1, 1, [toy_model("m", 9_000)]),
        {"m": HALVES},
        solved_again.append,
        math.inf,
    )
    assert "Smallest changes" in str(error) and solved_again
    # Its end is past: solve decides nothing, or what it found is not known to be the smallest.
    past = -math.inf

    def undecided(_: Scenario) -> None:
        raise InfeasibleError("no time")

    scenario, profiles = fleet(1, 1, [toy_model("m", 9_000)]), {"m": HALVES}
    assert "time limit ended the search for changes" in str(
        with_remedies(NoPlanError("none"), scenario, profiles, undecided, past)
    )
    assert "smaller ones may do" in str(
        with_remedies(NoPlanError("none"), scenario, profiles, solved_again.append, past)
    )


def test_no_time_for_the_part_of_a_demand_is_said():
    scenario = fleet(1, 1, [toy_model("m", 9_000, rate_rps=5.0)])
    assert "time limit ended the search for the part" in str(unmet_demand(scenario, None))
