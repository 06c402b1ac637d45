"""``sweep``, ``plan --hold``, ``compare`` and the figures of a comparison, on one small scenario."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from click.testing import CliRunner

from penstock.api.results.comparison_result import Comparison, ComparisonResult
from penstock.cli.planning import compare, plan
from penstock.cli.running import report, simulate, sweep
from penstock.errors import BadInputError
from penstock.profile.store import save_profile
from penstock.profile.table import Block, LatencyTable, Profile, Provenance

SCENARIO = """
version: 1
cluster:
  bandwidth_gbps: 10
  device_classes:
    fast: {count: 3}
    slow: {count: 4}
models:
  - {name: toy, profile: toy, slo_ms: 120}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Blocks of 4 ms and 2 ms on the fast class, half as fast on the slow one; each further sample costs half."""
    folder = tmp_path_factory.mktemp("toy")
    latency = np.array([[4_000, 6_000], [2_000, 3_000]], np.int64)
    profile = Profile(
        model="toy",
        blocks=(Block("a", ("a",), 1, 1), Block("b", ("b",), 1, 1)),
        boundary_bytes=(1_000, 2_000, 500),
        tables={("fast", 1): LatencyTable(latency), ("slow", 1): LatencyTable(2 * latency)},
        provenance=Provenance("measured", "toy", "none", "2025-01-01"),
    )
    save_profile(profile, folder / "toy")
    (folder / "scenario.yaml").write_text(SCENARIO)
    return folder


def run(module, *arguments):
    result = CliRunner().invoke(
        module.command, [str(a) for a in arguments], catch_exceptions=False, env={"COLUMNS": "160"}
    )
    assert result.exit_code == 0, result.output
    return result


@pytest.fixture(scope="module")
def held(folder):
    """A plan of the closed loop."""
    path = folder / "held.json"
    run(plan, folder / "scenario.yaml", "--hold", 0.95, "-o", path)
    return path


def test_a_held_plan_holds_at_load_1_on_seeds_of_its_own(held):
    document = json.loads(held.read_text())
    (model,) = document["models"]
    assert document["verification"]["target"] == 0.95
    assert model["verified"]["attainment"] >= 0.95
    # 3 fast devices of 2 / 9 ms and 4 slow ones of half that: 1111/s, if they were never idle.
    assert 0.7 * 1111 < model["verified"]["rate_rps"] < 1.06 * 1111
    again = json.loads(run(simulate, held, "--seed", 500, "--seconds", 60, "--json").stdout)["models"][0]
    assert again["offered_rps"] == pytest.approx(model["verified"]["rate_rps"], rel=0.03)
    assert again["attainment"] > 0.93


def test_sweep_is_relative_to_the_verified_rate(held):
    document = json.loads(
        run(sweep, held, "--attainment", 0.95, "--seconds", 20, "--seeds", 2, "--json").stdout
    )
    (model,) = document["models"]
    assert model["name"] == "toy"
    assert model["load_factor"] == pytest.approx(1.0, abs=0.05)
    assert model["goodput_rps"] == pytest.approx(model["load_factor"] * model["planned_rps"])
    assert model["low_rps"] <= model["goodput_rps"] <= model["high_rps"]
    text = run(sweep, held, "--seconds", 5, "--seeds", 1).stdout
    assert "load factor" in text
    assert re.search(r"^ +toy .* - ", text, re.MULTILINE), "one run has no interval"


def test_sweep_knows_policies_that_decide_by_stage(held):
    (model,) = json.loads(run(sweep, held, "--policy", "reactive", "--seconds", 5, "--json").stdout)["models"]
    # The policies differ, but both serve the same pools within a tenth of what these can do.
    assert 0.5 < model["load_factor"] < 1.2


def test_compare_and_its_figures(folder, tmp_path):
    options = ["--planner", "np", "--seconds", 3, "--seeds", 2, "--json"]
    output = run(compare, folder / "scenario.yaml", *options)
    document = json.loads(output.stdout)
    (scenario,) = document["scenarios"]
    systems = {system["planner"]: system for system in scenario["systems"]}
    assert list(systems) == ["published", "np", "closed-loop"]
    assert systems["published"]["ratio"] == 1.0
    assert systems["closed-loop"]["margin"] is None
    for system in systems.values():
        assert system["goodput_rps"] <= 1.06 * scenario["fluid_rps"]  # 1% may miss, and 3 s are a sample
        assert all(0 < busy <= 1 for busy in system["utilisation"].values())
    names = [row["name"] for row in document["summary"]]
    assert names == [system["name"] for system in scenario["systems"]]
    (tmp_path / "compare.json").write_text(output.stdout)
    run(report, tmp_path / "compare.json", "--figures", tmp_path / "figures")
    drawn = {path.stem for path in (tmp_path / "figures").iterdir()}
    assert {"load-factor-at-99-by-scenario", "utilisation-of-fast", "attainment-over-load-scenario"} <= drawn


@pytest.mark.parametrize(("seeds", "shown"), [(1, "-"), (2, "80-100")])
def test_one_run_has_no_interval(seeds, shown):
    model = {"load_factor": 0.9, "low_rps": 80.0, "high_rps": 100.0}
    system = {"name": "np", "margin": 0.1, "goodput_rps": 90.0, "ratio": 1.0, "share_of_fluid": 0.9}
    system = {**system, "share_of_bound": 0.9, "models": [model]}
    asked = Comparison(("np",), ("penstock",), 0.99, ("poisson",), 1.0, seeds, False)
    found = ComparisonResult(asked, ({"scenario": "s", "systems": [system]},), (), {})
    assert found.parts()[0].rows[0][-1] == shown


def test_a_damaged_comparison_is_refused(tmp_path):
    (tmp_path / "compare.json").write_text('{"attainment": 0.99, "scenarios": [{"systems": [{}]}]}')
    with pytest.raises(BadInputError, match="compare --json"):
        run(report, tmp_path / "compare.json", "--figures", tmp_path / "figures")
