"""``penstock VERB --json`` prints one JSON document on standard output and nothing else, also when it fails.

In real processes: only there do C libraries and child processes print where a document should be.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
import yaml

from penstock.cli.main import cli
from penstock.traffic.streams import split_streams, write_streams
from penstock.traffic.truth import simulate_truth
from ppipe_artifact import write_artifact

PENSTOCK = [sys.executable, "-c", "from penstock.cli.main import main; main()"]


def verbs_of(group: click.Group, before: str = "") -> Iterator[str]:
    """Every verb with a verb of its own behind it, such as ``traffic fit``."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from verbs_of(command, f"{before}{name} ")
        else:
            yield f"{before}{name}"


VERBS = tuple(verbs_of(cli))


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
    """What the verbs ask for. Models, profiles, plans, records and bundles are made by the verbs themselves."""
    made = tmp_path_factory.mktemp("verbs")
    held_out, training = split_streams(simulate_truth(streams=60), 0.5, 0)
    write_streams(made / "held-out.csv", held_out)
    write_streams(made / "training.csv", training)
    gaps_s = np.random.default_rng(0).exponential(0.02, 2000)
    (made / "arrivals.csv").write_text("\n".join(["time_s", *map(str, np.cumsum(gaps_s))]))
    (made / "metrics-model-inference.csv").write_text(OF_MODEL_ANALYZER)
    for arguments in MAKING:
        if arguments[0] == "plan":
            (made / "scenario.yaml").write_text(yaml.safe_dump(SCENARIO))
        status, document = run(*arguments, folder=made)
        assert status == 0, (arguments, document)
    write_artifact(made / "artifact")
    return made


OF_MODEL_ANALYZER = """Model,Batch,Concurrency,Model Config Path,Instance Group,p99 Latency (ms),Avg Latency (ms)
m,1,1,m_config_default,1:GPU,3.0,2.0
m,8,1,m_config_default,1:GPU,9.0,8.0
"""


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
    ("traffic", "fit", "training.csv", "--method", "smm", "--machine", "lte", "-o", "bundle"),
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
    "traffic check": ("held-out.csv", "--machine", "lte"),
    "traffic convert": ("arrivals.csv", "-o", "converted.csv"),
    "traffic describe": ("poisson", "--rate", "50", "--seconds", "2"),
    "traffic evaluate": ("bundle", "--truth", "held-out.csv"),
    "traffic generate": ("bundle", "--streams", "5", "-o", "drawn.csv"),
    "traffic trial": ("plan.json", "--real", "arrivals.csv", "--seconds", "1", "--runs", "2"),
    "report": ("record", "-o", "page.html"),
    "import latencies": (
        "metrics-model-inference.csv",
        *("--device-class", "T4", "--name", "m", "-o", "of-model-analyzer"),
    ),
    "import ppipe": ("artifact", "-o", "imported"),
    "import profiles": (),
    "export ppipe": ("plan.json", "-o", "exported.json"),
    "warm-up": (),
    "doctor": (),
    "replay": ("record", "--plan", "plan.json"),
    "device simulate": ("--jobs", "100", "--load", "0.5", "--setup", "srpt"),
    "device sweep": ("--jobs", "100", "--seeds", "1", "--setup", "srpt"),
}
ELSEWHERE = {"demo", "load"}
"""``load`` needs a server, ``demo`` two minutes: below."""

OF_A_SERVER = {"conformance", "top"}
"""They ask a running server, and print one document of it: tests/serve."""

WITHOUT_DOCUMENT = {"serve", "device serve", "switch", "join-record", "completion"}
"""They have no document but that of an error."""


def test_no_verb_is_forgotten() -> None:
    made = {verb for verb in VERBS for each in MAKING if " ".join(each).startswith(f"{verb} ")}
    assert {*TRIED, *ELSEWHERE, *OF_A_SERVER, *WITHOUT_DOCUMENT, *made} == set(VERBS)


@pytest.mark.slow
@pytest.mark.parametrize("verb", TRIED)
def test_a_verb_prints_one_document(folder: Path, verb: str) -> None:
    status, document = run(*verb.split(), *TRIED[verb], folder=folder)
    assert status == 0, document
    assert "error" not in document


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_that_fails_prints_one_document(tmp_path: Path, verb: str) -> None:
    status, document = run(*verb.split(), "--no-such-option", folder=tmp_path)
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
