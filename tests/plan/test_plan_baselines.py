"""The baselines ``dart-r`` and ``even``: answers derived by hand, theorems, and the published plans."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_plans import toy_model, toy_profile, toy_scenario

from penstock.cluster import DeviceClass
from penstock.errors import BadInputError, InfeasibleError
from penstock.plan.documents.checker import check_plan
from penstock.plan.interfaces import SearchLimits
from penstock.plan.planners.apportion import apportion
from penstock.plan.planners.dart_r import PairPlanner
from penstock.plan.planners.dart_r_pairs import pairings
from penstock.plan.planners.even_stages import EvenPlanner
from penstock.plan.planners.pool_planner import PoolPlanner
from penstock.plan.planners.whole_model import WholeModelPlanner
from penstock.ppipe.plans import Imported, read_plans
from penstock.ppipe.profiles import read_profiles
from penstock.profile.table import Profile

ARTIFACT = Path(__file__).resolve().parents[3] / "shared" / "data" / "ppipe-artifact"
EXACT = SearchLimits(gap=1e-9, time_limit_s=30)


def planned(planner, scenario, profiles):
    result = planner(EXACT).plan(scenario, profiles)
    check_plan(result.solution, profiles)
    assert result.solution.planner == planner.name
    return result


def pools(plan, model=0):
    """Class and workers of every stage, by pipeline."""
    return [
        [(stage.device_class, stage.workers) for stage in pipeline.stages]
        for pipeline in plan.models[model].pipelines
    ]


class TestApportionment:
    def test_quotas_are_rounded_down_and_the_rest_goes_to_the_least_served(self):
        # 25 by 0.30, 0.33, 0.37: 7.5, 8.25, 9.25.
        weight = np.array([0.30, 0.33, 0.37])
        assert apportion(25, weight, np.array([0.0, 0.0, 0.0])).tolist() == [8, 8, 9]
        assert apportion(25, weight, np.array([2.0, 1.0, 3.0])).tolist() == [7, 9, 9]

    def test_whole_quotas_stay_whole(self):
        assert apportion(100, np.array([0.1, 0.2, 0.7]), np.zeros(3)).tolist() == [10, 20, 70]

    def test_fewer_devices_than_models(self):
        assert apportion(1, np.ones(3), np.array([1.0, 0.0, 0.0])).tolist() == [0, 1, 0]


class TestPairings:
    def test_two_classes(self):
        assert list(pairings({"fast": 2, "slow": 3})) == [(("fast", "slow"), 2), (("slow",), 1)]
        assert list(pairings({"fast": 3, "slow": 2})) == [(("fast", "slow"), 2), (("fast",), 1)]

    def test_of_more_classes_the_extremes_meet_first(self):
        # Two fast take two of three slow; the third goes with the middle one.
        assert list(pairings({"fast": 2, "middle": 2, "slow": 3})) == [
            (("fast", "slow"), 2),
            (("middle", "slow"), 1),
            (("middle",), 1),
        ]

    def test_one_class_or_none(self):
        assert list(pairings({"fast": 4})) == [(("fast",), 4)]
        assert list(pairings({"fast": 0, "slow": 4})) == [(("slow",), 4)]
        assert list(pairings({"fast": 0})) == []


class TestPairs:
    # Whole: 20 ms on fast, 52 ms on slow. A pair cut in the middle, slow first: 12 ms, then 10 ms on fast,
    # so the pair serves one in 12 ms, and fast alone one in 20.
    profile = toy_profile("m", {("fast", 1): [[10_000], [10_000]], ("slow", 1): [[12_000], [40_000]]})

    def plan(self, slo_us: int, fast: int = 2, slow: int = 3):
        classes = {"fast": DeviceClass(count=fast), "slow": DeviceClass(count=slow)}
        return planned(
            PairPlanner, toy_scenario(classes, [toy_model("m", slo_us)]), {"m": self.profile}
        ).solution

    def test_a_device_left_over_idles_where_the_whole_model_misses_its_slo(self):
        plan = self.plan(40_000)
        assert pools(plan) == [[("slow", 2), ("fast", 2)]]
        assert plan.objective == pytest.approx(2e6 / 12_000)

    def test_a_device_left_over_runs_the_whole_model(self):
        plan = self.plan(60_000)
        assert pools(plan) == [[("slow", 2), ("fast", 2)], [("slow", 1)]]
        assert plan.objective == pytest.approx(2e6 / 12_000 + 1e6 / 52_000)

    def test_a_pair_that_works_best_apart_runs_the_whole_model_twice(self):
        # Cut anywhere, a pair of equals does one in 10 ms; so do two whole models, and without a transfer.
        profile = toy_profile(
            "m", {("a", 1): [[9_000], [11_000]], ("b", 1): [[9_000], [11_000]]}, boundary_bytes=[0, 10**6, 0]
        )
        classes = {"a": DeviceClass(count=3), "b": DeviceClass(count=2)}
        scenario = toy_scenario(classes, [toy_model("m", 60_000)])
        plan = planned(PairPlanner, scenario, {"m": profile}).solution
        # The third a runs it whole too: with those of the pairs, one pool.
        assert pools(plan) == [[("a", 3)], [("b", 2)]]

    def test_shares_are_not_used(self):
        # Half a fast device takes as long as a whole one: pools of halves would double the rate.
        tables = {("fast", 1): [[10_000]], ("fast", 2): [[10_000]]}
        classes = {"fast": DeviceClass(count=1, max_share=2)}
        scenario = toy_scenario(classes, [toy_model("m", 20_000)])
        assert planned(PairPlanner, scenario, {"m": toy_profile("m", tables)}).objective == pytest.approx(100)


class TestSplit:
    # a runs whole in 10 ms on either class; b in 20 ms on fast, and on slow its first block only (5 ms).
    a = toy_profile("a", {("fast", 1): [[10_000]], ("slow", 1): [[10_000]]})
    b = toy_profile("b", {("fast", 1): [[10_000], [10_000]], ("slow", 1): [[5_000], [100_000]]})

    @pytest.mark.parametrize(
        ("estimate", "slow_of_a"),
        # NP's objective is b's 50/s on the one fast device, for which a needs one slow device of six; NP may
        # give it all six. By its estimate a keeps 1, 3 or 6; b, served least, gets the larger half of the rest.
        [(50.0, 3), (300.0, 4), (1e9, 6)],
    )
    def test_ties_of_np_are_settled_by_the_estimated_rate(self, estimate, slow_of_a):
        classes = {"fast": DeviceClass(count=1), "slow": DeviceClass(count=6)}
        models = [toy_model("a", 25_000, estimated_rps=estimate), toy_model("b", 25_000)]
        plan = planned(PairPlanner, toy_scenario(classes, models), {"a": self.a, "b": self.b}).solution
        assert pools(plan, 0) == [[("slow", slow_of_a)]]
        # b pairs its fast device: slow 5 ms, then fast 10 ms. Further slow devices cannot run it whole.
        assert pools(plan, 1) == [[("fast", 1)] if slow_of_a == 6 else [("slow", 1), ("fast", 1)]]

    def test_the_rest_is_split_evenly_not_by_weight(self):
        # Only fast devices run b whole. Weights 1 and 3 split 4 fast ones 1 to 3; of 4 slow ones each gets 2.
        classes = {"fast": DeviceClass(count=4), "slow": DeviceClass(count=4)}
        models = [toy_model("b1", 25_000), toy_model("b3", 25_000, weight=3.0)]
        plan = planned(PairPlanner, toy_scenario(classes, models), {"b1": self.b, "b3": self.b}).solution
        assert pools(plan, 0) == [[("slow", 1), ("fast", 1)]]
        assert pools(plan, 1) == [[("slow", 2), ("fast", 2)], [("fast", 1)]]

    def test_without_a_whole_model_plan_there_is_nothing_to_split(self):
        scenario = toy_scenario({"slow": DeviceClass(count=6)}, [toy_model("b", 25_000)])
        with pytest.raises(
            InfeasibleError, match=r"dart-r divides .* np has no plan: no pipeline of model 'b'"
        ):
            PairPlanner(EXACT).plan(scenario, {"b": self.b})


class TestEven:
    def test_stages_take_equal_time_on_their_own_class(self):
        # Three of four blocks on fast (3 x 10 ms) and one on slow (30 ms); fast alone does one in 40 ms.
        profile = toy_profile("m", {("fast", 1): [[10_000]] * 4, ("slow", 1): [[30_000]] * 4})
        classes = {"fast": DeviceClass(count=1), "slow": DeviceClass(count=1)}
        plan = planned(EvenPlanner, toy_scenario(classes, [toy_model("m", 60_000)]), {"m": profile}).solution
        assert {(s.device_class, s.blocks[1] - s.blocks[0]) for s in plan.models[0].pipelines[0].stages} == {
            ("fast", 3),
            ("slow", 1),
        }
        assert plan.objective == pytest.approx(1e6 / 30_000)

    def test_a_class_divides_its_devices_among_its_stages(self):
        # A device holds two blocks of three, so one class serves two stages: 20 and 30 ms, two devices each,
        # not matched to the times. The fifth device cannot make a second pipeline.
        profile = toy_profile("m", {("gpu", 1): [[10_000], [10_000], [30_000]]}, parameter_bytes=5 * 10**9)
        scenario = toy_scenario({"gpu": DeviceClass(count=5, memory_gb=10)}, [toy_model("m", 50_000)])
        plan = planned(EvenPlanner, scenario, {"m": profile}).solution
        assert [s.blocks for s in plan.models[0].pipelines[0].stages] == [(0, 2), (2, 3)]
        assert pools(plan) == [[("gpu", 2), ("gpu", 2)]]
        assert plan.objective == pytest.approx(2e6 / 30_000)

    def test_devices_that_a_pipeline_leaves_idle_serve_the_next(self):
        # 10 ms on fast, then 10 ms on slow: one slow device of three keeps up. The others run it whole, 40 ms.
        profile = toy_profile("m", {("fast", 1): [[10_000], [90_000]], ("slow", 1): [[30_000], [10_000]]})
        classes = {"fast": DeviceClass(count=1), "slow": DeviceClass(count=3)}
        plan = planned(EvenPlanner, toy_scenario(classes, [toy_model("m", 40_000)]), {"m": profile}).solution
        assert pools(plan) == [[("fast", 1), ("slow", 1)], [("slow", 2)]]
        assert plan.objective == pytest.approx(100 + 2e6 / 40_000)

    def test_devices_are_divided_by_weight_and_not_by_need(self):
        # The second model takes ten times as long; both get 2 of 4.
        profiles = {
            "a": toy_profile("a", {("gpu", 1): [[1_000]]}),
            "b": toy_profile("b", {("gpu", 1): [[10_000]]}),
        }
        scenario = toy_scenario(
            {"gpu": DeviceClass(count=4)}, [toy_model("a", 20_000), toy_model("b", 20_000)]
        )
        plan = planned(EvenPlanner, scenario, profiles).solution
        assert [pools(plan, m) for m in (0, 1)] == [[[("gpu", 2)]], [[("gpu", 2)]]]

    def test_a_model_that_its_part_cannot_serve_is_named(self):
        profile = toy_profile("m", {("gpu", 1): [[1_000]]})
        scenario = toy_scenario(
            {"gpu": DeviceClass(count=1)}, [toy_model("a", 20_000), toy_model("b", 20_000)]
        )
        with pytest.raises(InfeasibleError, match=r"even gives model 'b' its part by weight, no device"):
            EvenPlanner(EXACT).plan(scenario, {"a": profile, "b": profile})

    def test_a_model_without_any_pipeline_is_told_the_nearest_slo(self):
        profile = toy_profile("m", {("gpu", 1): [[10_000]]})
        scenario = toy_scenario({"gpu": DeviceClass(count=1)}, [toy_model("m", 9_000)])
        with pytest.raises(InfeasibleError, match="nearest feasible SLO is 10000 us"):
            EvenPlanner(EXACT).plan(scenario, {"m": profile})


@pytest.mark.parametrize("planner", [PairPlanner, EvenPlanner])
def test_a_rule_knows_nothing_of_cost(planner):
    scenario = toy_scenario({"gpu": DeviceClass(count=1)}, [toy_model("m", 20_000)])
    settings = scenario.planner.model_copy(update={"objective": "cost"})
    with pytest.raises(BadInputError, match=rf"planner {planner.name} plans for throughput only, .*'cost'"):
        planner(EXACT).plan(scenario.model_copy(update={"planner": settings}), {})


@st.composite
def fleets(draw):
    """One to three classes, one or two models of up to four blocks, tight to loose SLOs, links that matter."""
    names = ["a", "b", "c"][: draw(st.integers(1, 3))]
    classes = {
        name: DeviceClass(
            count=draw(st.integers(1, 5)), per_host=draw(st.integers(1, 2)), max_share=draw(st.integers(1, 2))
        )
        for name in names
    }
    models, profiles = [], {}
    for name in ["m", "n"][: draw(st.integers(1, 2))]:
        blocks = draw(st.integers(1, 4))
        tables = {}
        for device_class in names:
            one = [draw(st.integers(1, 20)) * 1_000 for _ in range(blocks)]
            tables[device_class, 1] = [[time_us, time_us * 3 // 2] for time_us in one]
            tables[device_class, 2] = [[time_us * 9 // 5] for time_us in one]
        crossing = [draw(st.sampled_from([0, 10**5, 10**6])) for _ in range(blocks + 1)]
        profiles[name] = toy_profile(name, tables, boundary_bytes=crossing)
        models.append(
            toy_model(
                name,
                draw(st.integers(5, 90)) * 1_000,
                weight=draw(st.sampled_from([1.0, 2.5])),
                estimated_rps=draw(st.sampled_from([None, 200.0])),
            )
        )
    return toy_scenario(classes, models, max_stages=draw(st.integers(1, 3))), profiles


def attempt(planner, scenario, profiles):
    """The planner's result, or None if it says that there is none."""
    try:
        return planned(planner, scenario, profiles)
    except InfeasibleError:
        return None


@settings(max_examples=60, deadline=None)
@given(fleets())
def test_no_rule_passes_the_exact_planner_and_pairs_never_fall_behind_whole_models(fleet):
    scenario, profiles = fleet
    exact = attempt(PoolPlanner, scenario, profiles)
    whole = attempt(WholeModelPlanner, scenario, profiles)
    paired = attempt(PairPlanner, scenario, profiles)
    even = attempt(EvenPlanner, scenario, profiles)
    assert (whole is None) == (paired is None)
    if whole is not None and paired is not None:
        assert paired.objective >= whole.objective * (1 - 1e-6)
    for result in (whole, paired, even):
        if result is not None:
            assert exact is not None
            assert result.objective <= exact.bound * (1 + 1e-6)
            assert exact.objective <= exact.bound
    for result in (paired, even):
        if result is not None and exact is not None:
            assert exact.objective <= result.bound * (1 + 1e-6)  # device time bounds every planner


@cache
def artifact() -> tuple[dict[str, Profile], Imported]:
    profiles = read_profiles(ARTIFACT)
    return profiles, read_plans(ARTIFACT, profiles)


@pytest.mark.data
@pytest.mark.skipif(not ARTIFACT.is_dir(), reason=f"needs the reference data at {ARTIFACT}")
@pytest.mark.parametrize("cluster", ["L4-P4", "L4-T4", "V100-P4", "V100-T4"])
@pytest.mark.parametrize("group", ["apcnet", "colorization", "efficientnet", "fcn"])
def test_dart_r_plans_reach_the_published_objective(group: str, cluster: str):
    profiles, imported = artifact()
    [name] = [n for n in imported.scenarios if n.startswith(f"maf19-{group}") and f"_{cluster}_" in n]
    result = planned(PairPlanner, imported.scenarios[name], profiles)
    published = float(imported.plans[f"{name}-dart-r"].stats["reference_objective"])
    assert result.objective == pytest.approx(published, rel=1e-4)
