"""Scenarios and plans out of a PPipe artifact: a tiny one worked out by hand, and the real one."""

from pathlib import Path

import pytest
import yaml

from penstock.errors import BadInputError
from penstock.files import validate
from penstock.plan.documents.scenario import Scenario
from penstock.plan.planners.device_time_bound import work_bound_rps
from penstock.plan.planning_question import PlanningQuestion
from penstock.ppipe.plans import read_plans, scenario_yaml
from penstock.ppipe.profiles import read_profiles
from ppipe_artifact import DUO, SOLO, entry, stage, write_artifact, write_plan

DATA = Path(__file__).parents[2] / ".." / "shared" / "data" / "ppipe-artifact"


@pytest.fixture
def artifact(tmp_path):
    return write_artifact(tmp_path / "artifact")


def imported(folder):
    return read_plans(folder, read_profiles(folder))


def test_scenarios_and_plans_are_named_after_set_file_and_planner(artifact):
    found = imported(artifact)
    assert set(found.scenarios) == {f"solo-{SOLO}", f"duo-{DUO}"}
    assert set(found.plans) == {
        f"solo-{SOLO}-ppipe",
        f"solo-{SOLO}-np",
        f"duo-{DUO}-ppipe",
        f"duo-{DUO}-dart-r",
    }


def test_scenario_of_two_models(artifact):
    scenario = imported(artifact).scenarios[f"duo-{DUO}"]
    classes = scenario.cluster.device_classes
    assert [(name, c.count, c.per_host, c.max_share) for name, c in classes.items()] == [
        ("H", 2, 2, 2),
        ("L", 3, 1, 1),
    ]
    assert scenario.cluster.bandwidth_gbps == 1
    assert [(m.name, m.weight, m.slo_us, m.slo_margin_us) for m in scenario.models] == [
        ("net-a_v1", 0.4, 40_000, 4_000),  # the SLO of 40,000.7 us is cut, never stretched
        ("net-b", 0.6, 20_000, 4_000),
    ]
    assert scenario.models[0].profile == "../profiles/net-a_v1"
    assert scenario.models[0].estimated_rps == 300.5
    assert (scenario.planner.max_stages, scenario.planner.batch_build_factor) == (2, 1.3)


def test_a_single_model_has_weight_one(artifact):
    assert imported(artifact).scenarios[f"solo-{SOLO}"].models[0].weight == 1.0


def test_scenario_yaml_reads_back_the_same(artifact):
    for scenario in imported(artifact).scenarios.values():
        text = scenario_yaml(scenario)
        assert validate(Scenario, yaml.safe_load(text), Path("s.yaml")) == scenario


def test_stages_are_worked_out_from_the_profile(artifact):
    plan = imported(artifact).plans[f"solo-{SOLO}-ppipe"]
    first, second = plan.models[0].pipelines[0].stages
    # Two whole L devices: 4,000 us a request, so 250 a second each; their link would take 1,000 each.
    assert (first.blocks, first.share, first.workers) == ((0, 1), 1, 2)
    assert (first.inference_us, first.transfer_us) == (4_000, 1_000)
    assert first.rate_rps == pytest.approx(500)
    # One H device shared by two: 6,000 us a request, below the link's 1,000 / (2 shares x 2 devices) = 250.
    assert (second.share, second.workers, second.transfer_us) == (2, 2, 0)
    assert second.rate_rps == pytest.approx(2 * 1e6 / 6_000)
    assert plan.models[0].rate_rps == plan.objective == pytest.approx(1e6 / 3_000)


def test_the_link_limits_workers_that_share_a_host(artifact):
    # Whole H at batch 2: 1,800 us, so 1,111 a second; but the link carries 1,000 samples a second for the
    # two devices of a host: 500 each.
    split = [stage([0, 1], "H", bs=2), stage([1, 2], "L", bs=2)]
    write_plan(artifact, "solo", f"{SOLO}_v4", [entry("net-a_v1", [split], xput=1.0)])
    first, second = imported(artifact).plans[f"solo-{SOLO}-ppipe"].models[0].pipelines[0].stages
    assert first.rate_rps == pytest.approx(500)
    assert first.transfer_us == 2_000  # the whole batch
    assert second.rate_rps == pytest.approx(2e6 / 9_000)


def test_objective_is_the_least_rate_by_weight(artifact):
    plan = imported(artifact).plans[f"duo-{DUO}-ppipe"]
    # net-a: 333.3 / 0.4 = 833.3; net-b on one L: 1e6 / 6,000 / 0.6 = 277.8.
    assert plan.objective == pytest.approx(1e6 / 6_000 / 0.6)
    assert [model.slo_us for model in plan.models] == [40_000, 20_000]
    assert [model.margin_us for model in plan.models] == [4_000, 4_000]


def test_what_the_file_records_of_its_solver_is_kept(artifact):
    plans = imported(artifact).plans
    stats = plans[f"duo-{DUO}-dart-r"].stats
    assert stats["runtime"] == 0.75
    assert stats["reference_objective"] == pytest.approx(166 / 0.6)
    assert plans[f"solo-{SOLO}-ppipe"].stats["mipgap"] == 0.5
    assert "mipgap" not in plans[f"solo-{SOLO}-np"].stats


def test_bound_is_the_tighter_of_the_recorded_and_device_time(artifact):
    # By hand, for net-a alone on 2 H and 3 L. A request needs 900 and 2,500 us of H (whole, batch 2; shared
    # it would be 1,000 and 3,000), or 3,500 and 4,500 of L. At prices that make block 1
    # equal (H 1/2500, L 1/4500) a request costs 0.36 + 1, and the fleet is worth 2/2500 + 3/4500
    # a microsecond: 1078.4 requests a second.
    plans = imported(artifact).plans
    np_plan = plans[f"solo-{SOLO}-np"]
    assert np_plan.bound == pytest.approx((2 / 2500 + 3 / 4500) * 1e6 / 1.36)
    assert np_plan.stats["bound_from"] == "device time"
    ppipe = plans[f"solo-{SOLO}-ppipe"]
    assert ppipe.bound == pytest.approx(333.0 * 1.5)
    assert ppipe.stats["bound_from"] == "recorded gap"
    assert ppipe.gap == pytest.approx(ppipe.bound / ppipe.objective - 1)
    # DART-r's gap of 0 is of its pairs, not of the plan.
    assert plans[f"duo-{DUO}-dart-r"].stats["bound_from"] == "device time"


def test_every_worker_has_a_place(artifact):
    for plan in imported(artifact).plans.values():
        workers = sum(s.workers for m in plan.models for p in m.pipelines for s in p.stages)
        assert len(plan.placement) == workers


def _with(artifact, subset, name, **changes):
    """The solo plan again, some fields of its entry or configuration changed."""
    whole = entry("net-a_v1", [[stage([0, 2], "H", bs=2)]], xput=294.0)
    for field, value in changes.items():
        (whole["config"] if field in whole["config"] else whole)[field] = value
    write_plan(artifact, subset, name, [whole])


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("net-a_v1_H-L_2-3_x_v5", "with a scheduler of v4, bl, dart-r"),
        ("net-a_v2_H-L_2-3_x_v4", "its name must read net-a_v1"),
        ("net-a_v1_L-H_2-3_x_v4", r"its name must read net-a_v1\[_WEIGHTS\]_H-L_COUNTS"),
        ("net-a_v1_H-L_2_x_v4", "counts 2, but needs one per device class"),
        ("net-a_v1_0.5-0.5_H-L_2-3_x_v4", "weights 0.5-0.5, but needs one above 0"),
        ("net-a_v1_0.0_H-L_2-3_x_v4", "weights 0.0"),
        ("net-a_v1_1..2_H-L_2-3_x_v4", "weights 1..2"),
        ("net-a_v1_H-L_0-0_x_v4", "the cluster is empty"),
        ("net-a_v1_H-L_2-3_y_bl", "has no net-a_v1_H-L_2-3_y_v4.json beside it"),
    ],
)
def test_a_name_that_does_not_fit_is_refused(artifact, name, rule):
    _with(artifact, "odd", name)
    with pytest.raises(BadInputError, match=rule) as caught:
        imported(artifact)
    assert name in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"pipelines": []}, "needs at least 1"),
        ({"sla": "soon"}, "valid number"),
        ({"sla": 3_000.0}, "slo_margin_us must be below the SLO"),
        ({"num_mps_levels": [1]}, "one value for each"),
        ({"bw_gbps": 0}, "greater than 0"),
        ({"pipelines": [{"partitions": [stage([0, 1], "H")]}]}, "do not cover the 2 blocks"),
        ({"pipelines": [{"partitions": [stage([0, 1], "H"), stage([0, 2], "L")]}]}, "do not cover"),
        ({"pipelines": [{"partitions": [stage([0, 2], "X")]}]}, "'X'"),
        (
            {"pipelines": [{"partitions": [stage([0, 1], "X"), stage([1, 2], "L")]}]},
            "'X' is not in gpu_name_arr",
        ),
        ({"pipelines": [{"partitions": [stage([0, 2], "L", mps=1)]}]}, "at share 2"),
        (
            {"pipelines": [{"partitions": [stage([0, 2], "H", bs=3)]}]},
            "no timings of batch 3 on H at share 1",
        ),
        ({"pipelines": [{"partitions": [stage([0, 2], "H", num_gpu=0.5)]}]}, "they must be whole"),
        ({"pipelines": [{"partitions": [stage([0, 2], "H", num_gpu=1e-9)]}]}, "at least 1"),
    ],
)
def test_an_odd_plan_names_its_file(artifact, changes, rule):
    _with(artifact, "odd", "net-a_v1_H-L_2-3_x_v4", **changes)
    with pytest.raises(BadInputError, match=rule) as caught:
        imported(artifact)
    assert "odd/net-a_v1_H-L_2-3_x_v4.json" in str(caught.value)


def test_more_devices_than_the_cluster_has(artifact):
    _with(
        artifact, "odd", "net-a_v1_H-L_2-3_x_v4", pipelines=[{"partitions": [stage([0, 2], "H", num_gpu=3)]}]
    )
    with pytest.raises(BadInputError, match=r"net-a_v1_H-L_2-3_x_v4\.json.*needs 3 devices of H"):
        imported(artifact)


def test_siblings_must_answer_one_scenario(artifact):
    _with(artifact, "solo", f"{SOLO}_bl", sla=50_000.0)
    with pytest.raises(BadInputError, match=r"_bl\.json: its sla.* differ from those of .*_v4\.json"):
        imported(artifact)


def test_sets_whose_names_run_into_each_other_are_refused(artifact):
    _with(artifact, "solo-net", "a_v1_H-L_2-3_x_v4")  # split at the wrong dash, it reads as the file below
    _with(artifact, "solo", "net-a_v1_H-L_2-3_x_bl")
    with pytest.raises(BadInputError, match="would be named as"):
        imported(artifact)


def test_a_model_without_timings_is_named(artifact):
    profiles = {"net-b": read_profiles(artifact)["net-b"]}
    with pytest.raises(BadInputError, match=r"model 'net-a_v1' has no block timings on 'H'.*\(it has none\)"):
        read_plans(artifact, profiles)
    for file in (artifact / "models/block-timing-tf32").glob("net-b-L-*.csv"):
        file.unlink()
    with pytest.raises(BadInputError, match=r"model 'net-b' has no block timings on 'L'.*\(it has H\)"):
        imported(artifact)


def test_models_of_one_file_differ_and_share_the_cluster(artifact):
    twice = entry("net-b", [[stage([0, 3], "L")]], xput=1.0)
    write_plan(artifact, "odd", "net-b-net-b_0.5-0.5_H-L_2-3_x_v4", [twice, twice])
    with pytest.raises(BadInputError, match="models must differ"):
        imported(artifact)
    other = entry("net-a_v1", [[stage([0, 2], "L")]], xput=1.0)
    other["config"]["bw_gbps"] = 2
    (artifact / "plans" / "odd" / "net-b-net-b_0.5-0.5_H-L_2-3_x_v4.json").unlink()
    write_plan(artifact, "odd", "net-b-net-a_v1_0.5-0.5_H-L_2-3_x_v4", [twice, other])
    with pytest.raises(BadInputError, match=r"1\.config\.bw_gbps \(=2\.0\) differs"):
        imported(artifact)


@pytest.fixture(scope="module")
def real():
    if not DATA.is_dir():
        pytest.skip("reference data ../shared/data/ppipe-artifact is absent")
    profiles = read_profiles(DATA)
    return profiles, read_plans(DATA, profiles)


@pytest.mark.data
class TestRealArtifact:
    def test_counts(self, real):
        _, found = real
        sets = [name.split("-")[0] for name in found.scenarios]
        assert (sets.count("maf19"), sets.count("ablation")) == (16, 10)
        planners = [plan.planner for plan in found.plans.values()]
        assert [planners.count(name) for name in ("ppipe", "np", "dart-r")] == [26, 26, 16]

    def test_slo_is_five_times_the_mean_whole_latency_on_l4(self, real):
        profiles, found = real
        for scenario in found.scenarios.values():
            for model in scenario.models:
                assert abs(model.slo_us - 5 * profiles[model.name].whole_us["L4"]) <= 3

    def test_margins_are_those_of_the_paper(self, real):
        _, found = real
        for name, scenario in found.scenarios.items():
            share = 0.4 if name.startswith("maf19") else 0.1
            stages = 2 if name.startswith("maf19") else 3
            assert scenario.planner.max_stages == stages
            for model in scenario.models:
                assert abs(model.slo_margin_us - share * model.slo_us) <= 1

    def test_recorded_objectives_follow_from_the_profiles(self, real):
        _, found = real
        for plan in found.plans.values():
            assert plan.objective == pytest.approx(plan.stats["reference_objective"], rel=1e-6)

    def test_no_plan_passes_the_device_time_bound(self, real):
        profiles, found = real
        for plan in found.plans.values():
            assert plan.objective <= work_bound_rps(PlanningQuestion(plan.scenario, profiles))
            assert plan.objective <= plan.bound
