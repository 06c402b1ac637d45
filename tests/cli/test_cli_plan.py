"""``penstock plan`` at a terminal."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from penstock.cli.main import cli
from penstock.plan.documents.store import load_plan

PROFILE = {
    "version": 1,
    "model": {"name": "m"},
    "blocks": [
        {"name": f"b{i}", "operators": [], "parameter_bytes": 0, "peak_activation_bytes": 0} for i in range(2)
    ],
    "boundary_bytes": [0, 1000, 0],
    "provenance": {"kind": "measured", "device": "toy", "software": "toy", "date": "2025-01-01"},
}
LATENCY = "device_class,share,block,batch,latency_us\nfast,1,b0,1,10000\nfast,1,b1,1,10000\n"


@pytest.fixture
def scenario(tmp_path: Path) -> Path:
    folder = tmp_path / "profiles" / "m"
    folder.mkdir(parents=True)
    (folder / "profile.json").write_text(json.dumps(PROFILE))
    (folder / "latency.csv").write_text(LATENCY)
    path = tmp_path / "scenarios" / "s.yaml"
    path.parent.mkdir()
    path.write_text(yaml.safe_dump(document()))
    return path


def document(slo_us: int = 50_000) -> dict[str, Any]:
    return {
        "version": 1,
        "cluster": {"bandwidth_gbps": 10, "device_classes": {"fast": {"count": 3}}},
        "models": [{"name": "m", "profile": "../profiles/m", "slo_us": slo_us}],
    }


def penstock(*arguments: object, verb: str = "plan") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from penstock.cli.main import main; main()", verb]
    return subprocess.run(
        [*command, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=60
    )


def two_models(scenario: Path, memory_gb: float) -> Path:
    """Two models of 2 GB each on the profile above, devices of ``memory_gb``."""
    profile = {**PROFILE, "blocks": [{**block, "parameter_bytes": 10**9} for block in PROFILE["blocks"]]}
    (scenario.parent.parent / "profiles" / "m" / "profile.json").write_text(json.dumps(profile))
    asked = document()
    asked["models"].append({**asked["models"][0], "name": "n"})
    asked["cluster"]["device_classes"]["fast"]["memory_gb"] = memory_gb
    # Whole models only: a cut in the middle serves as much, and its pieces are smaller.
    asked["planner"] = {"max_stages": 1}
    scenario.write_text(yaml.safe_dump(asked))
    return scenario


def test_pools_are_shared_where_asked_for(scenario: Path, tmp_path: Path):
    out = tmp_path / "p.json"
    done = penstock(two_models(scenario, 4.0), "--shared-pools", "-o", out)
    assert done.returncode == 0, done.stderr
    assert "pools      shared" in done.stdout
    assert load_plan(out).plan.shared_pools


def test_pools_that_do_not_fit_the_memory_are_not_shared(scenario: Path, tmp_path: Path):
    out = tmp_path / "p.json"
    done = penstock(two_models(scenario, 3.9), "--shared-pools", "-o", out)
    assert done.returncode == 3
    assert "m [0, 2), n [0, 2), 4.000 GB, it has 3.900 GB" in done.stderr
    assert not out.exists()
    assert penstock(scenario).returncode == 0


def test_a_plan_is_printed_written_and_loads(scenario: Path, tmp_path: Path):
    out = tmp_path / "plans" / "p.json"
    done = penstock(scenario, "-o", out)
    assert done.returncode == 0, done.stderr
    assert "objective  150.0000" in done.stdout
    loaded = load_plan(out)
    assert loaded.plan.objective == pytest.approx(150.0)
    assert penstock(scenario, "-o", out).returncode == 2
    assert penstock(scenario, "-o", out, "--force", "--planner", "np").returncode == 0
    assert load_plan(out).plan.planner == "np"


def test_json_is_one_document_with_the_proof(scenario: Path):
    done = penstock(scenario, "--json")
    printed = json.loads(done.stdout)
    assert printed["objective"] <= printed["bound"] == pytest.approx(150.0)
    assert printed["gap"] <= 1e-4
    assert printed["status"].startswith("optimal")
    assert printed["solve_seconds"] > 0


def test_what_plan_and_replan_print_loads_as_a_plan(scenario: Path, tmp_path: Path, monkeypatch):
    def objective_of(*arguments: str) -> float:
        printed = CliRunner().invoke(cli, [*arguments, "--json"], catch_exceptions=False).stdout
        Path("p.json").write_text(printed)
        return load_plan(Path("p.json")).plan.objective

    monkeypatch.chdir(tmp_path)
    assert objective_of("plan", "scenarios/s.yaml") == pytest.approx(150.0)
    assert objective_of("replan", "p.json", "--lost", "fast:0") == pytest.approx(100.0)


def test_the_loss_of_every_device_is_exit_status_3(scenario: Path, tmp_path: Path):
    penstock(scenario, "-o", tmp_path / "p.json")
    done = penstock(
        tmp_path / "p.json", "--lost", "fast:0", "--lost", "fast:host1", "--lost", "fast:2", verb="replan"
    )
    assert done.returncode == 3
    assert "every device is lost" in done.stderr


def test_the_bound_of_device_time_is_not_called_the_space_s(scenario: Path):
    assert "(no plan of this space exceeds it)" in penstock(scenario).stdout
    assert "(from device time: no plan exceeds it" in penstock(scenario, "--planner", "even").stdout


def test_no_plan_is_exit_status_3_with_the_nearest_slo(scenario: Path, tmp_path: Path):
    scenario.write_text(yaml.safe_dump(document(slo_us=30_000)))
    out = tmp_path / "p.json"
    done = penstock(scenario, "-o", out)
    assert done.returncode == 3
    # 20 ms and the default margin of 40%: 33.333 ms, whose margin rounds to 13.333 ms.
    assert "nearest feasible SLO is 33333 us" in done.stderr
    assert not out.exists()
    scenario.write_text(yaml.safe_dump(document(slo_us=33_333)))
    assert penstock(scenario, "-o", out).returncode == 0


def test_a_bad_scenario_is_exit_status_2(scenario: Path):
    scenario.write_text("version: 1\n")
    done = penstock(scenario)
    assert done.returncode == 2
    assert "cluster" in done.stderr


def test_capacity_prints_the_curve_and_the_worth_of_devices(scenario: Path):
    # Three devices of 50/s; one more is 50/s more.
    asked = document()
    asked["cluster"] = {"bandwidth_gbps": 10, "device_classes": {"fast": {"count": 3, "hourly_cost": 2.0}}}
    scenario.write_text(yaml.safe_dump(asked))
    done = penstock(scenario, "--points", 3, "--json", verb="capacity")
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert [point["hourly_cost"] for point in printed["curve"]] == pytest.approx([2.0, 4.0, 6.0])
    assert printed["one_more"][0]["worth"] == pytest.approx(50.0)
    assert "One more device" in penstock(scenario, "--points", 1, verb="capacity").stdout


def test_capacity_counts_devices_in_service_and_names_classes_without_latencies(scenario: Path):
    asked = document()
    asked["cluster"]["device_classes"] = {"fast": {"count": 3, "lost": [1]}, "unknown": {"count": 0}}
    scenario.write_text(yaml.safe_dump(asked))
    done = penstock(scenario, verb="capacity")
    assert "unknown: the worth of one more is unknown: its price, or its latencies" in done.stderr
    row = next(line.split() for line in done.stdout.splitlines() if line.split()[:1] == ["fast"])
    assert row[:3] == ["fast", "2", "150.0000"]


def test_a_demand_that_cannot_be_met_is_exit_status_3_with_the_part_that_can(scenario: Path):
    asked = document()
    asked["cluster"] = {"bandwidth_gbps": 10, "device_classes": {"fast": {"count": 3, "hourly_cost": 2.0}}}
    asked["models"][0]["rate_rps"] = 300
    asked["planner"] = {"objective": "cost"}
    scenario.write_text(yaml.safe_dump(asked))
    done = penstock(scenario)
    assert done.returncode == 3
    assert "0.5000 (m 150 of 300 requests/s)" in done.stderr
    asked["models"][0]["rate_rps"] = 80
    scenario.write_text(yaml.safe_dump(asked))
    assert "objective  4.0000 an hour" in penstock(scenario).stdout


def test_the_planners_named_in_help_are_those_there_are():
    from penstock.cli.planning.plan import PLANNER_NAMES
    from penstock.plan.planners.by_name import PLANNERS

    assert tuple(PLANNERS) == PLANNER_NAMES
