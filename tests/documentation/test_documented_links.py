"""Links between pages lead somewhere, every page is in the table of contents once, and named files exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from documentation.pages import DOCS, PAGES, READ_BY_USERS, ROOT, blocks, prose

LINK = re.compile(r"\[[^\]]*\]\(<?([^)\s>]+)>?\)")
ROLE = re.compile(r"\{download\}`([^`]+)`")
HEADING = re.compile(r"^#{1,3} +(.+?)\s*$", re.MULTILINE)
SOURCES = re.compile(r"`((?:benchmarks|tests|docs|deploy|requirements|src)/[\w./-]+\.\w+)`")
MAP_ENTRY = re.compile(r"`([a-z][\w/]*/[\w./]*)`")


def anchors(page: Path) -> set[str]:
    """The anchors of the headings of ``page``, as GitHub and MyST make them."""
    made = set()
    for heading in HEADING.findall(prose(page)):
        kept = re.sub(r"[^\w\- ]", "", heading.lower())
        made.add(kept.strip().replace(" ", "-"))
    return made


@pytest.mark.parametrize("page", READ_BY_USERS, ids=lambda page: str(page.relative_to(ROOT)))
def test_internal_links(page: Path):
    text = prose(page)
    for target in (*LINK.findall(text), *ROLE.findall(text)):
        if re.match(r"\w+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = page.parent / name if name else page
        assert file.exists(), f"{page.name}: no {target}"
        if anchor:
            assert anchor in anchors(file), f"{page.name}: no heading {anchor!r} in {file.name}"


def test_every_page_is_in_exactly_one_group():
    entries: list[str] = []
    for block in blocks(DOCS / "index.md"):
        assert block.language == "{toctree}"
        lines = [line for line in block.text.splitlines() if line and not line.startswith(":")]
        entries += [line.partition("<")[2].rstrip(">") or line for line in lines]
    expected = {page.stem for page in DOCS.glob("*.md")} - {"index"} | {"decisions/index"}
    assert sorted(entries) == sorted(expected)


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=lambda page: str(page.relative_to(ROOT)))
def test_scripts_and_tests_that_are_named_exist(page: Path):
    missing = [name for name in SOURCES.findall(prose(page)) if not (ROOT / name).exists()]
    assert missing == []


def test_the_map_of_the_code_names_what_is_there():
    package = ROOT / "src" / "penstock"
    missing = [
        name
        for name in MAP_ENTRY.findall(prose(DOCS / "design.md"))
        if not (package / name).exists() and not (ROOT / name).exists()
    ]
    assert missing == []


def test_every_decision_is_in_their_index():
    linked = LINK.findall(prose(DOCS / "decisions" / "index.md"))
    pages = [page.name for page in DOCS.glob("decisions/0*.md")]
    assert sorted(linked) == sorted([*pages, "short.md"])
