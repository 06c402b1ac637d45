"""What goes over the socket of a link within a host: packets that wake the receiver, in the order of sending.

A packet holds a message; or a batch whose tensors are small, with them; or where a batch lies in the sender's memory. A
batch that could not be written there follows in pieces. The socket keeps the borders of packets and carries the
descriptor of the memory. Its end tells each side that the other one's process is dead, and the kernel says so only
after that process can touch no memory any more.

The first byte of a packet says what it is. A message is sent as it was encoded, so that byte is its own.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from penstock.errors import BadInputError
from penstock.serve.transport.wire import NAME, WIRE_VERSION, Buffer

BUFFER_BYTES = 1 << 20
"""Of a socket: several hundred packets wait there before a receiver counts as not listening. The system may give
less."""
LONGEST_PACKET = 1 << 16
"""What is longer is sent in pieces of this length. Any system's default for a socket's buffer is above it."""
INLINE_BYTES = 1 << 14
"""Tensors of a batch up to this size go with its header: to copy them twice more, in the kernel, costs less than a
lease of a block and its return."""

_AT_ONCE = int(socket.MSG_DONTWAIT)
_AT_ONCE_OR_ERROR = int(socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
"""As plain numbers: flags of Python are added slowly."""

MESSAGE = NAME[0]
NOTICE, INLINE, PIECES, MEMORY = 1, 2, 3, 4
"""``MEMORY``: the next packet has the descriptor of the sender's memory."""

ALIGNMENT = 64
"""A cache line, and what the vector units of CPUs like best."""
INLINE_ALIGNMENT = 16
"""That of any other memory: a packet is received into memory of the C library."""


class Hello(msgspec.Struct, frozen=True, array_like=True, tag="hello"):
    """The first packet of a sender. ``process`` is for messages to people."""

    version: int
    process: str


class Returned(msgspec.Struct, frozen=True, array_like=True, tag="returned"):
    """Receiver to sender: it has read what was leased."""

    leases: tuple[int, ...]


class Refused(msgspec.Struct, frozen=True, array_like=True, tag="refused"):
    """Receiver to sender: it will not listen."""

    why: str


class Unmapped(msgspec.Struct, frozen=True, array_like=True, tag="unmapped"):
    """Receiver to sender: it cannot map the sender's memory, so batches must come in packets."""

    why: str


FromReceiver = Returned | Refused | Unmapped
from_sender: msgspec.msgpack.Decoder[Hello] = msgspec.msgpack.Decoder(Hello)
from_receiver: msgspec.msgpack.Decoder[FromReceiver] = msgspec.msgpack.Decoder(FromReceiver)
_encoder = msgspec.msgpack.Encoder()


class Lead(NamedTuple):
    """The beginning of a packet about a batch: the sizes of its tensors, and two numbers that depend on what it is.

    For a notice these are the lease and the offset of the block; before pieces, the length of the head, and 0.
    """

    kind: int
    sizes: tuple[int, ...]
    first: int
    second: int
    length: int


def lead(kind: int, sizes: Sequence[int], first: int = 0, second: int = 0) -> bytes:
    """The encoded beginning of a packet."""
    return struct.pack(f"<B3xIQQ{len(sizes)}Q", kind, len(sizes), first, second, *sizes)


_FIXED = struct.Struct("<B3xIQQ")


def read_lead(data: bytes) -> Lead:
    """The beginning of ``data``; :class:`BadInputError` if it has none."""
    try:
        kind, count, first, second = _FIXED.unpack_from(data)
        sizes = struct.unpack_from(f"<{count}Q", data, _FIXED.size)
    except struct.error as error:
        raise BadInputError(
            f"a packet of {len(data)} bytes cannot be read ({error}): it is not whole."
        ) from None
    return Lead(kind, sizes, first, second, _FIXED.size + 8 * count)


def inline_packet(sizes: Sequence[int], frames: Sequence[Buffer], head: bytes) -> bytes:
    """A batch with its tensors. They come before the head, so that where they begin is a matter of their sizes."""
    start = lead(INLINE, sizes)
    parts: list[Buffer] = [start, bytes(-len(start) % INLINE_ALIGNMENT)]
    for size, frame in zip(sizes, frames, strict=True):
        parts += (frame, bytes(-size % INLINE_ALIGNMENT))
    parts.append(head)
    return b"".join(parts)


def read_inline(data: bytes, found: Lead) -> tuple[memoryview, list[memoryview]]:
    """Head and tensors of a packet that has both; views of it."""
    view = memoryview(data)
    at = found.length + -found.length % INLINE_ALIGNMENT
    frames = []
    for size in found.sizes:
        frames.append(view[at : at + size])
        at += size + -size % INLINE_ALIGNMENT
    if at > len(data):
        raise BadInputError(f"a packet of {len(data)} bytes should have {at} at least: it is not whole.")
    return view[at:], frames


def pieces(frames: Sequence[Buffer], head: bytes) -> list[Buffer]:
    """The packets of a batch, or of a long message, that goes in pieces: first what follows, then the bytes of it."""
    views = [memoryview(frame).cast("B") for frame in (*frames, head) if len(frame)]
    sizes = [memoryview(frame).nbytes for frame in frames]
    cut = [view[at : at + LONGEST_PACKET] for view in views for at in range(0, len(view), LONGEST_PACKET)]
    return [lead(PIECES, sizes, len(head)), *cut]


def send_packet(to: socket.socket, packet: Hello | FromReceiver) -> None:
    """Send at once, or raise :class:`OSError` and send nothing."""
    to.send(_encoder.encode(packet), _AT_ONCE_OR_ERROR)


def push(to: socket.socket, packet: Buffer) -> None:
    """The same for a packet that is encoded already."""
    to.send(packet, _AT_ONCE_OR_ERROR)


def receive_packet(bell: socket.socket) -> bytes | None:
    """The next packet, without blocking; empty if the peer is dead, None if there is none."""
    try:
        return bell.recv(LONGEST_PACKET, _AT_ONCE)
    except BlockingIOError:
        return None
    except OSError:
        return b""


def receive_piece(bell: socket.socket, into: memoryview) -> int | None:
    """The next packet into ``into``: its length, 0 if the peer is dead, None if there is none."""
    try:
        return bell.recv_into(into, 0, _AT_ONCE)
    except BlockingIOError:
        return None
    except OSError:
        return 0


def offsets_of(sizes: Sequence[int]) -> tuple[list[int], int]:
    """Where each tensor of a block begins, from the block's own beginning; and the bytes of all."""
    offsets = []
    end = 0
    for size in sizes:
        offsets.append(end)
        end += -(-size // ALIGNMENT) * ALIGNMENT
    return offsets, end


def check_hello(data: bytes) -> None:
    """Raise :class:`BadInputError` if ``data`` does not open a link that this process understands."""
    try:
        packet = from_sender.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise BadInputError("a sender began without a greeting.") from None
    if packet.version != WIRE_VERSION:
        raise BadInputError(
            f"{packet.process} speaks wire version {packet.version}, and this process version {WIRE_VERSION} only. "
            f"Run the same release of penstock in all processes: restart the server after an upgrade."
        )
