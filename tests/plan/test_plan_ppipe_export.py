"""Plans in the artifact's JSON: what is imported, exported and imported again is the same plan."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from toy_plans import toy_model, toy_profile, toy_scenario

from penstock.cli.main import cli
from penstock.cluster import DeviceClass
from penstock.errors import BadInputError
from penstock.files import write_json
from penstock.plan.documents.plan import Plan
from penstock.plan.planners.dart_r import PairPlanner
from penstock.ppipe.export import artifact_name, plan_document
from penstock.ppipe.plans import read_plans
from penstock.ppipe.profiles import read_profiles
from ppipe_artifact import DUO, SOLO, write_artifact

DATA = Path(__file__).parents[2] / ".." / "shared" / "data" / "ppipe-artifact"


def exported(plans, profiles, folder):
    """Every plan as the artifact's file, in the set it came from."""
    for name, plan in plans.items():
        path = folder / "plans" / name.split("-")[0] / artifact_name(plan)
        write_json(path, plan_document(plan, profiles))
    return folder


def by_planner_and_cluster(plans):
    return {(artifact_name(plan), name.split("-")[0]): plan for name, plan in plans.items()}


def assert_same(plans, again):
    first, second = by_planner_and_cluster(plans), by_planner_and_cluster(again)
    assert first.keys() == second.keys()
    for key, plan in first.items():
        other = second[key]
        assert (plan.scenario, plan.models, plan.placement) == (other.scenario, other.models, other.placement)
        assert (plan.planner, plan.objective) == (other.planner, other.objective)
        # The tiny artifact states 333.0, though 333.3 follows from its stages. An export states what follows.
        assert other.bound == pytest.approx(plan.bound, rel=2e-3)
        assert {k: plan.stats.get(k) for k in ("mipgap", "runtime")} == {
            k: other.stats.get(k) for k in ("mipgap", "runtime")
        }


@pytest.fixture
def artifact(tmp_path):
    return write_artifact(tmp_path / "artifact")


def test_a_tiny_artifact_comes_back_the_same(artifact, tmp_path):
    profiles = read_profiles(artifact)
    plans = read_plans(artifact, profiles).plans
    assert len(plans) == 4
    assert_same(plans, read_plans(exported(plans, profiles, tmp_path / "again"), profiles).plans)


@pytest.mark.data
@pytest.mark.skipif(not DATA.is_dir(), reason=f"needs the reference data at {DATA}")
def test_the_published_plans_come_back_the_same(tmp_path):
    profiles = read_profiles(DATA)
    plans = read_plans(DATA, profiles).plans
    assert_same(plans, read_plans(exported(plans, profiles, tmp_path), profiles).plans)


def test_the_fields_are_those_of_the_artifact(artifact):
    profiles = read_profiles(artifact)
    plan = read_plans(artifact, profiles).plans[f"duo-{DUO}-ppipe"]
    first, second = plan_document(plan, profiles)
    assert artifact_name(plan) == "net-a_v1-net-b_0.4-0.6_H-L_2-3_bw-gbps-1_v4.json"
    assert (first["mipgap"], first["runtime"]) == (0.0, 1.5)
    assert "mipgap" not in second
    assert (first["sla"], first["config"]["hist_adjustment"], first["config"]["est_xput"]) == (
        40_000,
        4_000,
        300.5,
    )
    assert first["config"]["gpu_name_arr"] == ["H", "L"]
    assert first["config"]["num_mps_levels"] == [2, 1]
    # 125,000 bytes at 1 Gbit/s, once for the only inner boundary.
    assert first["config"]["transmit_time_us_arr"] == [1_000.0]
    before, after = first["pipelines"][0]["partitions"]
    assert (before["layers"], before["gpu"], before["num_gpu"], before["lat_trans"]) == (
        [0, 1],
        "L",
        2,
        1_000,
    )
    # Two workers on halves of one device.
    assert (after["layers"], after["mps"], after["num_gpu"], after["lat_infer"]) == ([1, 2], 1, 1, 6_000)
    assert second["pipelines"][0]["xput"] == pytest.approx(1e6 / 6_000)


def toy_plan() -> tuple[Plan, dict]:
    profiles = {"m": toy_profile("m", {("fast", 1): [[10_000], [10_000]], ("slow", 1): [[12_000], [40_000]]})}
    classes = {"fast": DeviceClass(count=2), "slow": DeviceClass(count=3)}
    scenario = toy_scenario(classes, [toy_model("m", 40_000)])
    return PairPlanner().plan(scenario, profiles).solution, profiles


def test_our_own_plan_states_its_proof():
    plan, profiles = toy_plan()
    [entry] = plan_document(plan, profiles)
    assert artifact_name(plan) == "m_fast-slow_2-3_bw-gbps-10_dart-r.json"
    assert entry["mipgap"] == plan.gap
    assert artifact_name(plan.model_copy(update={"planner": "penstock"})).endswith("_v4.json")


class TestWhatTheFormatCannotSay:
    def with_classes(self, **classes):
        plan, profiles = toy_plan()
        cluster = plan.scenario.cluster.model_copy(update={"device_classes": classes})
        scenario = plan.scenario.model_copy(update={"cluster": cluster})
        return plan.model_copy(update={"scenario": scenario}), profiles

    def test_unlike_bandwidths(self):
        plan, profiles = self.with_classes(
            fast=DeviceClass(count=2), slow=DeviceClass(count=3, bandwidth_gbps=1)
        )
        with pytest.raises(
            BadInputError, match=r"one bandwidth for all classes, the plan has fast 10, slow 1"
        ):
            plan_document(plan, profiles)

    @pytest.mark.parametrize("name", ["slow_one", "42"])
    def test_class_names_that_the_file_name_cannot_hold(self, name):
        plan, _ = self.with_classes(**{name: DeviceClass(count=2)})
        with pytest.raises(BadInputError, match=f"device class '{name}'"):
            artifact_name(plan)

    def test_a_device_of_two_stages(self):
        plan, profiles = toy_plan()
        first, *rest = plan.placement
        moved = first.model_copy(update={"stage": 1})
        shared = plan.model_copy(update={"placement": [first, moved, *rest]})
        with pytest.raises(BadInputError, match=r"device 0 of slow is shared by .*share_devices"):
            plan_document(shared, profiles)


class TestCommand:
    @pytest.fixture
    def imported(self, artifact, tmp_path):
        out = tmp_path / "out"
        assert CliRunner().invoke(cli, ["import", "ppipe", str(artifact), "-o", str(out)]).exit_code == 0
        return out / "plans" / f"solo-{SOLO}-ppipe.json"

    def run(self, *arguments):
        return CliRunner().invoke(cli, ["export", "ppipe", *map(str, arguments)])

    def test_writes_the_file_and_says_what_to_call_it(self, imported, tmp_path):
        result = self.run(imported, "-o", tmp_path / "x.json", "--json")
        assert result.exit_code == 0, result.output
        name = "net-a_v1_H-L_2-3_bw-gbps-1_v4.json"
        assert json.loads(result.stdout) == {"out": str(tmp_path / "x.json"), "name": name, "models": 1}
        assert name in result.stderr.split("must be called ")[1]
        assert json.loads((tmp_path / "x.json").read_text())[0]["config"]["dnn_name"] == "net-a_v1"

    def test_a_file_that_is_named_right_needs_no_advice(self, imported, tmp_path):
        result = self.run(imported, "-o", tmp_path / "net-a_v1_H-L_2-3_bw-gbps-1_v4.json")
        assert result.exit_code == 0
        assert "must be called" not in result.stderr

    def test_nothing_is_replaced_without_force(self, imported, tmp_path):
        (tmp_path / "x.json").write_text("mine")
        assert isinstance(self.run(imported, "-o", tmp_path / "x.json").exception, BadInputError)
        assert (tmp_path / "x.json").read_text() == "mine"
        assert self.run(imported, "-o", tmp_path / "x.json", "--force").exit_code == 0
