"""``docs/files.md`` names every field that files may have, and no other in its tables of fields."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from documentation.pages import DOCS
from penstock.plan.autoscale.ladder_file import Ladder
from penstock.plan.documents.plan import Plan
from penstock.plan.documents.scenario import Scenario
from penstock.profile.latency_csv import REQUIRED
from penstock.profile.stored_header import StoredHeader
from penstock.record import Batches, Outcome, Requests

PAGE = (DOCS / "files.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    """The text under the heading that begins with ``title``."""
    return PAGE.split(f"\n## {title}", 1)[1].split("\n## ", 1)[0]


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models within an annotation such as ``dict[str, tuple[Block, ...]] | None``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from models_in(inner)


def all_fields(model: type[BaseModel], leave_out: type[BaseModel] | None = None) -> set[str]:
    """Names of fields of ``model`` and of all models inside of it, except those of ``leave_out``."""
    names: set[str] = set()
    for name, field in model.model_fields.items():
        names.add(name)
        for inner in models_in(field.annotation):
            if inner is not leave_out:
                names |= all_fields(inner, leave_out)
    return names


def words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text))


def first_column(text: str) -> set[str]:
    """The names between backticks in the first cells of the tables of ``text``."""
    cells = re.findall(r"^\| (`[^|]+`)[^|]*\|", text, re.MULTILINE)
    return {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}


@pytest.mark.parametrize(
    ("title", "model", "leave_out"),
    [
        ("Scenario", Scenario, None),
        ("Profile", StoredHeader, None),
        ("Plan", Plan, Scenario),
        ("Ladder", Ladder, None),
    ],
)
def test_every_field_is_documented(title: str, model: type[BaseModel], leave_out: type[BaseModel] | None):
    text = section(title)
    assert (
        all_fields(model, leave_out) - words(text) - {"version"} == set()
    )  # it is said of all files at the top
    assert first_column(text) - all_fields(model) == set()


def test_columns_of_a_record():
    text = section("Record")
    for table in (Requests, Batches):
        assert {field.name for field in fields(table)} - words(text) == set()
    assert {f"`{outcome.text}`" for outcome in Outcome if f"`{outcome.text}`" not in text} == set()


def test_columns_of_latencies():
    assert {*REQUIRED, "p99_us", "runs", "device_us"} - words(section("Profile")) == set()
