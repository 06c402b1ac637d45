"""A server for Python programs, tests and demonstrations: ``penstock serve`` in its own process."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, final

from penstock.errors import PenstockError

_RUN = "from penstock.cli.main import main; main()"
_READY = re.compile(r'\bready: (http[^\s"]+)')


@final
class LocalServer:
    """``with LocalServer(plan, ["--executor", "emulated"]) as server:`` and then ``server.url``.

    It listens on a free port of loopback. It is ready on entry; on exit it is drained, writes its record and ends.
    Raises :class:`PenstockError` with what the server wrote, if it does not start or ends with an error.
    """

    def __init__(
        self,
        plan: Path,
        arguments: Sequence[str] = (),
        *,
        verb: Sequence[str] = ("serve",),
        ready_s: float = 120.0,
    ) -> None:
        self._command = [sys.executable, "-c", _RUN, *verb, str(plan), "--http", "127.0.0.1:0", *arguments]
        self._ready_s = ready_s
        self._notes: list[str] = []
        self._ready = threading.Event()
        self.url = ""

    @property
    def pid(self) -> int:
        """The supervisor's process id."""
        pid: int = self._process.pid
        return pid

    @property
    def notes(self) -> str:
        """What the server wrote to standard error so far."""
        return "".join(self._notes)

    def __enter__(self) -> Self:
        """Start, and wait until requests are admitted."""
        self._process = subprocess.Popen(self._command, stderr=subprocess.PIPE, text=True)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._ready.wait(self._ready_s)
        if not self.url:
            self._end(signal.SIGKILL)
            raise PenstockError(f"the server did not start: {self.notes.strip() or 'it said nothing'}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop by SIGTERM and wait for the end."""
        status = self._end(signal.SIGTERM)
        if status != 0 and error is None:
            raise PenstockError(f"the server ended with status {status}: {self.notes.strip()}")

    def _read(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._notes.append(line)
            # The line is text, or JSON in which a quote ends the message.
            if found := _READY.search(line):
                self.url = found[1]
                self._ready.set()
        self._ready.set()

    def _end(self, number: signal.Signals) -> int:
        if self._process.poll() is None:
            self._process.send_signal(number)
        try:
            status = self._process.wait(30.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait()
        self._reader.join()
        return status
