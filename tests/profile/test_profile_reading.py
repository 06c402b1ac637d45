"""The options of a file that leaves something open, at the command line: what a profile keeps, and who uses it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest
from click.testing import CliRunner, Result
from onnx import numpy_helper

pytest.importorskip("onnxruntime")

from penstock.cli.model.partition import command as partition
from penstock.cli.model.profile import command as profile
from penstock.errors import BadInputError
from penstock.profile.store import load_profile
from penstock.serve.boundaries import boundaries_of


def write(path: Path, text: str) -> Path:
    proto = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]>\n{text}')
    w = np.random.default_rng(0).standard_normal((8, 8), dtype=np.float32)
    proto.graph.initializer.append(numpy_helper.from_array(w, "w"))
    onnx.save(proto, path)
    return path


def text_model(folder: Path) -> Path:
    return write(
        folder / "text.onnx",
        "m (float[N, tokens, 8] x, float gain) => (float[N, tokens, 8] y) { a = MatMul(x, w) \n y = Mul(a, gain) }",
    )


def invoke(verb: object, *arguments: object) -> Result:
    return CliRunner().invoke(verb, [str(one) for one in arguments], catch_exceptions=True)  # type: ignore[arg-type]


def test_the_message_names_the_option_and_the_option_works(tmp_path: Path) -> None:
    model, out = text_model(tmp_path), tmp_path / "p"
    refused = invoke(profile, model, "--predict", "T4", "-o", out)
    assert isinstance(refused.exception, BadInputError)
    assert "--dim tokens=128" in str(refused.exception)
    done = invoke(profile, model, "--predict", "T4", "-o", out, "--dim", "tokens=6", "--input", "gain=0.5")
    assert done.exit_code == 0, done.output
    kept = load_profile(out)
    assert (kept.reading.lengths, kept.reading.values) == ({"tokens": 6}, {"gain": "0.5"})
    # 6 tokens of 8 floats of 4 bytes.
    assert kept.boundary_bytes == (192, 192, 192)
    assert [spec.shape for spec in boundaries_of(kept).inputs] == [(-1, 6, 8)]


def test_merging_reads_the_model_as_the_profile_does(tmp_path: Path) -> None:
    model, out = text_model(tmp_path), tmp_path / "p"
    invoke(profile, model, "--predict", "T4", "-o", out, "--dim", "tokens=6")
    done = invoke(profile, model, "--predict", "L4", "-o", out, "--merge")
    assert done.exit_code == 0, done.output
    assert load_profile(out).device_classes == ("L4", "T4")
    other = invoke(profile, model, "--predict", "P4", "-o", out, "--merge", "--dim", "tokens=7")
    assert isinstance(other.exception, BadInputError)


def test_a_partition_takes_the_same_options(tmp_path: Path) -> None:
    found = invoke(
        partition, text_model(tmp_path), "-k", 2, "--device-class", "T4", "--dim", "tokens=6", "--json"
    )
    assert found.exit_code == 0, found.output
    assert sum(len(stage["operators"]) for stage in json.loads(found.stdout)["stages"]) == 2


def test_a_fixed_batch_is_profiled_as_one_run_and_may_be_freed(tmp_path: Path) -> None:
    model = write(
        tmp_path / "one.onnx", "m (float[1, 8] x) => (float[1, 8] y) { a = MatMul(x, w) \n y = Relu(a) }"
    )
    done = invoke(profile, model, "--predict", "T4", "-o", tmp_path / "fixed")
    assert "The batch of the model is fixed" in done.output
    kept = load_profile(tmp_path / "fixed")
    assert kept.table("T4", 1).max_batch == 1
    assert boundaries_of(kept).inputs[0].shape == (-1, 8)
    freed = invoke(profile, model, "--predict", "T4", "-o", tmp_path / "free", "--free-batch")
    assert freed.exit_code == 0, freed.output
    assert load_profile(tmp_path / "free").table("T4", 1).max_batch == 4


def test_a_batch_that_is_none_is_refused_for_predictions_too(tmp_path: Path) -> None:
    model = write(
        tmp_path / "coupled.onnx",
        "m (float[N, 8] x) => (float[N, 8] y) { a = MatMul(x, w) \n y = Softmax<axis = 0>(a) }",
    )
    refused = invoke(profile, model, "--predict", "T4", "-o", tmp_path / "p")
    assert isinstance(refused.exception, BadInputError)
    assert "samples of a batch influence each other" in str(refused.exception)


def test_more_stages_than_operators_is_told(tmp_path: Path) -> None:
    refused = invoke(partition, text_model(tmp_path), "-k", 3, "--device-class", "T4", "--dim", "tokens=6")
    assert isinstance(refused.exception, BadInputError)
    assert "k is 3, but text has 2 operators" in str(refused.exception)
