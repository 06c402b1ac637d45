"""Blocks of Python in the documentation compile, those that are marked run, scenarios and profiles are valid."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from api.small_study import write_study
from documentation.pages import READ_BY_USERS, ROOT, Block, blocks
from penstock.plan.documents.scenario import Scenario

ALL = [block for page in READ_BY_USERS for block in blocks(page)]
PYTHON = [block for block in ALL if block.language == "python"]
SCENARIOS = [block for block in ALL if block.language == "yaml" and "\nmodels:" in block.text]
RUNNABLE = sorted({block.page for block in PYTHON if block.runs})


@pytest.mark.parametrize("block", PYTHON, ids=str)
def test_python_compiles(block: Block):
    compile(block.text, str(block), "exec")


@pytest.mark.parametrize("page", RUNNABLE, ids=lambda page: str(page.relative_to(ROOT)))
def test_marked_python_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """All marked blocks of a page, one after the other, in a folder with ``scenario.yaml``."""
    write_study(tmp_path)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for block in blocks(page):
        if block.language == "python" and block.runs:
            exec(compile(block.text, str(block), "exec"), names)


def test_some_python_is_marked():
    assert ROOT / "README.md" in RUNNABLE
    assert ROOT / "docs" / "python.md" in RUNNABLE


@pytest.mark.parametrize("block", SCENARIOS, ids=str)
def test_scenarios_are_valid(block: Block):
    Scenario.model_validate(yaml.safe_load(block.text))


@pytest.mark.parametrize("block", [block for block in ALL if block.language == "json"], ids=str)
def test_json_is_json(block: Block):
    json.loads(block.text)
