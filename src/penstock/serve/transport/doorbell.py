"""What goes over the socket of a link of shared memory: small packets that wake the receiver, never tensors.

The socket keeps the borders of packets and carries the descriptor of the memory. Its end tells each side that the other
one's process is dead, and the kernel says so only after that process can touch no memory any more.
"""

from __future__ import annotations

import socket

import msgspec

from penstock.errors import BadInputError
from penstock.serve.transport.wire import WIRE_VERSION

BUFFER_BYTES = 1 << 20
"""Of a socket: several hundred notices wait there before a receiver counts as not listening. The system may give
less."""
PACKET_BYTES = 1 << 18
"""The longest packet that is read."""


_AT_ONCE = int(socket.MSG_DONTWAIT)
_AT_ONCE_OR_ERROR = int(socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
"""As plain numbers: flags of Python are added slowly."""


class Hello(msgspec.Struct, frozen=True, array_like=True, tag="hello"):
    """The first packet of a sender, with the descriptor of its memory. ``process`` is for messages to people."""

    version: int
    process: str


class Notice(msgspec.Struct, frozen=True, array_like=True, tag="batch"):
    """A batch lies at ``offset``: tensors of ``sizes`` bytes, each at a multiple of :data:`ALIGNMENT` bytes."""

    lease: int
    offset: int
    sizes: tuple[int, ...]
    head: bytes


class Returned(msgspec.Struct, frozen=True, array_like=True, tag="returned"):
    """Receiver to sender: it has read what was leased."""

    leases: tuple[int, ...]


class Refused(msgspec.Struct, frozen=True, array_like=True, tag="refused"):
    """Receiver to sender: it will not listen."""

    why: str


ALIGNMENT = 64
"""A cache line, and what the vector units of CPUs like best."""

FromSender = Hello | Notice
FromReceiver = Returned | Refused
from_sender: msgspec.msgpack.Decoder[FromSender] = msgspec.msgpack.Decoder(FromSender)
from_receiver: msgspec.msgpack.Decoder[FromReceiver] = msgspec.msgpack.Decoder(FromReceiver)
_encoder = msgspec.msgpack.Encoder()


def send_packet(to: socket.socket, packet: FromSender | FromReceiver) -> None:
    """Send at once, or raise :class:`OSError` and send nothing."""
    to.send(_encoder.encode(packet), _AT_ONCE_OR_ERROR)


def receive_packet(bell: socket.socket) -> bytes | None:
    """The next packet, without blocking; empty if the peer is dead, None if there is none."""
    try:
        return bell.recv(PACKET_BYTES, _AT_ONCE)
    except BlockingIOError:
        return None
    except OSError:
        return b""


def offsets_of(sizes: tuple[int, ...]) -> tuple[list[int], int]:
    """Where each tensor of a block begins, from the block's own beginning; and the bytes of all."""
    offsets = []
    end = 0
    for size in sizes:
        offsets.append(end)
        end += -(-size // ALIGNMENT) * ALIGNMENT
    return offsets, end


def checked_hello(packet: FromSender) -> Hello:
    """``packet`` if it opens a link that this process understands, else :class:`BadInputError`."""
    if not isinstance(packet, Hello):
        raise BadInputError("a sender began without a greeting.")
    if packet.version != WIRE_VERSION:
        raise BadInputError(
            f"{packet.process} speaks wire version {packet.version}, and this process version {WIRE_VERSION} only. "
            f"Run the same release of penstock in all processes: restart the server after an upgrade."
        )
    return packet
