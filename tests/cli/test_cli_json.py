"""``penstock VERB --json`` prints one JSON document on standard output and nothing else, also when it fails.

In real processes: only there do C libraries and child processes print where a document should be.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from penstock.cli.main import VERBS
from ppipe_artifact import write_artifact

PENSTOCK = [sys.executable, "-c", "from penstock.cli.main import main; main()"]


def run(*arguments: object, folder: Path, timeout_s: float = 540.0) -> tuple[int, Any]:
    """Exit status and document; ``json.tool`` reads standard output as a user's pipe would."""
    made = subprocess.run(
        [*PENSTOCK, *map(str, arguments), "--json"],
        cwd=folder,
        capture_output=True,
        check=False,
        timeout=timeout_s,
    )
    read = subprocess.run(
        [sys.executable, "-m", "json.tool"], input=made.stdout, capture_output=True, check=False
    )
    assert read.returncode == 0, (made.stdout, made.stderr)
    return made.returncode, json.loads(read.stdout)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, its profile, a scenario, two plans, a record and an artifact, all made by the verbs."""
    made = tmp_path_factory.mktemp("verbs")
    for arguments in MAKING:
        if arguments[0] == "plan":
            (made / "scenario.yaml").write_text(yaml.safe_dump(SCENARIO))
        status, document = run(*arguments, folder=made)
        assert status == 0, (arguments, document)
    write_artifact(made / "artifact")
    return made


SCENARIO = {
    "version": 1,
    "cluster": {
        "bandwidth_gbps": 10,
        "device_classes": {"L4": {"count": 2, "hourly_cost": 1.0}, "T4": {"count": 2, "hourly_cost": 0.5}},
    },
    "models": [{"name": "m", "profile": "profile", "slo_us": 50_000, "rate_rps": 10.0}],
}
MAKING = (
    ("zoo", "squeezenet1_1", "-o", "model.onnx"),
    ("profile", "model.onnx", "--predict", "L4", "--predict", "T4", "--max-batch", "2", "-o", "profile"),
    ("plan", "scenario.yaml", "-o", "plan.json"),
    ("plan", "scenario.yaml", "--planner", "np", "-o", "whole.json"),
    ("simulate", "plan.json", "--load", "0.5", "--seconds", "1", "-o", "record"),
)
"""These verbs are tried by making what the others need."""

TRIED = {
    "partition": ("model.onnx", "--device-class", "T4", "-k", "2", "--time-limit", "1"),
    "explain": ("plan.json",),
    "diff": ("plan.json", "whole.json"),
    "replan": ("plan.json", "scenario.yaml", "--time-limit", "5"),
    "capacity": ("scenario.yaml", "--time-limit", "5"),
    "autoscale": (
        "scenario.yaml",
        "--rate",
        "m=20",
        "--seconds",
        "120",
        "--every-seconds",
        "30",
        "--node-seconds",
        "20",
    ),
    "sweep": ("plan.json", "--seconds", "1", "--seeds", "2", "--tolerance", "0.1"),
    "compare": ("scenario.yaml", "--planner", "np", "--policy", "edf", "--seconds", "1", "--seeds", "2"),
    "traffic": ("describe", "poisson", "--rate", "50", "--seconds", "2"),
    "report": ("record", "-o", "page.html"),
    "import": ("ppipe", "artifact", "-o", "imported"),
    "export": ("ppipe", "plan.json", "-o", "exported.json"),
    "warm-up": (),
    "doctor": (),
    "replay": ("record", "--plan", "plan.json"),
    "device": ("simulate", "--jobs", "100", "--load", "0.5", "--setup", "srpt"),
}
ELSEWHERE = {"demo", "load"}
"""``load`` needs a server, ``demo`` two minutes: below."""

OF_A_SERVER = {"conformance", "top"}
"""They ask a running server, and print one document of it: tests/serve."""

WITHOUT_DOCUMENT = {"serve", "switch", "join-record", "completion"}
"""They have no document but that of an error."""


def test_no_verb_is_forgotten() -> None:
    assert {
        *TRIED,
        *ELSEWHERE,
        *OF_A_SERVER,
        *WITHOUT_DOCUMENT,
        *(arguments[0] for arguments in MAKING),
    } == set(VERBS)


@pytest.mark.slow
@pytest.mark.parametrize("verb", TRIED)
def test_a_verb_prints_one_document(folder: Path, verb: str) -> None:
    status, document = run(verb, *TRIED[verb], folder=folder)
    assert status == 0, document
    assert "error" not in document


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_that_fails_prints_one_document(tmp_path: Path, verb: str) -> None:
    status, document = run(verb, "--no-such-option", folder=tmp_path)
    assert status == 2
    assert document["exit_status"] == 2
    assert "--no-such-option" in document["error"]


def test_load_without_a_server_prints_one_document(tmp_path: Path) -> None:
    status, document = run(
        "load", "http://127.0.0.1:9", "--model", "m", "--rate", "1", "--seconds", "1", folder=tmp_path
    )
    assert status == document["exit_status"] != 0


@pytest.mark.slow
def test_demo_prints_one_document(tmp_path: Path) -> None:
    status, document = run("demo", "-o", "out", folder=tmp_path)
    assert status == 0, document
    assert len(document["rows"]) > 0
    assert (tmp_path / "out" / "report.html").exists()
