"""Files are validated whole, written whole or not at all, and never replaced unasked."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import Field

from penstock.errors import BadInputError
from penstock.files import (
    Name,
    StrictModel,
    read_json,
    read_text,
    read_yaml,
    refuse_overwrite,
    validate,
    write_text,
    write_whole,
)
from penstock.files.messages import MOST_PROBLEMS


class Toy(StrictModel):
    count: int = Field(ge=1)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"gone\.yaml: no such file"):
        read_text(tmp_path / "gone.yaml")


def test_folder_and_binary_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="is a folder"):
        read_text(tmp_path)
    (tmp_path / "b").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadInputError, match="not UTF-8"):
        read_text(tmp_path / "b")


def test_json_and_yaml_errors_name_the_line(tmp_path: Path) -> None:
    (tmp_path / "x").write_text('{\n "a": }')
    with pytest.raises(BadInputError, match="line 2"):
        read_json(tmp_path / "x")
    (tmp_path / "y").write_text("a: 1\n b: [")
    with pytest.raises(BadInputError, match="line 2"):
        read_yaml(tmp_path / "y")


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"count": -3}, r"toy\.yaml: count: .*greater than or equal to 1 \(value -3\)\. Correct it"),
        ({"count": "3"}, r"count: .*valid integer \(value '3'\)\. Write a whole number without quotes"),
        ({"count": 1, "sizee": 2}, r"sizee: unknown field \(value 2\)\. Remove it"),
        ({}, r"count: required field is missing"),
        ([1], r"\(the whole file\): must be an object with fields \(value \[1\]\)"),
    ],
)
def test_validation_names_field_value_and_rule(document: object, message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        validate(Toy, document, Path("toy.yaml"))


class Fleet(StrictModel):
    machines: list[Machine]


class Machine(StrictModel):
    name: Name
    bandwidth_gbps: float


def test_entries_go_by_their_names_and_near_fields_are_suggested() -> None:
    document = {"machines": [{"name": "a", "bandwith_gbps": 1, "bandwidth_gbps": 1}]}
    with pytest.raises(
        BadInputError, match=r"machines\.0 \('a'\)\.bandwith_gbps: .* Did you mean bandwidth_gbps\?"
    ):
        validate(Fleet, document, Path("f.yaml"))


def test_names_must_stand_in_a_url() -> None:
    with pytest.raises(BadInputError, match="Use letters, digits"):
        validate(Fleet, {"machines": [{"name": "a/b", "bandwidth_gbps": 1}]}, Path("f.yaml"))


def test_a_file_of_the_wrong_kind_is_not_recited() -> None:
    with pytest.raises(BadInputError) as caught:
        validate(Toy, {f"field{i}": i for i in range(40)}, Path("toy.yaml"))
    lines = str(caught.value).splitlines()
    assert len(lines) == MOST_PROBLEMS + 1
    assert "file of the right kind (toy)" in lines[-1]


def test_yaml_value_without_json_form_is_refused() -> None:
    import datetime

    with pytest.raises(BadInputError, match="holds a value"):
        validate(Toy, {"count": datetime.date(2026, 1, 1)}, Path("toy.yaml"))


def test_a_field_given_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "y").write_text("a:\n  b: 1\n  c: 2\n  b: 3\n")
    with pytest.raises(BadInputError, match=r"'b' is given twice in one place\. Keep one .*line 4"):
        read_yaml(tmp_path / "y")
    (tmp_path / "j").write_text('{"a": {"b": 1, "c": 2, "b": 3}}')
    with pytest.raises(BadInputError, match="j: field 'b' is given twice"):
        read_json(tmp_path / "j")


def test_a_field_overrides_what_is_merged_in(tmp_path: Path) -> None:
    (tmp_path / "y").write_text("base: &base {b: 1, c: 2}\na: {<<: *base, b: 3}\n")
    assert read_yaml(tmp_path / "y")["a"] == {"b": 3, "c": 2}


def test_nothing_is_overwritten_unasked(tmp_path: Path) -> None:
    out = tmp_path / "o.txt"
    write_text(out, "one")
    with pytest.raises(BadInputError, match="--force"):
        write_text(out, "two")
    assert out.read_text() == "one"
    write_text(out, "two", force=True)
    assert out.read_text() == "two"


def test_a_failed_write_leaves_what_stood_there(tmp_path: Path) -> None:
    out = tmp_path / "folder"
    write_whole(out, lambda made: (made.mkdir(), (made / "a").write_text("old")), folder_of=["a"])

    def fail(made: Path) -> None:
        made.mkdir()
        (made / "a").write_text("half")
        raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        write_whole(out, fail, force=True, folder_of=["a"])
    assert (out / "a").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    out = tmp_path / "folder"
    files = ["old", "new"]
    write_whole(out, lambda made: (made.mkdir(), (made / "old").touch()), folder_of=files)
    write_whole(out, lambda made: (made.mkdir(), (made / "new").touch()), force=True, folder_of=files)
    assert [p.name for p in out.iterdir()] == ["new"]
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]


def test_a_file_never_replaces_a_folder_nor_a_folder_a_file(tmp_path: Path) -> None:
    precious = tmp_path / "folder" / "precious.txt"
    precious.parent.mkdir()
    precious.touch()
    with pytest.raises(BadInputError, match="folder: is a folder, which a file does not replace"):
        write_text(precious.parent, "text", force=True)
    with pytest.raises(BadInputError, match=r"precious\.txt: is a file, which a folder does not replace"):
        write_whole(precious, lambda made: made.mkdir(), force=True, folder_of=["a"])
    assert precious.exists()


def test_a_folder_replaces_only_a_folder_of_its_kind(tmp_path: Path) -> None:
    out = tmp_path / "folder"
    out.mkdir()
    write_whole(out, lambda made: (made.mkdir(), (made / "a.svg").touch()), force=True, folder_of=["*.svg"])
    (out / "precious.txt").touch()
    with pytest.raises(BadInputError, match=r"folder: holds 'precious\.txt', which .* only \*\.svg\."):
        write_whole(out, lambda made: made.mkdir(), force=True, folder_of=["*.svg"])
    assert sorted(p.name for p in out.iterdir()) == ["a.svg", "precious.txt"]


@pytest.mark.parametrize("name", [".", "..", "-", "/"])
def test_what_names_no_output_is_refused(name: str) -> None:
    with pytest.raises(BadInputError, match="not a name for an output"):
        refuse_overwrite(Path(name), force=True)


def test_an_output_below_a_file_is_refused_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BadInputError, match=r"cannot be written: .*file is a file"):
        refuse_overwrite(tmp_path / "file" / "new" / "plan.json", force=False)
