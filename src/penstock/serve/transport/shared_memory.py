"""Tensors through shared memory, between processes of one host.

Each sender has one memory file (:mod:`.memory_file`) with blocks that are used again (:mod:`.block_pool`). A batch is
copied once, into a block; parts are joined on the way. A packet on the link's socket (:mod:`.doorbell`) tells the
receiver, which maps the file once and then reads in place. The last view of a block to go returns its lease
(:mod:`.lease`).

Small messages go by ZeroMQ, as does a batch if the memory is full, the receiver does not listen, or it is on another
host: such a fallback loses nothing, never blocks, and is counted.
"""

from __future__ import annotations

import logging
import math
import os
import select
import socket
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import final

import msgspec
import numpy as np

from penstock.errors import BadInputError
from penstock.serve.messages import BatchHeader, TensorHeader
from penstock.serve.protocol.datatypes import BYTES, numpy_dtype
from penstock.serve.protocol.infer import Tensor
from penstock.serve.protocol.raw import raw_from_array
from penstock.serve.transport.block_pool import BlockPool, Grant
from penstock.serve.transport.doorbell import (
    BUFFER_BYTES,
    PACKET_BYTES,
    Hello,
    Notice,
    Refused,
    Returned,
    checked_hello,
    from_receiver,
    from_sender,
    offsets_of,
    receive_packet,
    send_packet,
)
from penstock.serve.transport.endpoints import doorbell_path
from penstock.serve.transport.interface import Parts, Received, TransportCounts
from penstock.serve.transport.lease import Returns, leased
from penstock.serve.transport.memory_file import Memory, MemoryFile, mapped
from penstock.serve.transport.wire import WIRE_VERSION, encoded
from penstock.serve.transport.zeromq import ZeroMqInbox, ZeroMqLink, ZeroMqTransport

LIMIT_BYTES = 1 << 30
"""The most memory of one sender, given to it as it needs it."""
_ADDRESSES = 8
"""The file is this many times as long as the limit; see :mod:`.block_pool`."""
_BACKLOG = 1_024


@final
class SharedMemoryTransport:
    """See :class:`penstock.serve.transport.interface.Transport`."""

    def __init__(self, *, limit_bytes: int = LIMIT_BYTES, process: str = "") -> None:
        self._zeromq = ZeroMqTransport()
        self._process = process or f"process {os.getpid()}"
        self._limit_bytes = limit_bytes
        self._file: MemoryFile | None = None
        self._pool = BlockPool(limit_bytes, limit_bytes * _ADDRESSES)
        self._links: dict[int, SharedMemoryLink] = {}
        self._next_link = 0
        self._inbox: SharedMemoryInbox | None = None
        self.counts = TransportCounts()

    def listen(self, endpoint: str) -> SharedMemoryInbox:
        """The inbox at ``endpoint``, a file of the run folder."""
        path = doorbell_path(endpoint)
        if path is None:
            raise BadInputError(f"endpoint {endpoint!r} is no file: shared memory is for one host.")
        self._inbox = SharedMemoryInbox(self._zeromq.listen(endpoint), path)
        return self._inbox

    def connect(self, endpoint: str) -> SharedMemoryLink:
        """A link to ``endpoint``; its doorbell is opened with its first batch."""
        return SharedMemoryLink(self, endpoint, self._zeromq.connect(endpoint))

    def close(self) -> None:
        """Close all links and the inbox. Receivers can read on."""
        for link in list(self._links.values()):
            link.end()
        if self._inbox is not None:
            self._inbox.close()
        self._zeromq.close()
        if self._file is not None:
            self._file.close()
            self._file = None

    def opened(self, link: SharedMemoryLink) -> int:
        """The number of a link that has opened its doorbell."""
        self._next_link += 1
        self._links[self._next_link] = link
        return self._next_link

    def greeting(self) -> Hello:
        """The first packet of a link."""
        return Hello(WIRE_VERSION, self._process)

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

    def is_read(self, link: int) -> bool:
        """Whether the receiver of ``link`` may still read a block."""
        return self._pool.is_holder(link)

    def forget(self, link: int) -> None:
        """The receiver of ``link`` is dead, or reads nothing of it and gets nothing more."""
        self._pool.holder_died(link)
        self._links.pop(link, None)

    def _grown(self, n_bytes: int, link: int) -> Grant | None:
        grant = self._pool.grow(n_bytes, link)
        if grant is None:
            return None
        for offset, size in grant.emptied:
            self.file().empty(offset, size)
        try:
            self.file().fill(grant.offset, grant.size_bytes)
        except OSError:
            # No memory: the batch goes by ZeroMQ, and is counted as such.
            self._pool.no_memory(grant)
            return None
        self.counts.blocks_made += 1
        return grant


@final
class SharedMemoryLink:
    """The way to one receiver."""

    def __init__(self, transport: SharedMemoryTransport, endpoint: str, zeromq: ZeroMqLink) -> None:
        self._transport = transport
        self._number = -1  # of the holder in the pool
        self._path = doorbell_path(endpoint)
        self._zeromq = zeromq
        self._bell: socket.socket | None = None
        self._is_dead = False
        self._is_closed = False

    def send(self, message: msgspec.Struct) -> None:
        """By ZeroMQ."""
        self._zeromq.send(message)

    def send_batch(self, header: BatchHeader, groups: Sequence[Parts]) -> None:
        """By shared memory if that can be done at once."""
        if self._path is None:
            self._zeromq.send_batch(header, groups)
        elif self._ring(header, groups):
            self._transport.counts.batches += 1
        else:
            self._transport.counts.fallbacks += 1
            self._zeromq.send_batch(msgspec.structs.replace(header, fallbacks=header.fallbacks + 1), groups)

    def hear(self) -> None:
        """Take back what the receiver returned."""
        while self._bell is not None:
            data = receive_packet(self._bell)
            if data is None:
                break
            packet = from_receiver.decode(data) if data else None
            if not isinstance(packet, Returned):
                # Dead; or it refused, said why, and will refuse what comes by ZeroMQ for the same reason.
                self.end()
                return
            self._transport.take_back(self._number, packet.leases)
        if self._is_closed and not self._transport.is_read(self._number):
            self.end()

    def close(self) -> None:
        """Send nothing more. What the receiver still reads stays as it is until it returned that, or is dead."""
        self._is_closed = True
        self._zeromq.close()
        self.hear()

    def _ring(self, header: BatchHeader, groups: Sequence[Parts]) -> bool:
        """Write the batch and tell the receiver; False if nothing was sent."""
        self.hear()
        bell = self._bell or self._open()
        if bell is None:
            return False
        tensors = (column for parts in groups for column in zip(*parts, strict=True))
        columns = [_Column(whole, parts) for whole, parts in zip(header.tensors, tensors, strict=True)]
        sizes = tuple(column.n_bytes for column in columns)
        offsets, n_bytes = offsets_of(sizes)
        grant = self._transport.block_for(self._number, n_bytes)
        if grant is None:
            return False
        memory = self._transport.file().memory[grant.offset :]
        for column, offset, size in zip(columns, offsets, sizes, strict=True):
            column.write(memory[offset : offset + size])
        try:
            send_packet(bell, Notice(grant.lease, grant.offset, sizes, encoded(_joined(header))))
        except OSError:
            # Too long, no room, or nobody there: the packet was not sent, so nobody reads the block.
            self._transport.take_back(self._number, [grant.lease])
            return False
        return True

    def _open(self) -> socket.socket | None:
        """Connect and greet; None if the receiver is dead or has no room for another sender now."""
        assert self._path is not None
        if self._is_dead:
            return None
        bell = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        bell.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)
        bell.setblocking(False)
        hello = msgspec.msgpack.encode(self._transport.greeting())
        try:
            bell.connect(self._path)
            socket.send_fds(bell, [hello], [self._transport.file().descriptor])
        except OSError:
            bell.close()
            return None
        self._bell = bell
        self._number = self._transport.opened(self)
        return bell

    def end(self) -> None:
        """Close the socket: nobody reads what was sent here, or nobody will write there any more."""
        self._is_dead = True
        if self._bell is not None:
            self._bell.close()
            self._bell = None
        self._transport.forget(self._number)


def _joined(header: BatchHeader) -> BatchHeader:
    """``header`` of the same batch with one part a group."""
    counts = header.groups or (len(header.parts),)
    if len(counts) == len(header.parts):
        return header
    parts = iter(header.parts)
    sizes = tuple(sum(islice(parts, count)) for count in counts)
    return msgspec.structs.replace(header, parts=sizes, groups=(1,) * len(sizes) if len(sizes) > 1 else ())


@final
class _Column:
    """One tensor of a group, joined of all its parts, as it will lie in a block."""

    def __init__(self, whole: TensorHeader, parts: Sequence[Tensor]) -> None:
        self._shape = whole.shape
        self._axis = whole.axis
        self._arrays = [tensor.array for tensor in (parts if whole.axis >= 0 else parts[:1])]
        self._raw: bytes | memoryview | None = None
        if whole.datatype == BYTES:
            axis = max(whole.axis, 0)
            joined = self._arrays[0] if len(self._arrays) == 1 else np.concatenate(self._arrays, axis)
            self._raw = raw_from_array(BYTES, joined)
            self.n_bytes = len(self._raw)
        else:
            self._dtype = numpy_dtype(whole.datatype)
            self.n_bytes = math.prod(whole.shape) * self._dtype.itemsize

    def write(self, memory: Memory) -> None:
        """Put it into ``memory``, which is as long as it."""
        if self._raw is not None:
            memory[:] = np.frombuffer(self._raw, np.uint8)
            return
        there = memory.view(self._dtype).reshape(self._shape)
        if len(self._arrays) == 1:
            there[...] = self._arrays[0]
            return
        start = 0
        for array in self._arrays:
            stop = start + array.shape[self._axis]
            there[(slice(None),) * self._axis + (slice(start, stop),)] = array
            start = stop


@dataclass(eq=False)
class _Sender:
    """A peer that rang here. ``memory`` is None until its greeting came."""

    bell: socket.socket
    returns: Returns
    memory: Memory | None = None


@final
class SharedMemoryInbox:
    """Where one process receives: the doorbell sockets of its senders, and a ZeroMQ socket."""

    def __init__(self, zeromq: ZeroMqInbox, path: str) -> None:
        self._zeromq = zeromq
        self._path = path
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.bind(path)
        self._listener.listen(_BACKLOG)
        self._listener.setblocking(False)
        self._senders: dict[int, _Sender] = {}
        self._bells = select.epoll()
        self._bells.register(self._listener, select.EPOLLIN)
        self._all = select.epoll()
        self._all.register(self._bells.fileno(), select.EPOLLIN)
        self._all.register(zeromq.fileno(), select.EPOLLIN)

    @property
    def endpoint(self) -> str:
        """The address for peers."""
        return self._zeromq.endpoint

    def fileno(self) -> int:
        """Of both kinds of sockets."""
        return self._all.fileno()

    def wait(self, timeout_s: float | None = None) -> None:
        """Sleep until something may have come."""
        self._all.poll(timeout_s)

    def waiting(self) -> Iterator[Received]:
        """Every message that is there."""
        yield from self._rung()
        for received in self._zeromq.waiting():
            # A peer's batch must not be overtaken by what the same peer said later.
            yield from self._rung()
            yield received

    def close(self) -> None:
        """Receive nothing more. Arrays that were received stay readable."""
        for sender in self._senders.values():
            sender.bell.close()
        self._senders.clear()
        for one in (self._listener, self._bells, self._all, self._zeromq):
            one.close()
        Path(self._path).unlink(missing_ok=True)

    def _rung(self) -> Iterator[Received]:
        """The batches that wait."""
        while events := self._bells.poll(0):
            for descriptor, _ in events:
                if descriptor == self._listener.fileno():
                    self._accept()
                else:
                    yield from self._hear(self._senders[descriptor])

    def _accept(self) -> None:
        try:
            bell, _ = self._listener.accept()
        except BlockingIOError:
            return
        bell.setblocking(False)
        self._senders[bell.fileno()] = _Sender(bell, Returns(bell))
        self._bells.register(bell, select.EPOLLIN)

    def _hear(self, sender: _Sender) -> Iterator[Received]:
        """One packet, because the others of its sender are told of again."""
        if sender.memory is None:
            self._greet(sender)
            return
        data = receive_packet(sender.bell)
        if data:
            sender.returns.flush()
            yield _received(sender, sender.memory, data)
        elif data is not None:
            self._forget(sender)

    def _greet(self, sender: _Sender) -> None:
        """The first packet comes with the descriptor of the memory."""
        flags = socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC
        try:
            data, descriptors, _, _ = socket.recv_fds(sender.bell, PACKET_BYTES, 1, flags)
        except BlockingIOError:
            return
        except OSError:
            data, descriptors = b"", []
        try:
            checked_hello(from_sender.decode(data))
            sender.memory = mapped(*descriptors)
        except (BadInputError, msgspec.MsgspecError, TypeError, OSError) as error:
            if data:
                logging.getLogger("penstock.transport").warning("refused a sender: %s", error)
                with suppress(OSError):  # it is dead, so there is nobody to tell
                    send_packet(sender.bell, Refused(str(error)))
            self._forget(sender)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def _forget(self, sender: _Sender) -> None:
        self._bells.unregister(sender.bell)
        del self._senders[sender.bell.fileno()]
        sender.bell.close()


def _received(sender: _Sender, memory: Memory, data: bytes) -> Received:
    notice = from_sender.decode(data)
    if not isinstance(notice, Notice):
        raise BadInputError("a sender greeted twice.")
    offsets, n_bytes = offsets_of(notice.sizes)
    if not 0 <= notice.offset <= len(memory) - n_bytes:
        raise BadInputError(
            f"a batch of {n_bytes} bytes at {notice.offset} is outside of its sender's memory."
        )
    block = leased(memory[notice.offset : notice.offset + n_bytes], notice.lease, sender.returns)
    frames = [block[at : at + size] for at, size in zip(offsets, notice.sizes, strict=True)]
    return Received(notice.head, frames)
