"""The pages of the documentation, their fenced blocks, and the commands in them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [*sorted(DOCS.glob("*.md")), *sorted(DOCS.glob("decisions/*.md"))]
READ_BY_USERS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *PAGES]
SHELL = ("", "text", "console", "sh", "bash")
RUNS = "<!-- runs -->"
"""Stands on the line before a block of Python that the tests run, with what the blocks before it on the page made."""

_FENCE = re.compile(
    r"^(?P<ticks>`{3,})(?P<language>\{?[\w-]*\}?)[^\n]*\n(?P<text>.*?)^(?P=ticks)\s*$",
    re.DOTALL | re.MULTILINE,
)
_INDENTED = re.compile(r"(?:^|\n\n)((?:    [^\n]*\n)+)")
_INLINE = re.compile(r"(?<!`)`([^`\n]+(?:\n[^`\n]+)?)`(?!`)")


@dataclass(frozen=True)
class Block:
    """A block of code in a page: its language, its text, and whether the page marks it as one that runs."""

    page: Path
    line: int
    language: str
    text: str
    runs: bool = False

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


@dataclass(frozen=True)
class Command:
    """The words after ``penstock``. ``is_whole``: it stands in a block, so it is to be typed as it is."""

    place: str
    words: tuple[str, ...]
    is_whole: bool


def blocks(page: Path) -> Iterator[Block]:
    """The fenced blocks of ``page``."""
    text = page.read_text(encoding="utf-8")
    for found in _FENCE.finditer(text):
        before = text[: found.start()].rstrip().rsplit("\n", 1)[-1]
        line = text.count("\n", 0, found.start()) + 1
        yield Block(page, line, found["language"], found["text"], before == RUNS)


def prose(page: Path) -> str:
    """The text of ``page`` without its fenced blocks; line numbers stay."""
    text = page.read_text(encoding="utf-8")
    return _FENCE.sub(lambda found: "\n" * found[0].count("\n"), text)


def commands(page: Path) -> Iterator[Command]:
    """Every ``penstock VERB ...`` of ``page``: in blocks, in indented code, and between backticks."""
    for block in blocks(page):
        if block.language in SHELL:
            yield from _of_lines(block.text, str(block), is_prompted=block.language == "console")
    text = prose(page)
    name = str(page.relative_to(ROOT))
    for found in _INDENTED.finditer(text):
        yield from _of_lines(re.sub(r"^    ", "", found[1], flags=re.MULTILINE), name, is_prompted=False)
    for found in _INLINE.finditer(text):
        for line in found[1].replace("\n", " ").splitlines():
            if line.startswith("penstock "):
                yield Command(name, tuple(_words(line)), is_whole=False)


def _of_lines(text: str, place: str, *, is_prompted: bool) -> Iterator[Command]:
    for line in re.sub(r"\\\n\s*", " ", text).splitlines():
        typed = line.removeprefix("$ ") if is_prompted or line.startswith("$ ") else line
        if typed is line and is_prompted:
            continue
        if re.match(r"(\S*/)?penstock [a-z]", typed):
            yield Command(place, tuple(_words(typed)), is_whole=True)


def _words(line: str) -> list[str]:
    """The words after ``penstock``, up to a comment, a pipe, a redirection or ``&``."""
    words = shlex.split(line, comments=True)
    end = next((i for i, word in enumerate(words) if word in {"|", "&", ">", "2>", "&&", ";"}), len(words))
    return words[1:end]
