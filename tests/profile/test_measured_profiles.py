"""Profiles that come with the package: each loads, is of a model that anybody can make, and is written as asked."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from penstock.cli.exchange.import_ import command
from penstock.errors import BadInputError
from penstock.profile.measured_catalogue import measured_names, measured_profile, measured_under, with_model
from penstock.profile.store import load_profile
from penstock.zoo import build


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(command, ["profiles", *map(str, arguments)])


def test_each_is_measured_on_a_device_that_it_names() -> None:
    names = measured_names()
    assert {"h200/resnet50-fp32", "h200/resnet50-tf32", "h200/resnet50-fp16"} <= set(names)
    for name in names:
        profile = measured_profile(name)
        machine = profile.provenance.machine
        assert profile.provenance.kind == "measured"
        assert machine is not None
        assert name == f"{machine.device_class.lower()}/{profile.model}-{machine.precision}"
        assert profile.model_file is None
        assert not machine.throttle_reasons


@pytest.mark.slow
@pytest.mark.parametrize("model", sorted({measured_profile(name).model for name in measured_names()}))
def test_the_models_are_the_zoos(model: str) -> None:
    sha256 = hashlib.sha256(build(model, seed=0).SerializeToString()).hexdigest()
    for name in measured_names():
        if measured_profile(name).model == model:
            assert measured_profile(name).model_sha256 == sha256


def test_all_of_a_device_or_one_are_written(tmp_path: Path) -> None:
    result = invoke("h200", "-o", tmp_path)
    assert result.exit_code == 0, result.output
    for name in measured_under("h200"):
        assert load_profile(tmp_path / name.partition("/")[2]) is not None
    assert invoke("h200/resnet50-fp32", "-o", tmp_path / "one").exit_code == 0
    assert load_profile(tmp_path / "one").device_classes == ("H200",)
    assert "exists already" in str(invoke("h200", "-o", tmp_path).exception)


def test_the_list_says_what_was_measured() -> None:
    rows = {row["name"]: row for row in json.loads(invoke("--json").stdout)["profiles"]}
    assert rows.keys() == set(measured_names())
    one = rows["h200/resnet50-tf32"]
    assert (one["device"], one["precision"], one["executor"]) == ("NVIDIA H200", "tf32", "torch (graph)")
    assert "h200/resnet50-tf32" in invoke().stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("v100", "-o", "x"), "no measured profile 'v100'"),
        (("h200",), "give -o DIR"),
        (("-o", "x"), "which profiles"),
        (("h200", "-o", "x", "--model", "y.onnx"), "--model is for one profile"),
    ],
)
def test_bad_questions(arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        raise invoke(*arguments).exception  # type: ignore[misc]


def test_a_model_is_attached_only_if_it_is_the_one_measured() -> None:
    profile = replace(measured_profile("h200/resnet50-fp32"), model_sha256="a" * 64)
    assert with_model(profile, Path("/m.onnx"), "a" * 64).model_file == "/m.onnx"
    with pytest.raises(BadInputError, match="not the model that was measured"):
        with_model(profile, Path("/m.onnx"), "b" * 64)
