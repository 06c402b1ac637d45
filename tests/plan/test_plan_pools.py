"""The planner ``penstock``: answers derived by hand, an exhaustive oracle, and theorems."""

from __future__ import annotations

from typing import ClassVar

import pytest
from every_plan import best_throughput, small_instances
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_plans import toy_model, toy_profile, toy_scenario

from penstock.cluster import DeviceClass
from penstock.errors import InfeasibleError
from penstock.plan.documents.checker import check_plan
from penstock.plan.documents.scenario import Scenario
from penstock.plan.interfaces import SearchLimits
from penstock.plan.planners.dart_r_pairs import best_pipelines
from penstock.plan.planners.pool_planner import PoolPlanner, plan_templates
from penstock.plan.planners.whole_model import WholeModelPlanner
from penstock.plan.planning_question import PlanningQuestion
from penstock.profile.table import Profile
from penstock.result import Status

EXACT = SearchLimits(gap=1e-9, time_limit_s=30)


def planned(scenario: Scenario, profiles: dict[str, Profile]):
    """The planner, without its search for remedies if there is no plan."""
    stages = scenario.planner.max_stages
    result = plan_templates(PlanningQuestion(scenario, profiles, EXACT, stages), "penstock")
    check_plan(result.solution, profiles)
    return result


def test_two_pools_beat_whole_models_where_the_slow_class_misses_the_slo():
    # Whole model: 20 ms on fast, 80 ms on slow; SLO 50 ms, so slow devices cannot run it whole.
    # Cut in the middle: 10 ms on fast + 40 ms on slow = 50 ms, just feasible. One fast device as a stage
    # gives 100/s, a slow one 25/s: 1 fast + 4 slow devices match at 100/s, where the fast alone gives 50/s.
    profile = toy_profile("m", {("fast", 1): [[10_000], [10_000]], ("slow", 1): [[40_000], [40_000]]})
    classes = {"fast": DeviceClass(count=1), "slow": DeviceClass(count=4)}
    scenario = toy_scenario(classes, [toy_model("m", 50_000)])
    result = planned(scenario, {"m": profile})
    assert result.status is Status.OPTIMAL
    assert result.objective == pytest.approx(100.0)
    [pipeline] = result.solution.models[0].pipelines
    assert {(stage.device_class, stage.workers) for stage in pipeline.stages} == {("fast", 1), ("slow", 4)}
    assert WholeModelPlanner(EXACT).plan(scenario, {"m": profile}).objective == pytest.approx(50.0)


def test_weights_share_out_devices():
    # One device serves 100/s. Weights 1 and 2 over three devices: 100/1 and 200/2.
    profile = toy_profile("m", {("gpu", 1): [[10_000]]})
    models = [toy_model("a", 10_000), toy_model("b", 10_000, weight=2.0)]
    result = planned(toy_scenario({"gpu": DeviceClass(count=3)}, models), {"a": profile, "b": profile})
    assert result.objective == pytest.approx(100.0)
    assert [model.rate_rps for model in result.solution.models] == pytest.approx([100.0, 200.0])


def test_batches_are_taken_where_gathering_them_leaves_time():
    # Batch 2 takes 12 ms instead of 10: 167/s a device instead of 100/s. At an estimate of 1000/s the
    # second sample gathers in 1.3 ms: 13.3 ms in all.
    profile = toy_profile("m", {("gpu", 1): [[10_000, 12_000]]})

    def rate(slo_us: int) -> float:
        scenario = toy_scenario({"gpu": DeviceClass(count=1)}, [toy_model("m", slo_us, estimated_rps=1000.0)])
        return planned(scenario, {"m": profile}).objective

    assert rate(13_300) == pytest.approx(2 / 0.012)
    assert rate(13_299) == pytest.approx(100.0)


def test_half_a_device_is_enough_for_the_light_stage():
    # Stages of 10 ms on a and 10 ms on half of b (5 ms whole). Two a's feed two workers on one b.
    profile = toy_profile(
        "m", {("a", 1): [[10_000], [90_000]], ("b", 1): [[90_000], [5_000]], ("b", 2): [[180_000], [10_000]]}
    )
    classes = {"a": DeviceClass(count=2), "b": DeviceClass(count=1, max_share=2)}
    result = planned(toy_scenario(classes, [toy_model("m", 20_000)]), {"m": profile})
    assert result.objective == pytest.approx(200.0)


def test_a_slow_link_limits_the_rate_of_a_pool():
    # 10 Mbit between the stages: 1 ms at 10 Gbit/s, 1000 samples/s an interface. Ten workers of 1 ms could
    # do 10,000/s a stage, but five hosts of two devices send 5000/s.
    profile = toy_profile(
        "m", {("a", 1): [[1_000], [99_000]], ("b", 1): [[99_000], [100]]}, boundary_bytes=[0, 1_250_000, 0]
    )
    classes = {"a": DeviceClass(count=10, per_host=2), "b": DeviceClass(count=10)}
    assert planned(toy_scenario(classes, [toy_model("m", 2_100)]), {"m": profile}).objective == pytest.approx(
        5000.0
    )


def test_memory_forces_a_cut():
    # Each block holds 6 GB; a device has 8 GB, so the model fits only in two stages.
    profile = toy_profile("m", {("gpu", 1): [[10_000], [10_000]]}, parameter_bytes=6_000_000_000)
    classes = {"gpu": DeviceClass(count=2, memory_gb=8)}
    result = planned(toy_scenario(classes, [toy_model("m", 20_000)]), {"m": profile})
    assert [len(pipeline.stages) for pipeline in result.solution.models[0].pipelines] == [2]
    with pytest.raises(InfeasibleError, match="memory"):
        WholeModelPlanner(EXACT).plan(toy_scenario(classes, [toy_model("m", 20_000)]), {"m": profile})


def test_three_stages_and_three_classes_need_no_other_code():
    # Each class is quick at one block only: 5 ms there, 50 ms elsewhere.
    rows = [[[5_000 if block == best else 50_000] for block in range(3)] for best in range(3)]
    profile = toy_profile("m", {(name, 1): row for name, row in zip("abc", rows, strict=True)})
    classes = {name: DeviceClass(count=1) for name in "abc"}
    result = planned(toy_scenario(classes, [toy_model("m", 15_000)], max_stages=3), {"m": profile})
    assert result.objective == pytest.approx(200.0)


def test_seven_workers_whose_parts_sum_to_less_than_two_devices_need_three():
    # 1/2 + 2/3 + 4/5 < 2 devices, but no two devices hold the seven workers. Each block runs on one share only
    # and needs one worker of 1/2, two of 1/3, four of 1/5 for 100/s; with two devices the best is 75/s.
    slow = 1_000_000
    rows = {2: [10_000, slow, slow], 3: [slow, 20_000, slow], 5: [slow, slow, 40_000]}
    profile = toy_profile("m", {("gpu", share): [[t] for t in row] for share, row in rows.items()})

    def rate(devices: int) -> float:
        classes = {"gpu": DeviceClass(count=devices, max_share=5)}
        scenario = toy_scenario(classes, [toy_model("m", 70_000)], max_stages=3, share_devices=True)
        return planned(scenario, {"m": profile}).objective

    assert rate(2) == pytest.approx(75.0)
    assert rate(3) >= 100.0


def test_models_and_stages_share_devices_where_they_may():
    # Two models, each at ease with half a device: together they need one device, or, kept apart, one each.
    profile = toy_profile("m", {("gpu", 2): [[10_000]]})
    models = [toy_model("a", 10_000), toy_model("b", 10_000)]
    profiles = {"a": profile, "b": profile}
    classes = {"gpu": DeviceClass(count=1, max_share=2)}
    assert planned(toy_scenario(classes, models, share_devices=True), profiles).objective == pytest.approx(
        100.0
    )
    with pytest.raises(InfeasibleError, match="too small for 2 models"):
        planned(toy_scenario(classes, models), profiles)


class TestInfeasible:
    profile = toy_profile("m", {("fast", 1): [[10_000], [10_000]], ("slow", 1): [[40_000], [5_000]]})
    classes: ClassVar = {"fast": DeviceClass(count=1), "slow": DeviceClass(count=1)}

    @pytest.mark.parametrize("margin", [{"slo_margin": 0.35}, {"slo_margin_us": 700}, {}])
    def test_the_reason_names_an_slo_that_works_and_is_the_smallest(self, margin):
        # Fastest: 10 ms on fast, then 5 ms on slow.
        def plan(slo_us: int):
            model = toy_model("m", slo_us).model_copy(update={"slo_margin_us": None, **margin})
            return PoolPlanner(EXACT).plan(toy_scenario(self.classes, [model]), {"m": self.profile})

        with pytest.raises(InfeasibleError, match=r"'m'.*9\.000 ms.*15\.000 ms.*fast.*slow") as caught:
            plan(9_000)
        nearest = int(str(caught.value).split("nearest feasible SLO is ")[1].split(" us")[0])
        assert plan(nearest).objective > 0
        with pytest.raises(InfeasibleError):
            plan(nearest - 1)

    def test_too_few_devices(self):
        models = [toy_model("a", 50_000), toy_model("b", 50_000), toy_model("c", 50_000)]
        profiles = dict.fromkeys("abc", self.profile)
        with pytest.raises(InfeasibleError, match="too small for 3 models"):
            PoolPlanner(EXACT).plan(toy_scenario(self.classes, models), profiles)


def test_an_absent_estimate_settles_where_the_whole_model_rate_supports_the_batch():
    # Batch 1: 100/s a device, 400/s in all. At 400/s the second sample gathers in 3.25 ms: batch 2 fits
    # 20 ms (16 + 3.25), and gives 500/s; batch 2 at 500/s still fits, so the estimate is 500/s.
    profile = toy_profile("m", {("gpu", 1): [[10_000, 16_000]]})
    scenario = toy_scenario({"gpu": DeviceClass(count=4)}, [toy_model("m", 20_000, estimated_rps=None)])
    [model] = planned(scenario, {"m": profile}).solution.models
    assert model.estimated_rps == pytest.approx(500.0)
    assert model.rate_rps == pytest.approx(500.0)


def objective_of(profile: Profile, classes: dict[str, DeviceClass], slo_us: int, **settings) -> float:
    scenario = toy_scenario(classes, [toy_model("m", slo_us)], **settings)
    try:
        return planned(scenario, {"m": profile}).objective
    except InfeasibleError:
        return 0.0


@settings(max_examples=250, deadline=None)
@given(small_instances(), st.booleans())
def test_the_plan_is_as_good_as_the_best_of_all_plans(instance, share_devices):
    profile, classes, slo_us = instance
    scenario = toy_scenario(classes, [toy_model("m", slo_us)], share_devices=share_devices)
    assert objective_of(profile, classes, slo_us, share_devices=share_devices) == pytest.approx(
        best_throughput(scenario, {"m": profile}), rel=1e-6
    )


@settings(max_examples=100, deadline=None)
@given(small_instances(), st.booleans(), st.sampled_from([0.5, 1.0, 2.0]))
def test_two_models_are_served_as_well_as_the_best_of_all_plans(instance, share_devices, weight):
    profile, classes, slo_us = instance
    models = [toy_model("m", slo_us), toy_model("n", 2 * slo_us, weight=weight)]
    scenario = toy_scenario(classes, models, max_stages=1, share_devices=share_devices)
    profiles = {"m": profile, "n": profile}
    try:
        objective = planned(scenario, profiles).objective
    except InfeasibleError:
        objective = 0.0
    assert objective == pytest.approx(best_throughput(scenario, profiles), rel=1e-6)


@settings(max_examples=60, deadline=None)
@given(small_instances(), st.integers(0, 3_000))
def test_more_devices_more_time_or_more_freedom_never_hurt(instance, more_us):
    profile, classes, slo_us = instance
    before = objective_of(profile, classes, slo_us)
    grown = {name: spec.model_copy(update={"count": spec.count + 1}) for name, spec in classes.items()}
    assert objective_of(profile, grown, slo_us) >= before * (1 - 1e-6)
    assert objective_of(profile, classes, slo_us + more_us) >= before * (1 - 1e-6)
    assert objective_of(profile, classes, slo_us, share_devices=True) >= before * (1 - 1e-6)
    assert objective_of(profile, classes, slo_us, max_stages=1) <= before * (1 + 1e-6)


@settings(max_examples=60, deadline=None)
@given(small_instances(), st.integers(1, 3))
def test_the_bound_holds_however_early_the_search_stops(instance, weight):
    profile, classes, slo_us = instance
    models = [toy_model("m", slo_us), toy_model("n", slo_us, weight=weight)]
    scenario, profiles = toy_scenario(classes, models), {"m": profile, "n": profile}
    try:
        exact = planned(scenario, profiles)
    except InfeasibleError:
        return
    assert exact.bound >= exact.objective
    hasty = PoolPlanner(SearchLimits(gap=0.5)).plan(scenario, profiles)
    assert hasty.bound >= exact.objective * (1 - 1e-6)
    assert hasty.objective <= exact.bound * (1 + 1e-6)


@pytest.mark.parametrize("share", [1, 2])
@pytest.mark.parametrize("weight", [0.1, 1e-5, 4e-6])
def test_a_model_of_hardly_any_weight_is_served_too(share: int, weight: float):
    # A device serves 125/s of a model, a half of one 62.5/s. Of five devices the heavy model takes three, 375/3000 =
    # 0.125, and each of the others one. Of ten halves 7 + 1 + 2 and 6 + 1 + 3 come to 0.125 too. A scenario's
    # weights may be a factor of 1e9 apart.
    table = {("x", 1): [[8_000]], ("x", 2): [[16_000]]}
    models = [
        toy_model(name, 20_000, weight=w) for name, w in (("heavy", 3e3), ("light", weight), ("one", 1e3))
    ]
    scenario = toy_scenario({"x": DeviceClass(count=5, max_share=share)}, models, share_devices=True)
    result = planned(scenario, {name: toy_profile(name, table) for name in ("heavy", "light", "one")})
    assert result.objective == pytest.approx(0.125)


# 1 ms a sample at 10 Gbit/s from the front on a, where blocks take 1 ms; the back can only run on b.
LINKED = {
    "m": toy_profile(
        "m", {("a", 1): [[1_000], [99_000]], ("b", 1): [[99_000], [100]]}, boundary_bytes=[0, 1_250_000, 0]
    )
}


def linked(per_host: int, count: int = 4, lost: tuple[int, ...] = ()) -> Scenario:
    classes = {"a": DeviceClass(count=count, per_host=per_host, lost=lost), "b": DeviceClass(count=10)}
    return toy_scenario(classes, [toy_model("m", 2_100)])


@pytest.mark.parametrize(
    ("per_host", "rate_rps"), [(1, 4000.0), (2, 2000.0), (4, 1000.0), (8, 1000.0), (100, 1000.0)]
)
def test_an_interface_is_shared_by_the_devices_that_there_are(per_host: int, rate_rps: float):
    # Each of four devices sends 1000/s / (devices of its host); four to a host is as many as there are.
    assert planned(linked(per_host), LINKED).objective == pytest.approx(rate_rps)


def test_a_lost_device_leaves_the_interface_as_it_is():
    # Three of the four that share one: 250/s each.
    assert planned(linked(8, lost=(2,)), LINKED).objective == pytest.approx(750.0)


@pytest.mark.parametrize(("per_host", "rate_rps"), [(1, 1000.0), (4, 250.0), (9, 250.0)])
def test_a_pair_shares_its_host_with_the_fleet(per_host: int, rate_rps: float):
    [pipeline] = best_pipelines(PlanningQuestion(linked(per_host), LINKED, EXACT), 0, ("a", "b"))
    assert pipeline.rate_rps == pytest.approx(rate_rps)
