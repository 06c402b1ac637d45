"""Write ``docs/licences.md``: the licence of every package that the image installs; a test holds it current.

The texts come from the packages' own metadata. A licence that would bind this project's users (GPL, AGPL) is refused.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "licences.md"
LOCK = ROOT / "requirements" / "serve.txt"
HEAD = """# Licences

Penstock is under the Apache License 2.0. It installs the packages below, which are not part of it, in the versions of
`requirements/serve.txt`.
`docs/write_licences.py` writes this page from their metadata. It refuses the GPL and the AGPL.

| package | licence |
|---|---|
"""
REFUSED = re.compile(r"\b(A?GPL|GNU (Affero )?General Public)", re.IGNORECASE)
LESSER = re.compile(r"LGPL|Lesser", re.IGNORECASE)
MOST_LETTERS = 60


def names() -> Iterator[str]:
    """The packages of the lock that this platform and Python need."""
    for line in LOCK.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith((" ", "#", "--")):
            requirement = Requirement(line.rstrip(" \\"))
            if requirement.marker is None or requirement.marker.evaluate():
                yield requirement.name


def licence_of(name: str) -> str:
    """The licence that a package states: an SPDX expression, its classifiers, or its own words."""
    metadata = distribution(name).metadata
    if expression := metadata.get("License-Expression"):
        return str(expression)
    classifiers = [
        line.rsplit(" :: ", 1)[-1]
        for line in metadata.get_all("Classifier") or []
        if line.startswith("License ::") and not line.endswith("OSI Approved")
    ]
    words = (metadata.get("License") or "").strip().splitlines()
    return " and ".join(classifiers) or (words[0][:MOST_LETTERS] if words else "not stated")


def is_refused(licence: str) -> bool:
    """Whether the licence would bind this project's users."""
    alternatives = re.split(r"\bOR\b", licence)
    return all(REFUSED.search(one) and not LESSER.search(one) for one in alternatives)


def page() -> str:
    """The text of the page. Raises :class:`SystemExit` for a package that is missing or refused."""
    rows = []
    for name in names():
        try:
            licence = licence_of(name)
        except PackageNotFoundError:
            sys.exit(f"{name} is in {LOCK.name} and not installed: run 'make lint' first.")
        if is_refused(licence):
            sys.exit(f"{name} is under {licence}: it cannot be a dependency.")
        rows.append(f"| {name} | {licence} |")
    return HEAD + "\n".join(rows) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
