"""``penstock explain``, ``diff`` and ``replan`` at a terminal, on the scenario of docs/explaining.md."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from penstock.cli.main import cli
from penstock.errors import BadInputError, InfeasibleError
from penstock.plan.documents.store import load_plan

PAGE = Path(__file__).parents[2] / "docs" / "explaining.md"
PROFILE = {
    "version": 1,
    "model": {"name": "detector"},
    "blocks": [
        {"name": f"b{i}", "operators": [], "parameter_bytes": 0, "peak_activation_bytes": 0} for i in range(3)
    ],
    "boundary_bytes": [0, 600_000, 200_000, 0],
    "provenance": {"kind": "measured", "device": "toy", "software": "toy", "date": "2025-01-01"},
}
BLOCKS_US = {"L4": (4_000, 3_000, 3_000), "T4": (16_000, 9_000, 8_000)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The scenario of the page and its plan; batch 2 takes 1.8 times as long as batch 1."""
    profile = tmp_path / "profiles" / "detector"
    profile.mkdir(parents=True)
    (profile / "profile.json").write_text(json.dumps(PROFILE))
    rows = [
        f"{name},1,b{i},{batch},{round(us * (0.2 + 0.8 * batch))}"
        for name, blocks in BLOCKS_US.items()
        for i, us in enumerate(blocks)
        for batch in (1, 2)
    ]
    (profile / "latency.csv").write_text("\n".join(["device_class,share,block,batch,latency_us", *rows]))
    found = re.search(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found is not None
    (tmp_path / "scenario.yaml").write_text(found[1])
    done = run("plan", tmp_path / "scenario.yaml", "-o", tmp_path / "plan.json")
    assert done.exit_code == 0
    return tmp_path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def with_slo_ms(folder: Path, slo_ms: float) -> Path:
    document = yaml.safe_load((folder / "scenario.yaml").read_text())
    document["models"][0]["slo_ms"] = slo_ms
    path = folder / f"slo-{slo_ms}.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def lines_of(text: str) -> set[str]:
    return {line.rstrip() for line in text.splitlines() if line.strip()}


def test_the_page_shows_what_the_commands_print(folder: Path):
    tight = folder / "tight.json"
    assert run("plan", with_slo_ms(folder, 25), "-o", tight).exit_code == 0
    refused = run("plan", with_slo_ms(folder, 10)).exception
    assert isinstance(refused, InfeasibleError)
    printed = [
        run("explain", folder / "plan.json").stdout,
        run("explain", tight).stdout,
        run("replan", folder / "plan.json", "--lost", "L4:0", "--curve").stdout,
    ]
    done = run("replan", folder / "plan.json", "--lost", "L4:0", "--moves", 1, "-o", folder / "new.json")
    assert done.exit_code == 0
    printed.append(run("diff", folder / "plan.json", folder / "new.json").stdout)
    shown = lines_of("\n".join(re.findall(r"```text\n(.*?)```", PAGE.read_text(), re.DOTALL)))
    known = lines_of("\n".join(printed))
    assert [line for line in shown - known if line not in str(refused)] == []


def test_explain_as_json_holds_slack_and_worths(folder: Path):
    found = json.loads(run("explain", folder / "plan.json", "--json").stdout)
    assert [c["device_class"] for c in found["classes"]] == ["L4", "T4"]
    assert all(slack["slack_us"] >= 0 for slack in found["slack"])
    assert found["relaxation"] >= 722.0
    assert found["slos"][0]["better_slo_us"] > 50_000


def test_diff_and_replan_as_json_agree(folder: Path):
    new = folder / "new.json"
    done = run("replan", folder / "plan.json", "--lost", "L4:0", "--moves", 1, "-o", new, "--json")
    made = json.loads(done.stdout)
    compared = json.loads(run("diff", folder / "plan.json", new, "--json").stdout)
    assert made["difference"] == compared
    assert compared["loads"] == 1
    plan = load_plan(new).plan
    assert plan.objective == made["objective"] == pytest.approx(611.1111, abs=1e-4)
    assert plan.scenario.cluster.device_classes["L4"].lost == (0,)


def test_a_host_and_a_changed_scenario(folder: Path):
    done = run(
        "replan", folder / "plan.json", with_slo_ms(folder, 40), "--lost", "T4:host4", "--moves", 0, "--json"
    )
    plan = json.loads(done.stdout)
    # Host 4 of 9 devices in pairs holds device 8 alone.
    assert plan["scenario"]["cluster"]["device_classes"]["T4"]["lost"] == [8]
    assert plan["models"][0]["slo_us"] == 40_000
    assert plan["difference"]["loads"] == 0
    curve = json.loads(run("replan", folder / "plan.json", "--lost", "T4:8", "--curve", "--json").stdout)
    assert curve["points"][-1]["objective"] == pytest.approx(curve["fresh_objective"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--lost", "L4"), "'L4' names no device"),
        (("--lost", "A100:1"), "no device class 'A100'"),
        (("--lost", "L4:4"), "devices 0 to 3"),
        (("--lost", "L4:host2"), "2 to a host"),
        (("--curve", "--moves", "3"), "--curve"),
    ],
)
def test_what_cannot_be_is_refused(folder: Path, arguments: tuple[str, ...], message: str):
    refused = run("replan", folder / "plan.json", *arguments).exception
    assert isinstance(refused, BadInputError)
    assert message in str(refused)
    written = run("replan", folder / "plan.json", "-o", folder / "plan.json").exception
    assert isinstance(written, BadInputError)


def demanding(folder: Path, objective: str) -> Path:
    """The page's scenario with a demand that half the fleet meets."""
    document = yaml.safe_load((folder / "scenario.yaml").read_text())
    document["models"][0]["rate_rps"] = 300.0
    document["planner"] = {"objective": objective}
    for spec in document["cluster"]["device_classes"].values():
        spec["hourly_cost"] = 1.0
    path = folder / f"{objective}.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


@pytest.mark.parametrize(
    ("objective", "worth", "unit"),
    [
        ("throughput", "in parts of every demand", "of every demand"),
        ("cost", "in an hour", "an hour for the devices used"),
    ],
)
def test_worths_are_in_the_unit_of_the_objective(folder: Path, objective: str, worth: str, unit: str):
    plan = folder / "asked.json"
    assert run("plan", demanding(folder, objective), "-o", plan).exit_code == 0
    printed = run("explain", plan).stdout
    assert f"worth of one more {worth}" in " ".join(printed.split())
    assert f"{unit}\n" in printed
    assert "-0.0000" not in printed
    assert ("the demand is met without them" in printed) == (objective == "cost")
    assert " is free" not in printed or objective == "throughput"


def test_replan_gives_each_objective_its_unit(folder: Path):
    printed = run("replan", folder / "plan.json", demanding(folder, "cost")).stdout
    assert "722.2222 requests/s before" in printed
    assert "an hour for the devices used after" in printed


def test_a_plan_of_fewer_pipelines_says_whose_worths_these_are(folder: Path):
    narrow = folder / "np.json"
    assert run("plan", folder / "scenario.yaml", "--planner", "np", "-o", narrow).exit_code == 0
    assert "that the planner penstock can use; np uses fewer" in run("explain", narrow).stdout
    assert "uses fewer" not in run("explain", folder / "plan.json").stdout
    assert json.loads(run("explain", narrow, "--json").stdout)["planner"] == "np"
