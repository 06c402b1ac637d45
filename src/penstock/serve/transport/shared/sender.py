"""One peer that sends to this process, as the receiver knows it: what its packets mean, and its memory."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Sequence
from contextlib import suppress
from enum import Enum, auto
from typing import final

import numpy as np

from penstock.errors import BadInputError
from penstock.serve.transport.interface import Received
from penstock.serve.transport.shared.doorbell import (
    INLINE,
    MEMORY,
    MESSAGE,
    NOTICE,
    PIECES,
    Lead,
    Refused,
    Returned,
    Unmapped,
    check_hello,
    offsets_of,
    read_inline,
    read_lead,
    receive_packet,
    receive_piece,
    send_packet,
)
from penstock.serve.transport.shared.lease import Returns, leased
from penstock.serve.transport.shared.memory_file import Memory, mapped

_NO_FRAMES: Sequence[memoryview] = ()
_log = logging.getLogger("penstock.transport")


class Step(Enum):
    """What came of a look at a sender's socket, if no message did."""

    MORE = auto()
    """A packet that is no message yet, or none of those that others see."""
    NONE = auto()
    """No packet."""
    OVER = auto()
    """The sender is dead, or nothing more of it will be read."""


@final
class Assembly:
    """A batch, or a long message, that comes in pieces."""

    def __init__(self, found: Lead) -> None:
        offsets, end = offsets_of(found.sizes)
        memory = np.empty(end + found.first, np.uint8).data
        spans = zip((*offsets, end), (*found.sizes, found.first), strict=True)
        *self._frames, self._head = (memory[at : at + size] for at, size in spans)
        self._rest = [view for view in (*self._frames, self._head) if len(view)]

    def take(self, bell: socket.socket) -> Received | Step:
        """Receive a piece; the message after the last one."""
        count = receive_piece(bell, self._rest[0])
        if not count:
            return Step.NONE if count is None else Step.OVER
        self._rest[0] = self._rest[0][count:]
        if not len(self._rest[0]):
            del self._rest[0]
        return Step.MORE if self._rest else Received(self._head, self._frames)


@final
class Sender:
    """A peer that connected by ``bell``."""

    def __init__(self, bell: socket.socket) -> None:
        self.bell = bell
        self._returns = Returns(bell)
        self._is_known = False
        self._gives_memory = False
        self._memory: Memory | None = None
        self._assembly: Assembly | None = None

    def receive(self) -> Received | Step:
        """Look at the next packet."""
        if self._assembly is not None:
            found = self._assembly.take(self.bell)
            if isinstance(found, Received):
                self._assembly = None
            return found
        if self._gives_memory:
            return self._map()
        data = receive_packet(self.bell)
        if not data:
            return Step.NONE if data is None else Step.OVER
        if not self._is_known:
            return self._greet(data)
        return Received(data, _NO_FRAMES) if data[0] == MESSAGE else self._batch(data)

    def _batch(self, data: bytes) -> Received | Step:
        """A packet about a batch."""
        found = read_lead(data)
        if found.kind == INLINE:
            return Received(*read_inline(data, found))
        if found.kind == NOTICE:
            self._returns.flush()
            return self._leased(data, found)
        if found.kind == PIECES:
            self._assembly = Assembly(found)
        elif found.kind == MEMORY:
            self._gives_memory = True
        else:
            raise BadInputError(
                f"a packet begins with {found.kind}: it is not from this release of penstock."
            )
        return Step.MORE

    def _greet(self, data: bytes) -> Step:
        """The first packet must be a greeting that is understood; else the sender is told why not."""
        try:
            check_hello(data)
        except BadInputError as error:
            _log.warning("refused a sender: %s", error)
            self._tell(Refused(str(error)))
            return Step.OVER
        self._is_known = True
        return Step.MORE

    def _map(self) -> Step:
        """Map the memory whose descriptor is due."""
        flags = socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC
        try:
            data, descriptors, _, _ = socket.recv_fds(self.bell, 64, 1, flags)
        except BlockingIOError:
            return Step.NONE
        except OSError:
            return Step.OVER
        if not data:
            return Step.OVER
        self._gives_memory = False
        try:
            (descriptor,) = descriptors
            self._memory = mapped(descriptor)
        except (BadInputError, ValueError, OSError) as error:
            _log.warning("the memory of a sender cannot be mapped, so its batches come in packets: %s", error)
            self._tell(Unmapped(str(error)))
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        return Step.MORE

    def _leased(self, data: bytes, found: Lead) -> Received | Step:
        """A batch in the sender's memory. It is lost if that could not be mapped, which the sender knows by then."""
        lease, offset = found.first, found.second
        if self._memory is None:
            self._tell(Returned((lease,)))
            return Step.MORE
        offsets, n_bytes = offsets_of(found.sizes)
        if not 0 <= offset <= len(self._memory) - n_bytes:
            raise BadInputError(f"a batch of {n_bytes} bytes at {offset} is outside of its sender's memory.")
        block = leased(self._memory[offset : offset + n_bytes], lease, self._returns)
        frames = [block[at : at + size] for at, size in zip(offsets, found.sizes, strict=True)]
        return Received(memoryview(data)[found.length :], frames)

    def _tell(self, packet: Refused | Returned | Unmapped) -> None:
        with suppress(OSError):  # it is dead, so there is nobody to tell
            send_packet(self.bell, packet)
