"""``penstock import ppipe``: what it writes, what it refuses, and that a refusal leaves nothing behind."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from penstock.cli.main import cli
from penstock.errors import BadInputError
from penstock.plan.documents.scenario import load_profiles, load_scenario
from penstock.plan.documents.store import load_plan
from penstock.profile.store import load_profile
from ppipe_artifact import DUO, SOLO, write_artifact

DATA = Path(__file__).parents[2] / ".." / "shared" / "data" / "ppipe-artifact"


@pytest.fixture
def artifact(tmp_path):
    return write_artifact(tmp_path / "artifact")


def run(*arguments):
    return CliRunner().invoke(cli, ["import", "ppipe", *map(str, arguments)], catch_exceptions=True)


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_writes_profiles_scenarios_and_plans(artifact, tmp_path):
    out = tmp_path / "out"
    result = run(artifact, "-o", out, "--json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["profiles"] == ["profiles/net-a_v1", "profiles/net-b"]
    for group in ("profiles", "scenarios", "plans"):
        assert all((out / name).exists() for name in document[group])
    assert {path.name for path in out.iterdir()} == {"profiles", "scenarios", "plans"}
    assert load_profile(out / "profiles" / "net-b").boundary_bytes == (200, 200, 200, 200)


def test_what_is_written_loads_where_it_lies(artifact, tmp_path):
    out = tmp_path / "out"
    assert run(artifact, "-o", out).exit_code == 0
    scenario = load_scenario(out / "scenarios" / f"duo-{DUO}.yaml")
    assert set(load_profiles(scenario, out / "scenarios")) == {"net-a_v1", "net-b"}
    loaded = load_plan(out / "plans" / f"solo-{SOLO}-ppipe.json")
    assert loaded.plan.planner == "ppipe"
    assert loaded.profiles.keys() == {"net-a_v1"}


def test_nothing_is_replaced_without_force_and_other_files_never(artifact, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("kept")
    assert run(artifact, "-o", out).exit_code == 0
    before = files(out)
    (artifact / "models/block-timing-tf32/net-b-H-1.csv").write_text("700\n0\n700\n")
    refused = run(artifact, "-o", out)
    assert isinstance(refused.exception, BadInputError)
    assert "exists already" in str(refused.exception)
    assert files(out) == before
    assert run(artifact, "-o", out, "--force").exit_code == 0
    after = files(out)
    changed = {name for name in before if before[name] != after[name]}
    # The plans that net-b is in change too: their bound follows from its latencies.
    assert {name for name in changed if "plans" not in name} == {"profiles/net-b/latency.csv"}
    assert not any(SOLO in name for name in changed if "duo" not in name)
    assert after.keys() == before.keys()


@pytest.mark.parametrize(
    "missing",
    [
        "models/shapes/net-b.json",
        f"plans/duo/{DUO}_v4.json",
        "prepartition_mappings/net-a_v1/contraction_trans-size_x.csv",
    ],
)
def test_a_folder_that_is_partly_wrong_leaves_nothing_behind(artifact, tmp_path, missing):
    (artifact / missing).unlink()
    result = run(artifact, "-o", tmp_path / "out")
    assert isinstance(result.exception, BadInputError)
    assert Path(missing).stem.rsplit("_v4")[0].split("_x")[0] in str(result.exception)
    assert not (tmp_path / "out").exists()


def test_a_plan_that_fails_its_check_leaves_nothing_behind(artifact, tmp_path):
    path = artifact / "plans" / "solo" / f"{SOLO}_v4.json"
    path.write_text(path.read_text().replace('"sla": 40000.7', '"sla": 13000.0'))
    other = path.with_name(f"{SOLO}_bl.json")
    other.write_text(other.read_text().replace('"sla": 40000.7', '"sla": 13000.0'))
    # 4,000 + 6,000 + 1,000 us with a margin of 4,000 does not fit 13,000.
    result = run(artifact, "-o", tmp_path / "out")
    assert isinstance(result.exception, BadInputError)
    assert f"/plans/solo/{SOLO}_" in str(result.exception)
    assert "the plan breaks 1 rule" in str(result.exception)
    assert not (tmp_path / "out").exists()


def test_a_file_in_the_place_of_the_output_stays(artifact, tmp_path):
    (tmp_path / "out").write_text("kept")
    result = run(artifact, "-o", tmp_path / "out", "--force")
    assert isinstance(result.exception, BadInputError)
    assert "is a file, which a folder does not replace" in str(result.exception)
    assert (tmp_path / "out").read_text() == "kept"


@pytest.mark.data
@pytest.mark.slow
def test_the_whole_artifact(tmp_path):
    if not DATA.is_dir():
        pytest.skip("reference data ../shared/data/ppipe-artifact is absent")
    result = run(DATA, "-o", tmp_path / "out", "--json")
    assert result.exit_code == 0, result.exception
    document = json.loads(result.stdout)
    assert {group: len(document[group]) for group in ("profiles", "scenarios", "plans")} == {
        "profiles": 28,
        "scenarios": 26,
        "plans": 68,
    }
