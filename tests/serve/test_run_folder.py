"""Where the sockets of a run lie: in the temporary folder, unless their paths would be too long there."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from penstock.errors import BadInputError
from penstock.serve.engine import run_folder as module
from penstock.serve.engine.run_folder import MOST_LETTERS, run_folder

LONGEST_SOCKET = 107
"""The kernel's limit of 108 bytes, with its end."""


def test_it_is_in_the_temporary_folder(tmp_path, monkeypatch):
    short = Path(tempfile.mkdtemp(dir="/tmp"))
    monkeypatch.setattr(tempfile, "tempdir", str(short))
    folder = run_folder()
    assert folder.parent == short
    assert folder.stat().st_mode & 0o077 == 0
    shutil.rmtree(short)


def test_a_long_temporary_folder_is_not_used(tmp_path, monkeypatch):
    long = tmp_path / ("x" * MOST_LETTERS)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    folder = run_folder()
    assert folder.parent == Path("/tmp")
    assert list(long.iterdir()) == []
    shutil.rmtree(folder)


def test_the_longest_socket_fits():
    folder = f"{'x' * MOST_LETTERS}/penstock-12345678"
    assert len(f"{folder}/worker-99999-99999999.bell") <= LONGEST_SOCKET


def test_no_place_is_said_with_what_was_tried(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "run_parents", lambda: [tmp_path / ("x" * MOST_LETTERS), tmp_path / "none"])
    monkeypatch.setattr(module, "MOST_LETTERS", len(str(tmp_path / "none")))
    with pytest.raises(BadInputError, match=r"longer than .* letters.*No such file.*Set TMPDIR"):
        run_folder()


@pytest.fixture
def parent(monkeypatch):
    """A temporary folder of its own, whose path is short."""
    with tempfile.TemporaryDirectory(dir="/tmp") as short:
        monkeypatch.setattr(module, "run_parents", lambda: [Path(short)])
        yield Path(short)


MAKE = """
import sys
from pathlib import Path
from penstock.serve.engine import run_folder as module
module.run_parents = lambda: [Path(sys.argv[1])]
print(module.run_folder(), flush=True)
sys.stdin.read()
"""


def test_only_a_folder_whose_owner_is_dead_is_removed(parent):
    """The owner is another process; killed, it cannot remove anything itself."""
    owner = subprocess.Popen(
        [sys.executable, "-c", MAKE, str(parent)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    left = Path(owner.stdout.readline().strip())
    (left / "deep").mkdir()
    (left / "deep" / "model.onnx").write_bytes(b"x")
    mine, of_nobody = run_folder(), parent / "penstock-unfinished"
    of_nobody.mkdir()
    elsewhere = parent / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / module.OWNER).touch()
    (parent / "penstock-link").symlink_to(elsewhere)
    assert module.remove_left_behind() == []
    assert not module.is_left_behind(left)
    owner.kill()
    owner.wait()
    owner.stdin.close()
    owner.stdout.close()
    assert module.is_left_behind(left)
    assert module.remove_left_behind() == [left]
    assert sorted(path.name for path in parent.iterdir()) == sorted(
        [mine.name, of_nobody.name, "elsewhere", "penstock-link"]
    )
    assert module.remove_left_behind() == []
