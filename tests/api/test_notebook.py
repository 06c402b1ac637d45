"""Each notebook of the documentation runs from top to bottom, and every result that ends a cell can be shown."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest

from penstock.api.showing.shown import Shown

DOCS = Path(__file__).parents[2] / "docs"
SHOWN = {
    "study": ["PlanResult", "ExplanationResult", "SimulationResult", "CapacityResult"],
    "policies": ["PlanResult", "SimulationResult", "SweepResult"],
}


def run_cell(source: str, names: dict[str, Any]) -> Any:
    """Run a cell as a notebook does: the value of its last expression."""
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "cell", "exec"), names)
    return None if last is None else eval(compile(ast.Expression(last.value), "cell", "eval"), names)


def test_every_notebook_is_run():
    assert {path.stem for path in DOCS.glob("*.ipynb")} == SHOWN.keys()


@pytest.mark.parametrize("name", SHOWN)
def test_the_notebook_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    names: dict[str, Any] = {}
    shown = []
    for cell in json.loads((DOCS / f"{name}.ipynb").read_text())["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [], "the notebook is kept without outputs"
            value = run_cell("".join(cell["source"]), names)
            if isinstance(value, Shown):
                assert "<table>" in value._repr_html_()
                shown.append(type(value).__name__)
    assert shown == SHOWN[name]
