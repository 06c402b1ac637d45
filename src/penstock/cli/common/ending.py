"""Signals end a command as an error would: what is open is closed, and temporary folders are removed."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

IMPORT_WAIT_S = 0.02
"""A signal that came during an import is sent again after so long."""


def end_on_signal(number: int, frame: FrameType | None) -> None:
    """The handler of a signal that ends the command, with the exit status of a program that it killed."""
    if _is_importing(frame):
        # Modules in C++ define classes while they are imported, and many end the process with a core dump if an
        # exception comes from there. So the signal waits until the import is over.
        threading.Timer(IMPORT_WAIT_S, os.kill, (os.getpid(), number)).start()
        return
    raise SystemExit(128 + number)


@contextmanager
def signals_end() -> Iterator[None]:
    """SIGTERM and SIGHUP end the command; after the block they do what they did before.

    For a server that holds until the engine takes the signals over; and again after that, but then it only ends what
    still runs.
    """
    before = {number: signal.signal(number, end_on_signal) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _is_importing(frame: FrameType | None) -> bool:
    """Whether ``frame`` runs for an import statement."""
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False
