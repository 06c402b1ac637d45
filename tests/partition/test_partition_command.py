"""``penstock partition``, its picture, and a partition turned into contiguous blocks of a model."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET

import numpy as np
import onnx
import pytest
from click.testing import CliRunner

from penstock.cli.partition import command
from penstock.cli.profile import command as profile
from penstock.errors import BadInputError
from penstock.graph.onnx_reader import read_onnx
from penstock.profile.store import load_profile
from penstock.report.graph_picture import graph_picture
from penstock.zoo import build

GRAPH = {
    "maxFPGAs": 2,
    "nodes": [{"id": i, "name": f"n{i}", "fpgaLatency": 4.0} for i in range(4)],
    "edges": [{"sourceId": i, "destId": i + 1, "cost": 1.0} for i in range(3)],
}


@pytest.fixture
def graph(tmp_path):
    path = tmp_path / "graph.json"
    path.write_text(json.dumps(GRAPH))
    return path


def invoke(*arguments):
    return CliRunner().invoke(command, [str(each) for each in arguments])


def test_json_holds_stages_and_proof(graph):
    """Two stages of two operators each: 8 + 1 transfer."""
    done = invoke(graph, "--json")
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert document["bottleneck"] == 9
    assert document["bound"] == 9
    assert document["gap"] == 0
    assert document["seconds"] >= 0
    assert [stage["operators"] for stage in document["stages"]] == [["n0", "n1"], ["n2", "n3"]]
    assert [stage["cost"] for stage in document["stages"]] == [9, 9]


def test_the_table_says_what_binds(graph):
    done = invoke(graph, "-k", 1)
    assert done.exit_code == 0, done.output
    assert "Bottleneck 16 ms: stage 0, of it work 16" in done.stdout
    assert "gap 0.00%" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(("-k", 0), "at least 1"), (("-k", 9), "at most 4"), (("--class-costs", "T4=2"), "one device only")],
)
def test_bad_requests_are_bad_input(graph, arguments, message):
    done = invoke(graph, *arguments)
    assert isinstance(done.exception, BadInputError)
    assert message in str(done.exception)


@pytest.mark.parametrize(
    "arguments", [("--until-gap", "200%"), ("--until-gap", "x"), ("--class-costs", "T4")]
)
def test_bad_options_are_usage_errors(graph, arguments):
    assert invoke(graph, *arguments).exit_code == 2


def test_the_picture_shows_every_operator_and_is_not_overwritten(graph, tmp_path):
    picture = tmp_path / "graph.svg"
    assert invoke(graph, "--svg", picture).exit_code == 0
    operators = [each for each in ET.parse(picture).iter() if each.tag.endswith("}g")]
    assert len(operators) == 4
    assert len({each[1].get("fill") for each in operators}) == 2
    assert isinstance(invoke(graph, "--svg", picture).exception, BadInputError)
    assert invoke(graph, "--svg", picture, "--force").exit_code == 0


def test_names_are_escaped_in_the_picture():
    root = ET.fromstring(graph_picture(["<a>", "b&c"], [(0, 1)], [0, 1], "a < b"))
    titles = [each.text for each in root.iter() if each.tag.endswith("title")]
    assert titles == ["<a>: stage 0", "b&c: stage 1"]


def test_unlike_devices_from_an_onnx_file(tmp_path):
    model = tmp_path / "squeezenet.onnx"
    onnx.save(build("squeezenet1_1", image_size=64), model)
    done = invoke(model, "--class-costs", "L4=1", "--class-costs", "T4=1", "--json")
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert {stage["device_class"] for stage in document["stages"]} <= {"L4", "T4"}
    alone = json.loads(invoke(model, "-k", 1, "--device-class", "L4", "--json").stdout)
    assert document["bottleneck"] <= alone["bottleneck"] * (1 + 1e-9)
    assert np.isfinite(document["bottleneck"])


def test_the_stages_of_a_partition_become_the_blocks_of_a_profile(tmp_path):
    model, by_stage = tmp_path / "squeezenet.onnx", tmp_path / "by-stage.onnx"
    onnx.save(build("squeezenet1_1", image_size=64), model)
    done = invoke(
        model, "-k", 3, "--device-class", "T4", "--until-gap", "30%", "--write-onnx", by_stage, "--json"
    )
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    operators = [operator.name for operator in read_onnx(by_stage).graph.operators]
    assert operators == [name for stage in document["stages"] for name in stage["operators"]]
    boundaries = ",".join(map(str, document["boundaries"]))
    arguments = [
        str(by_stage),
        "--predict",
        "T4",
        "--boundaries",
        boundaries,
        "-o",
        str(tmp_path / "profile"),
    ]
    assert CliRunner().invoke(profile, arguments).exit_code == 0
    blocks = load_profile(tmp_path / "profile").blocks
    assert [len(block.operators) for block in blocks] == [
        len(stage["operators"]) for stage in document["stages"]
    ]


@pytest.mark.parametrize("boundaries", ["0,5", "3,9", "0,9,4"])
def test_boundaries_must_ascend_over_the_whole_model(tmp_path, boundaries):
    model = tmp_path / "squeezenet.onnx"
    onnx.save(build("squeezenet1_1", image_size=64), model)
    arguments = [str(model), "--predict", "T4", "--boundaries", boundaries, "-o", str(tmp_path / "profile")]
    assert "must ascend" in str(CliRunner().invoke(profile, arguments).exception)
