"""The line between the supervisor and each process it started: a socket pair, one JSON document a line.

Each side sees the other's death as the end of the stream, at once and whatever killed it; so no process
is ever left behind, and none waits for one that is gone.
"""

from __future__ import annotations

import os
import signal
import socket
import threading

import msgspec


class Ready(msgspec.Struct, frozen=True, tag=True):
    """From a process: it works. Workers tell where they listen."""

    endpoint: str = ""


class Problem(msgspec.Struct, frozen=True, tag=True):
    """From a process: it cannot work, and why; it ends after this."""

    message: str


class WorkerUp(msgspec.Struct, frozen=True, tag=True):
    """To the dispatcher: a worker may get work."""

    worker: int
    endpoint: str


class WorkerDown(msgspec.Struct, frozen=True, tag=True):
    """To the dispatcher: a worker died, with all it held."""

    worker: int
    reason: str


class Stop(msgspec.Struct, frozen=True, tag=True):
    """To a process: finish what is in flight, then end."""


ControlMessage = Ready | Problem | WorkerUp | WorkerDown | Stop
_decoder: msgspec.json.Decoder[ControlMessage] = msgspec.json.Decoder(ControlMessage)


class ControlLine:
    """One end of the line."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._rest = b""

    @classmethod
    def of_child(cls) -> ControlLine:
        """The child's end, which the supervisor passes as standard input."""
        return cls(socket.socket(fileno=os.dup(0)))

    def fileno(self) -> int:
        """For ``select``."""
        return self._end.fileno()

    def send(self, message: ControlMessage) -> None:
        """Write ``message``; a peer that is gone is noticed by reading, not here."""
        try:
            self._end.sendall(msgspec.json.encode(message) + b"\n")
        except OSError:
            return

    def receive(self) -> list[ControlMessage] | None:
        """The messages that came, after waiting for some; None when the peer is gone."""
        try:
            data = self._end.recv(65_536)
        except OSError:
            return None
        if not data:
            return None
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [_decoder.decode(line) for line in lines]

    def close(self) -> None:
        """End the line."""
        self._end.close()


def end_with_supervisor(line: ControlLine) -> None:
    """For a process with nothing to hear but its end: leave at once when told to, or when orphaned.

    A thread, because the process may be deep inside an executor when the moment comes.
    """

    def wait() -> None:
        while (messages := line.receive()) is not None:
            if any(isinstance(message, Stop) for message in messages):
                break
        os._exit(0)

    threading.Thread(target=wait, name="end-with-supervisor", daemon=True).start()


def leave_signals_to_supervisor() -> None:
    """Ctrl-C reaches every process of the terminal; only the supervisor acts on it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
