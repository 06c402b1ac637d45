"""``penstock device simulate`` and ``sweep``: documents that add up, figures, and errors that say what to do."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from penstock.cli.main import cli
from penstock.errors import BadInputError


def document(*arguments: str) -> dict:
    result = CliRunner().invoke(cli, ["device", *arguments, "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_simulate_prints_figures_per_model_that_add_up(tmp_path: Path) -> None:
    found = document(
        "simulate", "--mix", "equal-work", "--jobs", "200", "--load", "0.4", "--load", "0.6",
        "--setup", "srpt", "--setup", "direct-ms", "--notice-us", "25", "--figures", str(tmp_path / "f"),
    )  # fmt: skip
    assert [(run["load"], run["setup"]) for run in found["runs"]] == [
        (0.4, "srpt"), (0.4, "direct-ms"), (0.6, "srpt"), (0.6, "direct-ms"),
    ]  # fmt: skip
    for run in found["runs"]:
        assert sum(run["stack_ms"].values()) == pytest.approx(run["mean_ms"])
        assert set(run["models"]) == {"resnet18", "inceptionv3"}
    assert {file.name for file in (tmp_path / "f").iterdir()} == {
        "latency-over-rate.svg",
        "mean-latency-over-rate-by-model.svg",
    }


def test_simulate_takes_models_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "models.json"
    file.write_text(
        json.dumps([{"name": "a", "segment_ms": [2, 3], "slo_ms": 40}, {"name": "b", "segment_ms": [1]}])
    )
    found = document(
        "simulate", "--models", str(file), "--jobs", "50", "--load", "0.1", "--setup", "fifo", "--slo", "4"
    )
    assert found["models"] == [
        {"name": "a", "own_ms": 5.0, "segments": 2, "slo_ms": 40.0},
        {"name": "b", "own_ms": 1.0, "segments": 1, "slo_ms": 4.0},
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "not JSON"),
        ("[]", "not empty"),
        ('[{"name": "a"}]', "entry 0 must have name and segment_ms"),
        ('[{"name": "a", "segment_ms": 3}]', "must be a list"),
        ('[{"name": "a", "segment_ms": [-1]}]', "finite number > 0"),
        ('[{"name": "a", "segment_ms": [1], "share": "much"}]', "finite number > 0"),
    ],
)
def test_bad_models_name_the_entry_and_the_rule(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "models.json"
    file.write_text(text)
    with pytest.raises(BadInputError, match=says):
        CliRunner().invoke(cli, ["device", "simulate", "--models", str(file)], catch_exceptions=False)
    with pytest.raises(BadInputError, match="must be one of fifo"):
        CliRunner().invoke(cli, ["device", "simulate", "--setup", "best"], catch_exceptions=False)


def test_sweep_finds_a_load_and_says_how_fair(tmp_path: Path) -> None:
    found = document(
        "sweep", "--mix", "equal-work", "--jobs", "150", "--seeds", "1", "--attainment", "90%",
        "--setup", "moore-hodgson", "--setup", "job-by-job", "--figures", str(tmp_path / "f"),
    )  # fmt: skip
    held = {row["setup"]: row["load_all_jobs"] for row in found["held"]}
    assert found["attainment"] == 0.9
    assert held["moore-hodgson"] > held["job-by-job"]
    assert all(0 < row["jain_of_service"] <= 1 for row in found["theta"])
    assert len(list((tmp_path / "f").iterdir())) == 2
    result = CliRunner().invoke(cli, ["device", "sweep", "--attainment", "150%"])
    assert result.exit_code == 2
