"""``penstock traffic evaluate`` and ``check``."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from penstock.cli.exchange.traffic import command
from penstock.cli.traffic_verbs.evaluate_traffic import best_subjects
from penstock.errors import BadInputError
from penstock.traffic.fidelity import Measure
from penstock.traffic.generator.protocol import FitOptions, fit_generator
from penstock.traffic.machine import known_machine
from penstock.traffic.streams import split_streams, write_streams
from penstock.traffic.truth import simulate_truth


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Real streams in two files, and two bundles."""
    folder = tmp_path_factory.mktemp("streams")
    held_out, training = split_streams(simulate_truth(streams=400), 0.5, 0)
    write_streams(folder / "held.parquet", held_out)
    write_streams(folder / "train.csv", training)
    for method in ("smm", "replay"):
        (folder / method).mkdir()
        options = FitOptions(machine=known_machine("lte"), extra={"groups": 4})
        fit_generator(method, training, seed=0, options=options).save(folder / method)
    return folder


def run(*arguments):
    result = CliRunner().invoke(
        command, [str(a) for a in arguments], catch_exceptions=False, env={"COLUMNS": "160"}
    )
    assert result.exit_code == 0, result.output
    return result


def test_check(files):
    document = json.loads(run("check", files / "held.parquet", "--machine", "lte", "--json").stdout)
    assert document["streams"] == 200
    assert (document["events_breaking"], document["top"]) == (0, [])
    shown = run("check", files / "held.parquet", "--machine", "lte").stdout
    assert "against the machine lte" in shown
    with pytest.raises(BadInputError, match="unknown to the machine '5g'"):
        run("check", files / "held.parquet", "--machine", "5g")


def test_evaluate_side_by_side(files, tmp_path):
    subjects = [f"ours={files / 'smm'}", files / "replay"]
    real = ["--truth", files / "held.parquet", "--training", files / "train.csv", "--machine", "lte"]
    result = run("evaluate", *subjects, *real, "--figures", tmp_path / "figures", "--json")
    document = json.loads(result.stdout)
    assert [one["name"] for one in document["subjects"]] == ["ours", "replay"]
    ours, replay = ({m["name"]: m for m in one["measures"]} for one in document["subjects"])
    assert ours["streams breaking the machine"]["value"] == 0
    assert replay["memorised 16-grams"]["value"] == 1.0
    assert replay["whole streams copied"]["value"] > 0.9
    assert ours["lag-1 of IDLE"]["value"] < ours["lag-1 of IDLE"]["real"]
    assert set(document["wins"]) == {"ours", "replay"}
    assert sorted(path.name for path in (tmp_path / "figures").iterdir()) == [
        "mix.svg",
        "sizes.svg",
        "stays.svg",
    ]
    shown = run("evaluate", files / "train.csv", "--truth", files / "held.parquet")
    assert "real against real" in shown.stdout
    assert "gap" not in shown.stderr


def test_two_subjects_of_one_name(files):
    with pytest.raises(BadInputError, match="two subjects are called"):
        run("evaluate", files / "smm", files / "smm", "--truth", files / "held.parquet")


def test_the_nearest():
    def measure(value, truth=0.5, kind="level"):
        return Measure("x", kind, value, truth)

    assert best_subjects({"a": measure(0.4), "b": measure(0.7)}) == {"a"}
    assert best_subjects({"a": measure(0.4), "b": measure(0.6), "c": measure(None)}) == {"a", "b"}
    assert best_subjects({"a": measure(0.3, kind="share"), "b": measure(0.1, kind="share")}) == {"b"}
    assert best_subjects({"a": measure(0.4)}) == set()
