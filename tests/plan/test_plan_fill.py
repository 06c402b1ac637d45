"""What the worst model cannot use goes to the others."""

from __future__ import annotations

import pytest
from every_plan import small_instances
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_plans import toy_model, toy_profile, toy_scenario

from penstock.cluster import DeviceClass
from penstock.errors import InfeasibleError
from penstock.plan.documents.checker import check_plan
from penstock.plan.documents.scenario import Scenario
from penstock.plan.interfaces import SearchLimits
from penstock.plan.planners.pool_planner import PoolPlanner
from penstock.profile.table import Profile

EXACT = SearchLimits(gap=1e-9, time_limit_s=30)


def rates(scenario: Scenario, profiles: dict[str, Profile], *, fill: bool = True) -> list[float]:
    settings = scenario.planner.model_copy(update={"fill": fill})
    result = PoolPlanner(EXACT).plan(scenario.model_copy(update={"planner": settings}), profiles)
    check_plan(result.solution, profiles)
    return [model.rate_rps for model in result.solution.models]


def test_a_model_with_a_class_of_its_own_gets_all_of_it():
    # On their own classes a serves 100/s a device and b 50/s; each misses its SLO on the other's. Least: 100/s.
    of_x = toy_profile("a", {("x", 1): [[10_000]], ("y", 1): [[99_000]]})
    of_y = toy_profile("b", {("x", 1): [[99_000]], ("y", 1): [[20_000]]})
    scenario = toy_scenario(
        {"x": DeviceClass(count=1), "y": DeviceClass(count=7)},
        [toy_model("a", 20_000), toy_model("b", 20_000)],
    )
    assert rates(scenario, {"a": of_x, "b": of_y}) == pytest.approx([100.0, 350.0])


def test_levels_are_filled_one_after_the_other():
    # c needs the one x and serves 10/s: the least of all. Then a and b, with weights 1 and 2, share five y of
    # 100/s each: 2 and 3 give a least ratio of 150; 1 and 4 only 100.
    on_x = toy_profile("c", {("x", 1): [[100_000]], ("y", 1): [[900_000]]})
    on_y = toy_profile("y", {("x", 1): [[900_000]], ("y", 1): [[10_000]]})
    models = [toy_model("a", 100_000), toy_model("b", 100_000, weight=2.0), toy_model("c", 100_000)]
    scenario = toy_scenario({"x": DeviceClass(count=1), "y": DeviceClass(count=5)}, models)
    a, b, c = rates(scenario, {"a": on_y, "b": on_y, "c": on_x})
    assert c == pytest.approx(10.0)
    assert min(a, b / 2) == pytest.approx(150.0)
    assert a + b == pytest.approx(500.0)


def test_devices_left_by_rounding_go_to_the_worst_model():
    # Three devices of 100/s for weights 1 and 1.2: 100 and 200, or 200 and 100; the least is 100 with the first.
    profile = toy_profile("m", {("gpu", 1): [[10_000]]})
    models = [toy_model("a", 10_000), toy_model("b", 10_000, weight=1.2)]
    scenario = toy_scenario({"gpu": DeviceClass(count=3)}, models)
    assert rates(scenario, {"a": profile, "b": profile}) == pytest.approx([100.0, 200.0])


@settings(max_examples=40, deadline=None)
@given(small_instances(), st.booleans())
def test_filling_never_lowers_a_rate_that_counts(instance, share_devices):
    profile, classes, slo_us = instance
    models = [toy_model("m", slo_us), toy_model("n", 2 * slo_us)]
    scenario = toy_scenario(classes, models, share_devices=share_devices)
    profiles = {"m": profile, "n": profile}
    try:
        bare = rates(scenario, profiles, fill=False)
    except InfeasibleError:
        return
    filled = rates(scenario, profiles)
    assert min(filled) == pytest.approx(min(bare), rel=1e-6)
    assert sum(filled) >= min(bare) * 2 * (1 - 1e-6)
