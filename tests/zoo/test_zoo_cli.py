"""``penstock zoo`` at the terminal."""

import json
from pathlib import Path

import onnx
import pytest
from click.testing import CliRunner, Result

from penstock import zoo
from penstock.cli.model.zoo import command
from penstock.errors import BadInputError


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(command, [str(each) for each in arguments])


def test_writes_the_file_that_build_makes_and_reports_it(tmp_path: Path) -> None:
    path = tmp_path / "new" / "m.onnx"
    done = invoke("squeezenet1_1", "-o", path, "--seed", 4, "--image-size", 96, "--classes", 10, "--json")
    assert done.exit_code == 0, done.output
    model = zoo.build("squeezenet1_1", seed=4, image_size=96, classes=10)
    assert path.read_bytes() == model.SerializeToString()
    # 1,235,496 at 1000 classes; each class of the last 1x1 convolution has 512 weights and a bias.
    assert json.loads(done.stdout) == {
        "written": str(path),
        "name": "squeezenet1_1",
        "seed": 4,
        "image_size": 96,
        "parameters": 1_235_496 - 990 * 513,
        "operators": len(model.graph.node),
        "size_bytes": path.stat().st_size,
    }


def test_without_json_standard_output_is_empty_and_the_note_is_on_standard_error(tmp_path: Path) -> None:
    done = invoke("squeezenet1_1", "-o", tmp_path / "m.onnx")
    assert done.stdout == ""
    assert "1,235,496 parameters" in done.stderr


def test_refuses_to_overwrite_unless_forced(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_text("precious")
    refused = invoke("squeezenet1_1", "-o", path)
    assert isinstance(refused.exception, BadInputError)
    assert path.read_text() == "precious"
    assert invoke("squeezenet1_1", "-o", path, "--force").exit_code == 0
    assert onnx.load(path).graph.name == "squeezenet1_1"


@pytest.mark.parametrize(
    "arguments", [["nonesuch"], ["squeezenet1_1", "--image-size", 5], ["squeezenet1_1", "--seed", -1]]
)
def test_bad_input_leaves_no_file(tmp_path: Path, arguments: list[object]) -> None:
    refused = invoke(*arguments, "-o", tmp_path / "m.onnx")
    # The command line refuses a number out of range itself, with the status that this error has too.
    assert isinstance(refused.exception, BadInputError) or refused.exit_code == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [[], ["squeezenet1_1"], ["-o", "m.onnx"]])
def test_name_and_output_are_both_needed(arguments: list[str]) -> None:
    refused = invoke(*arguments)
    assert isinstance(refused.exception, BadInputError)
    assert "--list" in str(refused.exception)


def test_list_names_every_architecture() -> None:
    listed = json.loads(invoke("--list", "--json").stdout)
    assert [each["name"] for each in listed] == list(zoo.NAMES)
    table = invoke("--list").stdout
    assert all(name in table for name in zoo.NAMES)
    assert "34,014,999" in table


def test_help_has_an_example() -> None:
    assert "penstock zoo resnet18 -o resnet18.onnx" in invoke("--help").stdout
