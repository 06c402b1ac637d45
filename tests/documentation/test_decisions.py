"""The short form of the decisions: one section for each, and no figure that the notes do not have."""

from __future__ import annotations

import re

import pytest

from documentation.pages import DOCS

FOLDER = DOCS / "decisions"
SECTION = re.compile(r"^### \[(\d+)\. [^]]+\]\(([^)]+)\)\n(.*?)(?=^##|\Z)", re.MULTILINE | re.DOTALL)
SECTIONS = SECTION.findall((FOLDER / "short.md").read_text())
FIGURE = re.compile(r"(?<![\w.])\d[\d,]*(?:\.\d+)?(?:e-\d+)?")


def test_every_decision_has_its_short_form() -> None:
    named = {page for _, page, _ in SECTIONS}
    assert len(named) == len(SECTIONS)
    missing = {page.name for page in FOLDER.glob("0*.md")} - named
    assert not missing, f"write the sections of {sorted(missing)} in docs/decisions/short.md"


@pytest.mark.parametrize(("number", "page", "text"), SECTIONS)
def test_a_short_form_says_context_decision_and_consequence(number: str, page: str, text: str) -> None:
    assert int(page[:4]) == int(number)
    assert re.findall(r"\*\*(\w+)\.\*\*", text) == ["Context", "Decision", "Consequence"]
    assert len(text.split()) <= 150


@pytest.mark.parametrize(("page", "text"), [section[1:] for section in SECTIONS])
def test_figures_are_those_of_the_notes(page: str, text: str) -> None:
    notes = figures((FOLDER / page).read_text())
    assert figures(text) - notes == set()


def figures(text: str) -> set[str]:
    """Every number, without the comma of a sentence."""
    return {figure.rstrip(",") for figure in FIGURE.findall(text)}
