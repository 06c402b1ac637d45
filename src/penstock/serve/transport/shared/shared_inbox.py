"""Where one process receives from others of its host: the sockets of its senders."""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, final

from penstock.serve.transport.interface import Received, least
from penstock.serve.transport.shared.sender import Sender, Step

if TYPE_CHECKING:
    from penstock.serve.transport.shared.shared_memory import SharedMemoryTransport

RETRY_S = 0.05
"""How often a process that waits looks again for a peer that did not listen."""
_BACKLOG = 1_024
_MOST_EVENTS = 256
_MOST_PACKETS = 64
"""Of one sender at a time, so that the others are heard too."""


@final
class SharedMemoryInbox:
    """See :class:`penstock.serve.transport.interface.Inbox`."""

    def __init__(self, transport: SharedMemoryTransport, endpoint: str, path: str) -> None:
        self.endpoint = endpoint
        self._transport = transport
        self._path = path
        Path(path).unlink(missing_ok=True)  # of a process that died, in whose place this one is
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.bind(path)
        self._listener.listen(_BACKLOG)
        self._listener.setblocking(False)
        self._look = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._senders: dict[int, Sender] = {}
        self._events = select.epoll()
        self._events.register(self._listener, select.EPOLLIN)
        self._events.register(self._look, select.EPOLLIN)

    def fileno(self) -> int:
        """Of all sockets."""
        return self._events.fileno()

    def wait(self, timeout_s: float | None = None) -> None:
        """Sleep until something may have come, or a peer that did not listen may do so now."""
        self._events.poll(least(timeout_s, self.patience_s), 1)

    @property
    def patience_s(self) -> float | None:
        """Not long while a message waits for a peer that does not listen."""
        return RETRY_S if self._transport.waits_for_peer else None

    def waiting(self) -> Iterator[Received]:
        """What is there. The descriptor stays readable if there is more."""
        self._transport.flush()
        for descriptor, _ in self._events.poll(0, _MOST_EVENTS):
            if descriptor in self._senders:
                yield from self._hear(self._senders[descriptor])
            elif descriptor == self._listener.fileno():
                while (sender := self._accepted()) is not None:
                    yield from self._hear(sender)
            elif descriptor == self._look:
                with suppress(BlockingIOError):
                    os.eventfd_read(self._look)

    def look(self) -> None:
        """Let whoever waits here look: there is something to send. Any thread may call it."""
        os.eventfd_write(self._look, 1)

    def watch_room(self, descriptor: int) -> None:
        """Wake whoever waits here when the socket of a link has room."""
        with suppress(FileExistsError):
            self._events.register(descriptor, select.EPOLLOUT)

    def forget_room(self, descriptor: int) -> None:
        """No more."""
        with suppress(FileNotFoundError):
            self._events.unregister(descriptor)

    def close(self) -> None:
        """Receive nothing more. Arrays that were received stay readable."""
        for sender in self._senders.values():
            sender.bell.close()
        self._senders.clear()
        self._listener.close()
        self._events.close()
        os.close(self._look)
        Path(self._path).unlink(missing_ok=True)

    def _accepted(self) -> Sender | None:
        try:
            bell, _ = self._listener.accept()
        except OSError:
            return None
        bell.setblocking(False)
        sender = self._senders[bell.fileno()] = Sender(bell)
        self._events.register(bell, select.EPOLLIN)
        return sender

    def _hear(self, sender: Sender) -> Iterator[Received]:
        """What ``sender`` sent."""
        for _ in range(_MOST_PACKETS):
            found = sender.receive()
            if isinstance(found, Received):
                yield found
            elif found is Step.NONE:
                return
            elif found is Step.OVER:
                self._forget(sender)
                return

    def _forget(self, sender: Sender) -> None:
        if self._senders.pop(sender.bell.fileno(), None) is not None:
            self._events.unregister(sender.bell)
            sender.bell.close()
