"""The progress bar as a terminal shows it."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from pathlib import Path

import pytest

from api.small_study import write_study

RUN = (
    "from penstock.cli.common import watching; watching.QUICK_S = 0.0; "
    "from penstock.cli.main import main; main()"
)
"""The command line, whose bar appears at once."""

LONGEST_S = 120.0


def seen_on_a_terminal(*arguments: object) -> tuple[str, str]:
    """Standard output of the command, and what a terminal on standard error got."""
    terminal, side = os.openpty()
    command = [sys.executable, "-c", RUN, *map(str, arguments)]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "30", "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=side, env=environment) as process:
        os.close(side)
        shown = b""
        try:
            while select.select([terminal], [], [], LONGEST_S)[0]:
                part = os.read(terminal, 65_536)
                if not part:
                    break
                shown += part
        except OSError:
            pass  # so Linux says that nobody writes to it any more
        finally:
            os.close(terminal)
        assert process.stdout is not None
        printed = process.stdout.read()
        assert process.wait(LONGEST_S) == 0, shown
    return printed.decode(), shown.decode()


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="this system has no pseudo-terminals")
def test_a_terminal_shows_one_bar_with_the_time_left_and_takes_it_away(tmp_path: Path):
    scenario = write_study(tmp_path)
    quick = ("--seconds", 1, "--seeds", 40, "--load", "0.5")
    subprocess.run(
        [sys.executable, "-m", "penstock", "plan", str(scenario), "-o", str(tmp_path / "plan.json")],
        check=True,
    )
    printed, shown = seen_on_a_terminal("simulate", tmp_path / "plan.json", *quick)
    assert "simulating" in shown
    assert "━" in shown
    assert "left" in shown
    assert "%" in shown
    # The last thing is to erase the line of the bar and to show the cursor again.
    assert "\x1b[2K" in shown
    assert shown.rindex("\x1b[?25h") > shown.rindex("━")
    assert "━" not in printed
    assert "attainment" in printed
