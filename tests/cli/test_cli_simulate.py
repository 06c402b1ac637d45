"""``penstock simulate`` on a small plan, made by the planner."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner

from penstock.api.showing.summaries import over_seeds, seed_table
from penstock.cli.running.simulate import command
from penstock.errors import BadInputError
from penstock.plan.documents.scenario import load_profiles, load_scenario
from penstock.plan.documents.store import save_plan
from penstock.plan.interfaces import SearchLimits
from penstock.plan.planners.pool_planner import PoolPlanner
from penstock.profile.store import save_profile
from penstock.profile.table import Block, LatencyTable, Profile, Provenance
from penstock.record import load_record
from penstock.report.summary import ModelSummary

SCENARIO = """
version: 1
cluster:
  bandwidth_gbps: 10
  device_classes:
    fast: {count: 2}
    slow: {count: 3}
models:
  - {name: toy, profile: toy, slo_ms: 60, slo_margin: 0.4}
"""


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    """Blocks of 4 ms and 2 ms on the fast class, half as fast on the slow one; each further sample costs half."""
    folder = tmp_path_factory.mktemp("toy")
    latency = np.array([[4_000, 6_000], [2_000, 3_000]], np.int64)
    profile = Profile(
        model="toy",
        blocks=(Block("a", ("a",), 1, 1), Block("b", ("b",), 1, 1)),
        boundary_bytes=(1_000, 2_000, 500),
        tables={
            ("fast", 1): LatencyTable(latency, latency * 12 // 10, 20),
            ("slow", 1): LatencyTable(2 * latency, latency * 24 // 10, 20),
        },
        provenance=Provenance("measured", "toy", "none", "2025-01-01"),
    )
    save_profile(profile, folder / "toy")
    (folder / "scenario.yaml").write_text(SCENARIO)
    scenario = load_scenario(folder / "scenario.yaml")
    profiles = load_profiles(scenario, folder)
    made = PoolPlanner(SearchLimits()).plan(scenario, profiles).solution
    save_plan(made, folder / "plan.json")
    return folder / "plan.json"


def run(*arguments):
    wide = {"COLUMNS": "160"}
    result = CliRunner().invoke(command, [str(a) for a in arguments], catch_exceptions=False, env=wide)
    assert result.exit_code == 0, result.output
    return result


def test_json_has_every_figure_and_the_record_is_written(plan, tmp_path):
    result = run(plan, "--load", 0.5, "--seconds", 20, "--seed", 3, "-o", tmp_path / "run", "--json")
    document = json.loads(result.stdout)
    planned_rps = json.loads(plan.read_text())["models"][0]["rate_rps"]
    (model,) = document["models"]
    assert model["name"] == "toy"
    assert model["offered_rps"] == pytest.approx(0.5 * planned_rps, rel=0.1)
    assert model["goodput_rps"] == pytest.approx(model["attainment"] * model["offered_rps"])
    assert model["attainment"] > 0.95
    assert sum(model["outcomes"].values()) == model["requests"]
    assert document["wall_seconds"] > 0
    assert 0 < document["utilisation"]["fast"] < 1
    record = load_record(tmp_path / "run")
    assert document["requests"] == len(record.requests.request)
    warm = record.requests.arrival_us >= 2_000_000
    assert model["requests"] == int(warm.sum())


def test_same_seed_same_figures(plan):
    documents = [json.loads(run(plan, "--seconds", 5, "--seed", 4, "--json").stdout) for _ in range(2)]
    assert documents[0]["models"] == documents[1]["models"]


def test_table_for_people(plan):
    output = run(plan, "--seconds", 5, "--arrivals", "gamma:cv=4", "--no-noise").stdout
    assert "attainment" in output
    assert "slow" in output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--arrivals", "uniform"], "gamma:cv=4"),
        (["--load", "0"], "--load"),
        (["--seconds", "nan"], "--seconds"),
    ],
)
def test_bad_options(plan, arguments, message):
    with pytest.raises(BadInputError, match=message):
        run(plan, *arguments)


def test_an_existing_record_is_not_replaced(plan, tmp_path):
    (tmp_path / "run").mkdir()
    with pytest.raises(BadInputError, match="--force"):
        run(plan, "--seconds", 1, "-o", tmp_path / "run")


@pytest.mark.parametrize(("requests", "shown"), [(0, ("-", "-")), (4, ("100.00%", "0.00%"))])
def test_no_request_over_all_seeds_is_no_attainment(requests, shown):
    """A table of one run shows none either. It was 100% of nothing."""
    run = ModelSummary("toy", requests, requests, 0.1, 1.0, 0.1, -1.0, -1.0, -1.0, {"met": requests})
    (row,) = seed_table("Models", over_seeds([[run], [run]])).rows
    assert row[3:5] == shown
