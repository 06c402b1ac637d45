"""One process of the server, as its supervisor sees it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import final

from penstock.serve.control import ControlLine, ControlMessage
from penstock.serve.engine.command import make_nicer
from penstock.serve.listen.options import LogFormat


@final
class Child:
    """A started process and its control line. When the process dies, the line ends.

    ``niceness`` is added to this process's, before it has loaded anything.
    """

    def __init__(
        self,
        role: str,
        folder: Path,
        *numbers: int,
        log_format: LogFormat = "text",
        environment: Mapping[str, str] | None = None,
        niceness: int = 0,
    ) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            # Standard output belongs to the command. What a child prints is a note, so it goes to standard error.
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "penstock.serve.process_entry"),
                    *(role, str(folder), log_format),
                    *map(str, numbers),
                ],
                stdin=theirs.fileno(),
                stdout=2,
                # Signals to the group of the command are for the supervisor only, from the very first moment.
                process_group=0,
                env={**os.environ, **(environment or {})},
            )
        make_nicer(self._process.pid, niceness)
        self.role = role
        self.line = ControlLine(ours)
        self.problem = ""

    @property
    def pid(self) -> int:
        """The process id."""
        pid: int = self._process.pid
        return pid

    def send(self, message: ControlMessage) -> None:
        """Write to its control line."""
        self.line.send(message)

    def kill(self) -> None:
        """End it at once: it may hang inside a device that is gone. Its line tells of the end, as ever."""
        self._process.kill()

    def reap(self, timeout_s: float) -> str:
        """Wait for the end, by force after ``timeout_s``; returns how it ended."""
        try:
            status = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait()
        self.line.close()
        return self.problem or (f"killed by signal {-status}" if status < 0 else f"exit status {status}")
