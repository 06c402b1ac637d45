"""Commands that the supervisor runs beside itself: verbs of penstock, and a user's hook. It never waits for them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from typing import IO, Protocol, final

_RUN = "from penstock.cli.main import main; main()"
VERB_NICENESS = 5
"""Planning and preparing take seconds of a core. Requests that are served meanwhile must not wait for that; and a plan
that is needed must come, also where all cores are busy: it gets a third of what others get."""


class Running(Protocol):
    """A command that was started."""

    def ended(self) -> str | None:
        """None while it runs; then '' if it went well, else what it said."""
        ...

    def kill(self) -> None:
        """End it."""
        ...


@final
class Command:
    """``words`` in a process group of its own. What it says on standard error is kept, for a note if it fails.

    ``niceness`` is added to this process's. Raises :class:`OSError` if it cannot be started.
    """

    def __init__(self, words: Sequence[str], *, niceness: int = 0) -> None:
        self._said: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the command
        self._process = subprocess.Popen(
            list(words),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self._said,
            process_group=0,
        )
        make_nicer(self._process.pid, niceness)

    def ended(self) -> str | None:
        """See :class:`Running`."""
        status = self._process.poll()
        if status is None:
            return None
        self._said.seek(0)
        lines = self._said.read().decode(errors="replace").strip().splitlines()
        self._said.close()
        return "" if status == 0 else (lines[-1] if lines else f"exit status {status}")

    def kill(self) -> None:
        """End it, and what it has started."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._said.close()


def verb(arguments: Sequence[str]) -> Command:
    """``penstock`` with ``arguments``, which gives way to what serves."""
    return Command([sys.executable, "-c", _RUN, *arguments], niceness=VERB_NICENESS)


def make_nicer(pid: int, niceness: int) -> None:
    """Add ``niceness`` to that of process ``pid``, which has just started; 19 is the most there is."""
    if niceness:
        with suppress(ProcessLookupError):  # it has ended
            os.setpriority(os.PRIO_PROCESS, pid, min(os.getpriority(os.PRIO_PROCESS, 0) + niceness, 19))
