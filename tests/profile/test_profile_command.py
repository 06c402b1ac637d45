"""The verb from end to end on a tiny model: measured beside predicted, merged, and refused."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result
from onnx import TensorProto, helper, numpy_helper

from penstock.cli.model.profile import command
from penstock.errors import BadInputError
from penstock.profile.store import load_profile


def write_chain(path: Path, depth: int = 6, width: int = 16, batch: int | str = "batch") -> Path:
    """Square matrix products with a ReLU after each, all alike."""
    generator = np.random.default_rng(0)
    nodes, weights, last = [], [], "x"
    for index in range(depth):
        weight = generator.standard_normal((width, width)).astype(np.float32) / width**0.5
        weights.append(numpy_helper.from_array(weight, f"w{index}"))
        nodes.append(helper.make_node("MatMul", [last, f"w{index}"], [f"m{index}"], name=f"matmul{index}"))
        last = f"y{index}" if index < depth - 1 else "y"
        nodes.append(helper.make_node("Relu", [f"m{index}"], [last], name=f"relu{index}"))
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, width]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "chain", ends[:1], ends[1:], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(command, [str(one) for one in arguments], catch_exceptions=True)


def test_measured_and_predicted_in_one_profile(tmp_path: Path) -> None:
    model, out = write_chain(tmp_path / "chain.onnx"), tmp_path / "profile"
    result = invoke(
        model, "--device-class", "cpu", "--predict", "L4", "--blocks", 3, "--max-batch", 2, "--seconds", 0.05,
        "--json", "-o", out,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    profile = load_profile(out)
    assert [block["operators"] for block in document["blocks"]] == [4, 4, 4]
    assert [len(block.operators) for block in profile.blocks] == [4, 4, 4]
    assert [block.parameter_bytes for block in profile.blocks] == [2048, 2048, 2048]
    assert profile.boundary_bytes == (64, 64, 64, 64)
    assert profile.tables.keys() == {("cpu", 1), ("L4", 1)}
    assert profile.provenance.kind == "measured"
    assert profile.provenance_of("L4").kind == "predicted"
    assert profile.model_file == str(model)
    measured = profile.table("cpu", 1)
    assert measured.latency_us.shape == (3, 2)
    assert measured.p99_us is not None
    assert measured.runs >= 3
    # The blocks were scaled to the whole model, whose batch-1 latency stands beside them.
    assert profile.whole_us["cpu"] == max(1, int(measured.latency_us[:, 0].sum()))


def test_prediction_needs_no_runtime_and_merges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    model, out = write_chain(tmp_path / "chain.onnx"), tmp_path / "profile"
    assert invoke(model, "--predict", "L4", "--blocks", 2, "--shares", "1,2", "-o", out).exit_code == 0
    before = load_profile(out)
    result = invoke(model, "--predict", "T4", "--merge", "-o", out)
    assert result.exit_code == 0, result.output
    assert "T4*" in result.stdout
    after = load_profile(out)
    assert after.blocks == before.blocks
    assert after.tables.keys() == {("L4", 1), ("L4", 2), ("T4", 1)}
    assert after.provenance_of("T4").device == "T4"
    assert after.provenance_of("L4") == before.provenance


def test_merging_another_model_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "profile"
    first = write_chain(tmp_path / "first.onnx")
    assert invoke(first, "--predict", "L4", "--blocks", 2, "-o", out).exit_code == 0
    wider = write_chain(tmp_path / "wider.onnx", width=32)
    deeper = write_chain(tmp_path / "deeper.onnx", depth=7)
    for other in (wider, deeper):
        result = invoke(other, "--predict", "T4", "--merge", "-o", out)
        assert isinstance(result.exception, BadInputError)
        assert "Profile all classes from one file" in str(result.exception)


def test_as_many_blocks_as_go_by_default(tmp_path: Path) -> None:
    model = write_chain(tmp_path / "chain.onnx", depth=1)
    result = invoke(model, "--predict", "L4", "-o", tmp_path / "profile")
    assert result.exit_code == 0, result.output
    assert len(load_profile(tmp_path / "profile").blocks) == 2
    result = invoke(model, "--predict", "L4", "--blocks", 3, "-o", tmp_path / "other")
    assert isinstance(result.exception, BadInputError)
    assert "more than the model's 2 operators" in str(result.exception)


def test_a_model_of_fixed_batch(tmp_path: Path) -> None:
    model = write_chain(tmp_path / "chain.onnx", batch=1)
    arguments = (model, "--device-class", "cpu", "--blocks", 2, "--seconds", 0.05)
    result = invoke(*arguments, "--max-batch", 2, "-o", tmp_path / "profile")
    assert result.exit_code == 0
    assert "The batch of the model is fixed" in result.output
    assert load_profile(tmp_path / "profile").table("cpu", 1).max_batch == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to do"),
        (["--predict", "B200"], "'B200' is not in the catalogue"),
        (["--predict", "L4", "--device-class", "L4", "--as-emulated"], "both measured and predicted"),
        (["--predict", "L4", "--merge", "--blocks", "2"], "leave out --blocks"),
        (["--predict", "L4", "--merge"], "no such folder"),
    ],
)
def test_bad_options(tmp_path: Path, arguments: list[str], message: str) -> None:
    model = write_chain(tmp_path / "chain.onnx")
    result = invoke(model, *arguments, "-o", tmp_path / "profile")
    assert isinstance(result.exception, BadInputError)
    assert message in str(result.exception)


def test_shares_must_be_numbers(tmp_path: Path) -> None:
    result = invoke(
        write_chain(tmp_path / "chain.onnx"), "--predict", "L4", "--shares", "1,x", "-o", tmp_path
    )
    assert result.exit_code == 2
    assert "whole numbers" in result.stderr


def test_an_existing_profile_is_kept_without_force(tmp_path: Path) -> None:
    model, out = write_chain(tmp_path / "chain.onnx"), tmp_path / "profile"
    arguments = (model, "--predict", "L4", "--blocks", 2, "-o", out)
    assert invoke(*arguments).exit_code == 0
    assert "exists already" in str(invoke(*arguments).exception)
    assert invoke(*arguments, "--force").exit_code == 0


def test_help_has_an_example() -> None:
    result = invoke("--help")
    assert "penstock profile resnet18.onnx" in result.output
