"""The shell's completion: its script, its place, and what it answers."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from click.testing import CliRunner

from penstock.cli.completion import command
from penstock.errors import BadInputError


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_the_script_asks_the_command(shell):
    done = CliRunner().invoke(command, [shell])
    assert done.exit_code == 0
    assert "_PENSTOCK_COMPLETE" in done.stdout


def test_install_writes_where_fish_looks_and_does_not_overwrite(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert CliRunner().invoke(command, ["fish", "--install"]).exit_code == 0
    assert (tmp_path / "fish" / "completions" / "penstock.fish").read_text().strip()
    again = CliRunner().invoke(command, ["fish", "--install"])
    assert isinstance(again.exception, BadInputError)


def test_verbs_and_options_are_completed():
    """What the script of fish runs, in a real process."""
    script = "from penstock.cli.main import main; import sys; sys.argv = ['penstock']; main()"
    asked = {
        "_PENSTOCK_COMPLETE": "fish_complete",
        "COMP_WORDS": "penstock simulate --ar",
        "COMP_CWORD": "--ar",
    }
    done = subprocess.run(
        [sys.executable, "-c", script], env=os.environ | asked, capture_output=True, text=True, check=False
    )
    assert "--arrivals" in done.stdout
