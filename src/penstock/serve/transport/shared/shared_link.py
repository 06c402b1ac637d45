"""The way from one process to another one of its host: a socket, and blocks of the sender's memory.

What the socket has no room for, or what is sent while nobody listens, waits here in order and holds no block. It goes
when there is room, when the next message is sent, or when the owner of the inbox looks again.
"""

from __future__ import annotations

import errno
import logging
import socket
from collections import deque
from collections.abc import Sequence
from threading import RLock
from typing import TYPE_CHECKING, final

import msgspec

from penstock.serve.messages import BatchHeader
from penstock.serve.transport.interface import Parts
from penstock.serve.transport.shared.column import Column, columns_of, with_joined_parts
from penstock.serve.transport.shared.doorbell import (
    BUFFER_BYTES,
    LONGEST_PACKET,
    MEMORY,
    NOTICE,
    Hello,
    Refused,
    Returned,
    from_receiver,
    inline_packet,
    lead,
    offsets_of,
    pieces,
    push,
    receive_packet,
    send_packet,
)
from penstock.serve.transport.wire import WIRE_VERSION, Buffer, encoded

if TYPE_CHECKING:
    from penstock.serve.transport.shared.shared_memory import SharedMemoryTransport

_DEAD = (errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN, errno.ECONNREFUSED)
"""The errors that say that the receiver is gone. After any other one it may still read what was leased to it."""
_log = logging.getLogger("penstock.transport")


@final
class SharedMemoryLink:
    """See :class:`penstock.serve.transport.interface.Link`. Any thread may use it."""

    def __init__(self, transport: SharedMemoryTransport, path: str) -> None:
        self._transport = transport
        self._path = path
        self._lock: RLock = transport.lock
        self._number = -1  # of the holder in the pool
        self._bell: socket.socket | None = None
        self._lent = 0
        self._has_memory = False
        self._takes_memory = True
        self._is_refused = False
        self._is_closed = False
        self._unsent: deque[list[Buffer]] = deque()  # messages, each in one or more packets
        self._at = 0  # packets of the first one that are sent

    @property
    def bell(self) -> socket.socket | None:
        """The socket, if it is connected."""
        return self._bell

    def send(self, message: msgspec.Struct) -> None:
        """At once if there is room."""
        head = encoded(message)
        with self._lock:
            self._say([head] if len(head) <= LONGEST_PACKET else pieces((), head))

    def send_batch(self, header: BatchHeader, groups: Sequence[Parts]) -> None:
        """With the header if the tensors are small, else by shared memory if that can be done at once."""
        header = with_joined_parts(header)
        columns = columns_of(header, groups)
        sizes = [column.n_bytes for column in columns]
        with self._lock:
            if self._sent_inline(header, columns, sizes) or self._sent_by_memory(header, columns, sizes):
                self._transport.counts.batches += 1
                return
            self._transport.counts.fallbacks += 1
            head = encoded(msgspec.structs.replace(header, fallbacks=header.fallbacks + 1))
            self._say(pieces([column.raw() for column in columns], head))

    def flush(self) -> bool:
        """Send what waits. Returns whether nothing is left; else :attr:`bell` is None if nobody listens."""
        with self._lock:
            was_lost = False
            while self._unsent:
                bell = self._bell or (None if was_lost else self._open())
                if bell is None:
                    return False
                try:
                    packets = self._unsent[0]
                    while self._at < len(packets):
                        push(bell, packets[self._at])
                        self._at += 1
                except OSError as error:
                    if error.errno not in _DEAD:
                        return False
                    # One that was started again at this address gets the message from its beginning.
                    self._lose()
                    was_lost = True
                    continue
                self._unsent.popleft()
                self._at = 0
            return True

    def hear(self) -> None:
        """Take back what the receiver returned."""
        with self._lock:
            while self._bell is not None and self._lent:
                data = receive_packet(self._bell)
                if data is None:
                    break
                self._take(data)
            if self._is_closed and not self._lent:
                self._lose()

    def close(self) -> None:
        """Send nothing more. What the receiver still reads stays as it is until it returned that, or is dead."""
        with self._lock:
            self._is_closed = True
            self._drop_unsent()
            self.hear()

    def end(self) -> None:
        """Close the socket: nothing will be written here any more."""
        with self._lock:
            self._is_closed = True
            self._drop_unsent()
            self._lose()

    def _say(self, packets: list[Buffer]) -> None:
        if self._is_closed or self._is_refused:
            return
        if not self._unsent and len(packets) == 1 and self._pushed(packets[0]):
            return
        self._unsent.append(packets)
        if not self.flush():
            self._transport.has_unsent(self)

    def _pushed(self, packet: Buffer) -> bool:
        """Whether ``packet`` was sent. There must be nothing that waits."""
        bell = self._bell or self._open()
        if bell is None:
            return False
        try:
            push(bell, packet)
        except OSError as error:
            if error.errno in _DEAD:
                self._lose()
            return False
        return True

    def _sent_inline(self, header: BatchHeader, columns: Sequence[Column], sizes: Sequence[int]) -> bool:
        if self._unsent or sum(sizes) > self._transport.inline_bytes:
            return False
        packet = inline_packet(sizes, [column.raw() for column in columns], encoded(header))
        return len(packet) <= LONGEST_PACKET and self._pushed(packet)

    def _sent_by_memory(self, header: BatchHeader, columns: Sequence[Column], sizes: Sequence[int]) -> bool:
        """Write the batch and tell the receiver; False if nothing was sent."""
        self.hear()
        if self._unsent or self._is_closed or not self._takes_memory:
            return False
        head = encoded(header)
        bell = self._bell or self._open()
        if bell is None or len(head) + 8 * len(sizes) > LONGEST_PACKET // 2 or not self._gave_memory(bell):
            return False
        offsets, n_bytes = offsets_of(sizes)
        grant = self._transport.block_for(self._number, n_bytes)
        if grant is None:
            return False
        self._lent += 1
        memory = self._transport.file().memory[grant.offset :]
        for column, offset, size in zip(columns, offsets, sizes, strict=True):
            column.write(memory[offset : offset + size])
        if not self._pushed(lead(NOTICE, sizes, grant.lease, grant.offset) + head):
            if self._bell is not None:  # else all its leases have ended
                self._return([grant.lease])
            return False
        return True

    def _gave_memory(self, bell: socket.socket) -> bool:
        """Whether the receiver has the descriptor of the memory. It gets it before the first batch that lies there."""
        if self._has_memory:
            return True
        descriptor = self._transport.file().descriptor
        if not self._pushed(lead(MEMORY, ())):
            return False
        try:
            socket.send_fds(bell, [b"memory"], [descriptor])
        except OSError:
            self._lose()  # the receiver waits for a descriptor: begin anew
            return False
        self._has_memory = True
        return True

    def _take(self, data: bytes) -> None:
        """A packet of the receiver; an empty one is its end."""
        packet = from_receiver.decode(data) if data else None
        if packet is None:
            self._lose()
        elif isinstance(packet, Returned):
            self._return(packet.leases)
        elif isinstance(packet, Refused):
            self._refused(packet)
            self._lose()
        else:
            self._takes_memory = False

    def _refused(self, packet: Refused) -> None:
        """The receiver will not listen, whatever is said: drop it."""
        if not self._is_refused:
            _log.error("a process of this server does not listen to this one: %s", packet.why)
        self._is_refused = True
        self._drop_unsent()

    def _return(self, leases: Sequence[int]) -> None:
        self._transport.take_back(self._number, leases)
        self._lent -= len(leases)

    def _open(self) -> socket.socket | None:
        """Connect and greet; None if nobody listens, or there is no room for another sender now."""
        if self._is_closed or self._is_refused:
            return None
        bell = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        bell.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)
        bell.setblocking(False)
        try:
            bell.connect(self._path)
            send_packet(bell, Hello(WIRE_VERSION, self._transport.process))
        except OSError:
            bell.close()
            return None
        self._bell = bell
        self._number = self._transport.opened(self)
        return bell

    def _lose(self) -> None:
        """The receiver is dead, or gets nothing more: close the socket. All leases end."""
        bell, self._bell = self._bell, None
        if bell is None:
            return
        self._has_memory = False
        self._lent = 0
        self._at = 0
        self._transport.forget(self._number, bell)
        # What it said last may be why it does not listen. A first error can come before that.
        for data in (receive_packet(bell), receive_packet(bell)):
            if data and isinstance(packet := from_receiver.decode(data), Refused):
                self._refused(packet)
        bell.close()

    def _drop_unsent(self) -> None:
        self._unsent.clear()
        self._at = 0
