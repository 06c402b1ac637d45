"""One process of the server, as its supervisor sees it."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import final

from penstock.serve.control import ControlLine


@final
class Child:
    """A started process and the line to it. Its death shows as the end of the line."""

    def __init__(self, role: str, folder: Path, *numbers: int, pass_fds: Sequence[int] = ()) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            # Standard output is the command line's: a child's prints are notes, so they join standard error.
            self._process = subprocess.Popen(
                [sys.executable, "-m", "penstock.serve.process", role, str(folder), *map(str, numbers)],
                stdin=theirs.fileno(),
                stdout=2,
                pass_fds=tuple(pass_fds),
            )
        self.role = role
        self.line = ControlLine(ours)
        self.problem = ""

    @property
    def pid(self) -> int:
        """The process id."""
        pid: int = self._process.pid
        return pid

    def reap(self, timeout_s: float) -> str:
        """Wait for the end, by force after ``timeout_s``; returns how it ended."""
        try:
            status = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait()
        self.line.close()
        return self.problem or (f"killed by signal {-status}" if status < 0 else f"exit status {status}")
