"""Plans on disk, and as dispatch tables."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from toy_plans import toy_model, toy_profile, toy_scenario

from penstock.cluster import DeviceClass
from penstock.errors import BadInputError
from penstock.plan.dispatch_table import dispatch_table
from penstock.plan.documents.store import load_plan, relocated, save_plan
from penstock.plan.planners.pool_planner import PoolPlanner
from penstock.profile.store import save_profile
from penstock.profile.table import LatencyTable

TABLES = {("a", 1): [[10_000, 16_000], [50_000, 90_000]], ("b", 1): [[50_000, 90_000], [5_000, 9_000]]}
PROFILE = toy_profile("m", TABLES, boundary_bytes=[0, 1_250_001, 0])
SCENARIO = toy_scenario(
    {"idle": DeviceClass(count=0), "a": DeviceClass(count=3, per_host=2), "b": DeviceClass(count=3)},
    [toy_model("m", 40_000, estimated_rps=1000.0)],
)


@pytest.fixture
def plan():
    return PoolPlanner().plan(SCENARIO, {"m": PROFILE}).solution


def test_a_plan_comes_back_as_it_was_with_paths_relative_to_its_file(plan, tmp_path: Path):
    save_profile(PROFILE, tmp_path / "here" / "m")
    moved = relocated(plan, tmp_path / "here", tmp_path / "there")
    assert moved.scenario.models[0].profile == "../here/m"
    save_plan(moved, tmp_path / "there" / "plan.json", {"m": PROFILE})
    loaded = load_plan(tmp_path / "there" / "plan.json")
    assert loaded.plan == moved
    assert loaded.profiles["m"].boundary_bytes == PROFILE.boundary_bytes


def test_an_unsound_plan_is_neither_written_nor_loaded(plan, tmp_path: Path):
    save_profile(PROFILE, tmp_path / "m")
    wrong = plan.model_copy(update={"objective": 1e9})
    with pytest.raises(BadInputError, match="objective 1000000000"):
        save_plan(wrong, tmp_path / "plan.json", {"m": PROFILE})
    assert not (tmp_path / "plan.json").exists()
    (tmp_path / "plan.json").write_text(json.dumps(wrong.model_dump(mode="json")))
    with pytest.raises(BadInputError, match=r"plan\.json: the plan breaks"):
        load_plan(tmp_path / "plan.json")


def test_a_plan_is_not_overwritten_unasked(plan, tmp_path: Path):
    save_plan(plan, tmp_path / "plan.json", {"m": PROFILE})
    with pytest.raises(BadInputError, match="--force"):
        save_plan(plan, tmp_path / "plan.json", {"m": PROFILE})


def test_dispatch_table_of_a_plan_done_by_hand(plan):
    # Batch 2: a gives 2 / 16 ms = 125/s a device, b 222/s; the link takes 1000.0008 us a sample, two
    # devices of a to a host. 375/s on a need two workers of b.
    table = dispatch_table(plan, {"m": PROFILE})
    assert [s.workers for s in plan.models[0].pipelines[0].stages] == [3, 2]
    assert table.slo_us.tolist() == [40_000]
    assert table.pipeline_offsets.tolist() == [0, 1]
    assert table.stage_offsets.tolist() == [0, 2]
    assert table.worker_offsets.tolist() == [0, 3, 5]
    assert table.pipeline_batch.tolist() == [2]
    assert table.latency_us.tolist() == [[0, 10_000, 16_000], [0, 5_000, 9_000]]
    assert table.p99_us.tolist() == table.latency_us.tolist()
    assert table.transfer_us.tolist() == [[0, 0, 0], [0, 1_001, 2_001]]
    # Devices of a: 0 and 2 (hosts 0, 1), then 1 (host 0). Hosts of b follow: 2, 3. Class "idle" has none.
    assert table.worker_host.tolist() == [0, 1, 0, 2, 3]
    assert table.worker_device.tolist() == [0, 2, 1, 3, 4]
    assert all(array.dtype == np.int64 for array in table)


def test_p99_of_a_span_adds_what_blocks_exceed_their_medians_in_quadrature():
    table = LatencyTable(
        np.array([[1_000], [2_000]], dtype=np.int64), np.array([[1_300], [2_400]], dtype=np.int64)
    )
    profile = replace(toy_profile("m", {("a", 1): [[1], [1]]}), tables={("a", 1): table})
    plan = PoolPlanner().plan(
        toy_scenario({"a": DeviceClass(count=1)}, [toy_model("m", 5_000)]), {"m": profile}
    )
    assert dispatch_table(plan.solution, {"m": profile}).p99_us.tolist() == [[0, 3_500]]
