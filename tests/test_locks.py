"""The locks name every package that pyproject.toml asks for: what was added without ``make lock`` would be missing."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
WITHOUT_LOCK = {"torch", "ray", "penstock", "penstock-serving"}
"""torch has different hashes for CPU and CUDA. Ray is large, and must be the release of the cluster that it joins. The
others are this package."""


def plain(name: str) -> str:
    """The name as indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_dependency_is_locked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = [
        *project["dependencies"],
        *(one for extra in project["optional-dependencies"].values() for one in extra),
    ]
    names = {plain(re.split(r"[\[<>=!~; ]", one, maxsplit=1)[0]) for one in asked}
    lines = (ROOT / "requirements" / "dev.txt").read_text(encoding="utf-8").splitlines()
    locked = {plain(line.split("==")[0]) for line in lines if "==" in line}
    assert names - WITHOUT_LOCK <= locked, "run: make lock"
