"""The transport of a run on many hosts: within a host that of the host, between hosts ZeroMQ over TCP with CURVE.

Endpoints are ``tcp://ADDRESS:PORT ipc://PATH`` (:mod:`.endpoints`). A peer is on this host if it has this host's
address and its file is in this host's run folder. Neither alone is enough: hosts of a rehearsal share a file system,
and several agents, or the head and an agent, may have one address.
"""

from __future__ import annotations

import select
from collections.abc import Iterator
from pathlib import Path
from typing import final

from penstock.errors import BadInputError
from penstock.serve.transport.endpoints import IPC
from penstock.serve.transport.interface import Inbox, Link, Received, Transport, TransportCounts, least
from penstock.serve.transport.zeromq import ZeroMqTransport


@final
class HostTransport:
    """``within`` the host at address ``here`` whose run folder is ``folder``, and ``between`` hosts."""

    def __init__(self, within: Transport, between: ZeroMqTransport, here: str, folder: Path) -> None:
        self._within = within
        self._between = between
        self._here = f"tcp://{here}"
        self._local = f"{IPC}{folder}/"
        between.counts = within.counts

    @property
    def counts(self) -> TransportCounts:
        """What the links did, of both kinds."""
        return self._within.counts

    def listen(self, endpoint: str) -> Inbox:
        """An inbox at both addresses of ``endpoint``."""
        address, local = _split(endpoint)
        if not local:
            return self._between.listen(address)
        return TwoInboxes(self._between.listen(address), self._within.listen(local))

    def connect(self, endpoint: str) -> Link:
        """A link to the process at ``endpoint``, by the way that suits its host."""
        address, local = _split(endpoint)
        if address.rpartition(":")[0] == self._here and local.startswith(self._local):
            return self._within.connect(local)
        return self._between.connect(address)

    def flush(self) -> None:
        """Of both kinds."""
        self._within.flush()
        self._between.flush()

    def close(self) -> None:
        """Close every link."""
        self._within.close()
        self._between.close()


@final
class TwoInboxes:
    """Two inboxes as one. Messages of one peer come by one of them, so they keep their order."""

    def __init__(self, first: Inbox, second: Inbox) -> None:
        self._inboxes = (first, second)
        self._both = select.epoll()
        for inbox in self._inboxes:
            self._both.register(inbox.fileno(), select.EPOLLIN)

    @property
    def endpoint(self) -> str:
        """Both addresses."""
        return " ".join(inbox.endpoint for inbox in self._inboxes)

    def fileno(self) -> int:
        """Readable when something may have come to either."""
        return self._both.fileno()

    @property
    def patience_s(self) -> float | None:
        """The shorter one."""
        return least(*(inbox.patience_s for inbox in self._inboxes))

    def wait(self, timeout_s: float | None = None) -> None:
        """Sleep until something may have come to either."""
        self._both.poll(least(timeout_s, self.patience_s))

    def waiting(self) -> Iterator[Received]:
        """Every message that is there."""
        for inbox in self._inboxes:
            yield from inbox.waiting()

    def close(self) -> None:
        """Receive nothing more."""
        self._both.close()
        for inbox in self._inboxes:
            inbox.close()


def _split(endpoint: str) -> tuple[str, str]:
    """The address, and the file or ''."""
    address, _, local = endpoint.partition(" ")
    if not address.startswith("tcp://"):
        raise BadInputError(
            f"endpoint {endpoint!r} must be 'tcp://ADDRESS:PORT ipc://PATH' in a run on many hosts. "
            f"Is its process from another run?"
        )
    return address, local
