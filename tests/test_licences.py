"""No package that the image installs would bind this project's users, and the page lists them all."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def script():
    return runpy.run_path(str(ROOT / "docs" / "write_licences.py"))


def test_every_package_of_the_image_is_on_the_page(script):
    listed = {
        line.split("|")[1].strip()
        for line in script["PAGE"].read_text().splitlines()
        if line.startswith("| ")
    }
    assert set(script["names"]()) <= listed, "run: python docs/write_licences.py"


def test_no_licence_is_refused(script):
    found = {name: script["licence_of"](name) for name in script["names"]()}
    assert not [name for name, licence in found.items() if script["is_refused"](licence)]


@pytest.mark.parametrize(
    ("licence", "refused"),
    [
        ("GPL-3.0-or-later", True),
        ("GNU General Public License v3 (GPLv3)", True),
        ("AGPL-3.0-only", True),
        ("GPL-2.0-only OR MIT", False),
        ("LGPL-3.0-or-later", False),
        ("Apache-2.0", False),
    ],
)
def test_what_is_refused(script, licence, refused):
    assert script["is_refused"](licence) is refused
