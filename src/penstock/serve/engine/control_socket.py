"""The door for commands to a running server: a socket in its run folder, which only the server's user may enter."""

from __future__ import annotations

import selectors
import socket
from pathlib import Path
from typing import final

from penstock.serve.control import ControlLine, ControlMessage

CONTROL = "control"
"""The socket's name in the run folder."""


@final
class ControlSocket:
    """Takes in connections; each is a control line."""

    def __init__(self, folder: Path, selector: selectors.BaseSelector) -> None:
        self._selector = selector
        self._lines: list[ControlLine] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.bind(str(folder / CONTROL))
        self._socket.listen(8)
        selector.register(self._socket, selectors.EVENT_READ, self)

    def accept(self) -> None:
        """A command connects."""
        line = ControlLine(self._socket.accept()[0])
        self._lines.append(line)
        self._selector.register(line, selectors.EVENT_READ, line)

    def hear(self, line: ControlLine) -> list[ControlMessage]:
        """What a command says; a line that ended is closed."""
        messages = line.receive()
        if messages is None:
            self._drop(line)
        return messages or []

    def tell_all(self, message: ControlMessage) -> None:
        """Tell every command that listens."""
        for line in self._lines:
            line.send(message)

    def close(self) -> None:
        """Take in no more, and end every line."""
        for line in list(self._lines):
            self._drop(line)
        self._selector.unregister(self._socket)
        self._socket.close()

    def _drop(self, line: ControlLine) -> None:
        self._lines.remove(line)
        self._selector.unregister(line)
        line.close()


def connected(folder: Path) -> ControlLine:
    """A line to the server of the run folder ``folder``; :class:`OSError` if none listens there."""
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        client.connect(str(folder / CONTROL))
    except OSError:
        client.close()
        raise
    return ControlLine(client)
