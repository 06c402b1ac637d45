"""``penstock partition``, its picture, and a partition turned into contiguous blocks of a model."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET

import numpy as np
import onnx
import pytest
from click.testing import CliRunner

from penstock.cli.model.partition import command
from penstock.cli.model.profile import command as profile
from penstock.errors import BadInputError
from penstock.graph.reading.onnx_reader import read_onnx
from penstock.partition.problem import TensorUse, make_problem
from penstock.profile.store import load_profile
from penstock.report.partition_picture import cuts, partition_picture
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


def test_the_picture_shows_every_stage_and_is_not_overwritten(graph, tmp_path):
    picture = tmp_path / "graph.svg"
    assert invoke(graph, "--svg", picture).exit_code == 0
    root = ET.parse(picture).getroot()
    stages = [each for each in root.iter() if each.tag.endswith("}g")]
    assert [each[0].text for each in stages] == ["n0\nn1", "n2\nn3"]
    text = " ".join(each.text or "" for each in root.iter() if each.tag.endswith("}text"))
    assert "Stage 0: 9 ms" in text
    assert "proven bound 9 ms" in text
    assert "1 ms 1 tensor" in text
    assert isinstance(invoke(graph, "--svg", picture).exception, BadInputError)
    assert invoke(graph, "--svg", picture, "--force").exit_code == 0


def test_names_are_escaped_in_the_picture():
    problem = make_problem("a < b", ["<a>", "b&c"], [1.0, 1.0], [TensorUse(0, (1,), 2.0)])
    root = ET.fromstring(partition_picture(problem, np.array([0, 1]), unit="us", bytes_per_unit=1250.0))
    assert [each.text for each in root.iter() if each.tag.endswith("title")] == ["<a>", "b&c"]
    texts = [each.text for each in root.iter() if each.tag.endswith("text")]
    assert "2.5 kB" in texts


def test_a_cut_counts_each_tensor_once_and_those_that_only_pass_by():
    """Tensor 0 goes from stage 0 to stages 1 and 2; tensor 1 from stage 1 to 2; tensor 2 stays in stage 0."""
    tensors = [TensorUse(0, (2, 3), 5.0), TensorUse(2, (3,), 7.0), TensorUse(0, (1,), 9.0)]
    problem = make_problem("g", list("abcd"), [1.0] * 4, tensors)
    found = cuts(problem, np.array([0, 0, 1, 2]))
    assert [(cut.tensors, cut.time) for cut in found] == [(1, 5.0), (2, 12.0)]


@pytest.mark.parametrize("stages", [1, 8, 64])
def test_a_thousand_operators_fit_one_screen(stages):
    problem = make_problem(
        "chain",
        [f"op{i}" for i in range(1000)],
        [1.0] * 1000,
        [TensorUse(i, (i + 1,), 1.0) for i in range(999)],
    )
    root = ET.fromstring(partition_picture(problem, np.arange(1000) * stages // 1000, unit="us"))
    assert float(root.get("width")) <= 1440
    assert float(root.get("height")) <= 1100


def test_unlike_devices_from_an_onnx_file(tmp_path):
    model = tmp_path / "squeezenet.onnx"
    onnx.save(build("squeezenet1_1", image_size=64), model)
    arguments = ("--class-costs", "L4=1", "--class-costs", "T4=1", "--time-limit", 20, "--until-gap", "10%")
    done = invoke(model, *arguments, "--json")
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert 0 < document["bound"] <= document["bottleneck"]
    assert document["gap"] == pytest.approx(1 - document["bound"] / document["bottleneck"])
    assert document["stats"]["bound_fluid"] <= document["bound"]
    text = invoke(model, *arguments).stdout
    assert f"Bound {document['bound']:.6g} us (by {document['stats']['bound_by']})" in text
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
