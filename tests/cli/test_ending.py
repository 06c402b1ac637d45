"""A signal ends a command by an exception, but never in the middle of an import."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import sys
import time

from penstock.cli.common.ending import signals_end

sys.path.insert(0, sys.argv[1])
with signals_end():
    try:
        import stopped
        time.sleep(60)
    except SystemExit as end:
        print(end.code, "stopped" in sys.modules, sys.modules["stopped"].is_whole)
"""


def test_a_signal_waits_for_the_end_of_an_import(tmp_path):
    stopped = "import os, signal\nos.kill(os.getpid(), signal.SIGTERM)\nis_whole = True\n"
    (tmp_path / "stopped.py").write_text(stopped)
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (run.returncode, run.stdout) == (0, "143 True True\n"), run.stderr
