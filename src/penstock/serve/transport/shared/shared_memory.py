"""The transport within a host: one socket a link for all messages, and shared memory for large tensors.

Each sender has one memory file (:mod:`.memory_file`) with blocks that are used again (:mod:`.block_pool`). A large
batch is copied once, into a block; parts are joined on the way. A packet on the link's socket (:mod:`.doorbell`) tells
the receiver, which maps the file once and then reads in place. The last view of a block to go returns its lease
(:mod:`.lease`). A small batch goes in the packet itself.

If the memory is full, a batch goes in pieces over the socket: that loses nothing, never blocks, and is counted.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Sequence
from typing import final

from penstock.errors import BadInputError
from penstock.serve.transport.endpoints import doorbell_path
from penstock.serve.transport.interface import TransportCounts
from penstock.serve.transport.shared.block_pool import BlockPool, Grant
from penstock.serve.transport.shared.doorbell import INLINE_BYTES
from penstock.serve.transport.shared.memory_file import MemoryFile
from penstock.serve.transport.shared.shared_inbox import SharedMemoryInbox
from penstock.serve.transport.shared.shared_link import SharedMemoryLink

LIMIT_BYTES = 1 << 30
"""The most memory of one sender, given to it as it needs it."""
_ADDRESSES = 8
"""The file is this many times as long as the limit; see :mod:`.block_pool`."""


@final
class SharedMemoryTransport:
    """See :class:`penstock.serve.transport.interface.Transport`. ``lock`` is held by whoever sends."""

    def __init__(
        self, *, limit_bytes: int = LIMIT_BYTES, process: str = "", inline_bytes: int = INLINE_BYTES
    ) -> None:
        self.process = process or f"process {os.getpid()}"
        self.inline_bytes = inline_bytes
        self.lock = threading.RLock()
        self._limit_bytes = limit_bytes
        self._file: MemoryFile | None = None
        self._pool = BlockPool(limit_bytes, limit_bytes * _ADDRESSES)
        self._links: dict[int, SharedMemoryLink] = {}
        self._next_link = 0
        self._inbox: SharedMemoryInbox | None = None
        self._unsent: dict[SharedMemoryLink, None] = {}
        self.counts = TransportCounts()

    @property
    def waits_for_peer(self) -> bool:
        """Whether a message waits for a peer that does not listen."""
        return bool(self._unsent) and any(link.bell is None for link in list(self._unsent))

    def listen(self, endpoint: str) -> SharedMemoryInbox:
        """The inbox at ``endpoint``, a file of the run folder."""
        self._inbox = SharedMemoryInbox(self, endpoint, _path_of(endpoint))
        return self._inbox

    def connect(self, endpoint: str) -> SharedMemoryLink:
        """A link to ``endpoint``; its socket is opened with its first message."""
        return SharedMemoryLink(self, _path_of(endpoint))

    def flush(self) -> None:
        """Send what had to wait, as far as that can be done now."""
        if not self._unsent:
            return
        with self.lock:
            for link in list(self._unsent):
                bell = link.bell
                if link.flush():
                    del self._unsent[link]
                    if self._inbox is not None and bell is not None and link.bell is bell:
                        self._inbox.forget_room(bell.fileno())
                else:
                    self._watch(link)

    def has_unsent(self, link: SharedMemoryLink) -> None:
        """``link`` could not send all: try again when its socket has room, or soon if there is none."""
        self._unsent[link] = None
        self._watch(link)
        if self._inbox is not None and link.bell is None:
            self._inbox.look()

    def close(self) -> None:
        """Close all links and the inbox. Receivers can read on."""
        with self.lock:
            for link in list(self._links.values()):
                link.end()
            self._unsent.clear()
            if self._inbox is not None:
                self._inbox.close()
                self._inbox = None
            if self._file is not None:
                self._file.close()
                self._file = None

    def opened(self, link: SharedMemoryLink) -> int:
        """The number of a link that has opened its socket; each time it is another one."""
        self._next_link += 1
        self._links[self._next_link] = link
        return self._next_link

    def file(self) -> MemoryFile:
        """The memory of this sender, made with the first link that needs it."""
        if self._file is None:
            self._file = MemoryFile(self._limit_bytes * _ADDRESSES)
        return self._file

    def block_for(self, link: int, n_bytes: int) -> Grant | None:
        """A leased block with memory, or None."""
        grant = self._pool.reuse(n_bytes, link)
        if grant is None:
            # Before more memory is asked for: what did the other receivers return meanwhile?
            for other in list(self._links.values()):
                other.hear()
            grant = self._pool.reuse(n_bytes, link) or self._grown(n_bytes, link)
        return grant

    def take_back(self, link: int, leases: Sequence[int]) -> None:
        """The receiver of ``link`` returned ``leases``, or never heard of them."""
        for lease in leases:
            self._pool.returned(link, lease)

    def forget(self, link: int, bell: socket.socket) -> None:
        """The receiver of ``link`` is dead, or reads nothing of it and gets nothing more; its socket will be closed."""
        self._pool.holder_died(link)
        self._links.pop(link, None)
        if self._inbox is not None:
            self._inbox.forget_room(bell.fileno())

    def _watch(self, link: SharedMemoryLink) -> None:
        if self._inbox is not None and link.bell is not None:
            self._inbox.watch_room(link.bell.fileno())

    def _grown(self, n_bytes: int, link: int) -> Grant | None:
        grant = self._pool.grow(n_bytes, link)
        if grant is None:
            return None
        for offset, size in grant.emptied:
            self.file().empty(offset, size)
        try:
            self.file().fill(grant.offset, grant.size_bytes)
        except OSError:
            # No memory: the batch goes in pieces, and is counted as such.
            self._pool.no_memory(grant)
            return None
        self.counts.blocks_made += 1
        return grant


def _path_of(endpoint: str) -> str:
    path = doorbell_path(endpoint)
    if path is None:
        raise BadInputError(f"endpoint {endpoint!r} is no file: shared memory is for one host.")
    return path
