"""``profile --compare`` and ``--calibrate-from``, on profiles whose truth is known."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result
from onnx import TensorProto, helper, numpy_helper

from penstock.cli.model.profile import command
from penstock.errors import BadInputError
from penstock.graph.reading.onnx_reader import OnnxModel, read_onnx
from penstock.profile.build import build_profile
from penstock.profile.measured_machine import Machine
from penstock.profile.prediction.compare import compare, peaks_of
from penstock.profile.prediction.device_catalogue import CPU_CORE, device_spec
from penstock.profile.prediction.predict import predict
from penstock.profile.store import load_profile, save_profile
from penstock.profile.table import LatencyTable, Profile, Provenance

BOUNDARIES = (0, 2, 5, 8)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> OnnxModel:
    """Products with a ReLU after each."""
    path = tmp_path_factory.mktemp("model") / "chain.onnx"
    nodes, weights, last = [], [], "x"
    for index in range(4):
        weights.append(numpy_helper.from_array(np.ones((64, 64), np.float32), f"w{index}"))
        nodes.append(helper.make_node("MatMul", [last, f"w{index}"], [f"m{index}"], name=f"matmul{index}"))
        last = f"y{index}" if index < 3 else "y"
        nodes.append(helper.make_node("Relu", [f"m{index}"], [last], name=f"relu{index}"))
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 64]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "chain", ends[:1], ends[1:], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return read_onnx(path)


def measured(model: OnnxModel, device_class: str, factor: float, machine: Machine | None = None) -> Profile:
    """A profile that says it was measured: ``factor`` times what the roofline predicts."""
    tables = predict(model.graph, BOUNDARIES, [device_spec("T4")], 4)
    longer = LatencyTable(np.round(tables["T4", 1].latency_us * factor).astype(np.int64), runs=9)
    made = build_profile(model, BOUNDARIES, measured={}, predicted=tables)
    provenance = Provenance("measured", "a T4", "by hand", "2026-01-01", machine=machine)
    return replace(made, tables={(device_class, 1): longer}, provenance=provenance, class_provenance={})


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(command, [str(one) for one in arguments], catch_exceptions=True)


def test_ratios_and_error(model: OnnxModel) -> None:
    (found,) = compare(measured(model, "T4", 2.0), model)
    np.testing.assert_allclose(found.ratio, 0.5)
    assert found.error == pytest.approx(np.log(2))
    assert found.bias == pytest.approx(0.5)


def test_the_machine_says_which_peaks(model: OnnxModel) -> None:
    t4, cpu = Machine("Tesla T4", "T4", "570"), Machine("a Xeon", "a Xeon")
    assert peaks_of(measured(model, "fast", 1.0, t4), "fast") == device_spec("T4")
    # Measured by a processor, whatever the class is called.
    assert peaks_of(measured(model, "T4", 1.0, cpu), "T4") is CPU_CORE
    assert peaks_of(measured(model, "fast", 1.0), "fast") is None
    unasked = Machine("NVIDIA B200", "B200", precision="fp32")
    assert peaks_of(measured(model, "fast", 1.0, unasked), "fast") is None
    assert peaks_of(measured(model, "T4", 1.0, Machine("B200", "B200", "570")), "T4") is None


def test_another_model_is_refused(model: OnnxModel) -> None:
    with pytest.raises(BadInputError, match="was made from another file"):
        compare(replace(measured(model, "T4", 1.0), model_sha256="0" * 64), model)
    with pytest.raises(BadInputError, match=r"none of its classes \(fast\) is measured"):
        compare(measured(model, "fast", 1.0), model)


def test_compare_prints_blocks_and_json(model: OnnxModel, tmp_path: Path) -> None:
    save_profile(measured(model, "T4", 2.0), tmp_path / "profile")
    shown = invoke(model.path, "--compare", tmp_path / "profile")
    assert shown.exit_code == 0, shown.output
    assert "error 0.693, whole 0.50 times the measured" in shown.output
    told = json.loads(invoke(model.path, "--compare", tmp_path / "profile", "--json").stdout)
    assert told["comparisons"][0]["error"] == pytest.approx(np.log(2))
    assert np.shape(told["comparisons"][0]["predicted_us"]) == (3, 4)


def test_calibration_improves_a_prediction_and_is_told(model: OnnxModel, tmp_path: Path) -> None:
    folder = tmp_path / "measured"
    save_profile(measured(model, "T4", 2.0), folder)
    shown = invoke(model.path, "--compare", folder, "--calibrate-from", folder, "--json")
    assert shown.exit_code == 0, shown.output
    assert "Calibrated on T4: median error 0.7" in shown.stderr  # 2.1 times: predicted times are rounded up
    assert json.loads(shown.stdout)["comparisons"][0]["error"] < 0.2
    made = invoke(
        model.path,
        "--predict",
        "L4",
        "--calibrate-from",
        folder,
        "--boundaries",
        "0,2,5,8",
        "-o",
        tmp_path / "L4",
    )
    assert made.exit_code == 0, made.output
    profile = load_profile(tmp_path / "L4")
    assert "calibrated on T4 from measured" in profile.provenance.note
    plain = predict(model.graph, BOUNDARIES, [device_spec("L4")], 4)["L4", 1]
    # Launches are most of the time, and took twice as long. Of log 2, the T4 keeps all but 0.04 / (0.04 + 0.25).
    longer = profile.table("L4", 1).latency_us.sum() / plain.latency_us.sum()
    assert longer == pytest.approx(2 ** (0.04 / 0.29), abs=0.06)


def test_misuse_is_told(model: OnnxModel, tmp_path: Path) -> None:
    assert "give -o DIR" in str(invoke(model.path, "--predict", "L4").exception)
    refused = invoke(model.path, "--compare", tmp_path, "--predict", "L4")
    assert "--compare measures and writes nothing" in str(refused.exception)
    bare = tmp_path / "bare"
    save_profile(replace(measured(model, "T4", 1.0), model_file=None), bare)
    refused = invoke(model.path, "--predict", "L4", "--calibrate-from", bare, "-o", tmp_path / "out")
    assert "names no model file" in str(refused.exception)


def test_operators_without_a_rule_are_told(tmp_path: Path) -> None:
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 8])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 8])]
    nodes = [helper.make_node("Relu", ["x"], ["h"]), helper.make_node("Hardmax", ["h"], ["y"])]
    graph = helper.make_graph(nodes, "odd", inputs, outputs)
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8),
        tmp_path / "o.onnx",
    )
    shown = invoke(tmp_path / "o.onnx", "--predict", "L4", "-o", tmp_path / "odd")
    assert shown.exit_code == 0, shown.output
    # Two operators of 64 bytes, of a launch each.
    assert "L4: no rule for Hardmax, 50.0% of the time" in shown.output
