"""ZeroMQ between processes: each listens on a PULL socket and sends on a PUSH socket to each peer.

On one host the sockets are files in the run folder, which only the user may enter. Over TCP every connection uses CURVE
with the keys of the run (:mod:`.curve`); there is no TCP without keys. Queues have no limit, because a full queue must
never block a decision; the policy and the limits of the gateway bound what is in flight.
"""

from __future__ import annotations

import select
from collections.abc import Iterator, Sequence
from typing import final

import msgspec
import zmq

from penstock.errors import BadInputError
from penstock.serve.messages import BatchHeader
from penstock.serve.transport.curve import CurveKeys, SendersOfRun, be_listener, be_sender
from penstock.serve.transport.endpoints import IPC
from penstock.serve.transport.interface import Parts, Received, TransportCounts
from penstock.serve.transport.wire import Buffer, encoded, tensor_frames

Context = zmq.Context[zmq.Socket[bytes]]
Socket = zmq.Socket[bytes]
HEARTBEAT_MS = 500
SILENCE_MS = 2_000
"""After so long without an answer to heartbeats, a connection over TCP is made anew."""


def listen(context: Context, endpoint: str, keys: CurveKeys | None = None) -> Socket:
    """A socket that receives whatever peers send to ``endpoint``."""
    socket = context.socket(zmq.PULL)
    socket.setsockopt(zmq.RCVHWM, 0)
    socket.setsockopt(zmq.LINGER, 0)
    if keys is not None:
        be_listener(socket, keys)
        _notice_silence(socket)
    socket.bind(endpoint)
    return socket


def connect(context: Context, endpoint: str, keys: CurveKeys | None = None) -> Socket:
    """A socket that sends to ``endpoint`` and never blocks."""
    socket = context.socket(zmq.PUSH)
    socket.setsockopt(zmq.SNDHWM, 0)
    socket.setsockopt(zmq.LINGER, 200)
    if keys is not None:
        be_sender(socket, keys)
        _notice_silence(socket)
    socket.connect(endpoint)
    return socket


def _notice_silence(socket: Socket) -> None:
    """Connect anew if a peer is silent: TCP by itself gives a cut connection up after a quarter of an hour only, and
    after a short cut it waits longer than the cut was."""
    socket.setsockopt(zmq.HEARTBEAT_IVL, HEARTBEAT_MS)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, SILENCE_MS)
    socket.setsockopt(zmq.CONNECT_TIMEOUT, SILENCE_MS)


def send(socket: Socket, message: msgspec.Struct, frames: Sequence[Buffer] = ()) -> None:
    """Queue ``message`` and its frames; large frames are not copied, so they must not change afterwards."""
    head = encoded(message)
    if frames:
        socket.send_multipart([head, *frames], zmq.NOBLOCK, copy=False)
    else:
        socket.send(head, zmq.NOBLOCK)


def received(socket: Socket) -> Iterator[list[zmq.Frame]]:
    """Every message that waits at ``socket``, without blocking."""
    while True:
        try:
            yield socket.recv_multipart(zmq.NOBLOCK, copy=False)
        except zmq.Again:
            return


@final
class ZeroMqTransport:
    """See :class:`penstock.serve.transport.interface.Transport`. ``keys`` are needed for ``tcp://`` endpoints."""

    def __init__(self, keys: CurveKeys | None = None) -> None:
        self._context: Context = zmq.Context()
        self._keys = keys
        self._senders = None if keys is None else SendersOfRun(self._context, keys)
        self.counts = TransportCounts()

    def listen(self, endpoint: str) -> ZeroMqInbox:
        """The inbox at ``endpoint``; ``tcp://HOST:0`` takes a free port.

        Raises :class:`BadInputError` if the address cannot be had, or is TCP and there are no keys.
        """
        try:
            return ZeroMqInbox(listen(self._context, endpoint, self._keys_for(endpoint)))
        except zmq.ZMQError as error:
            raise BadInputError(f"cannot listen at {endpoint}: {error}. Choose another address.") from None

    def connect(self, endpoint: str) -> ZeroMqLink:
        """A link to ``endpoint``; :class:`BadInputError` if it is TCP and there are no keys."""
        return ZeroMqLink(connect(self._context, endpoint, self._keys_for(endpoint)), self.counts)

    def flush(self) -> None:
        """Nothing: threads of ZeroMQ send what is queued."""

    def close(self) -> None:
        """Close every socket. A context that the garbage collector ends may wait for its sockets for ever."""
        if self._senders is not None:
            self._senders.close()
        self._context.destroy(linger=0)

    def _keys_for(self, endpoint: str) -> CurveKeys | None:
        if endpoint.startswith(IPC):
            return None
        if self._keys is None:
            raise BadInputError(
                f"{endpoint} is not on this host, and this process has no keys: tensors go encrypted or not at all."
            )
        return self._keys


@final
class ZeroMqInbox:
    """See :class:`penstock.serve.transport.interface.Inbox`."""

    def __init__(self, socket: Socket) -> None:
        self._socket = socket
        self.endpoint: str = socket.getsockopt(zmq.LAST_ENDPOINT).rstrip(b"\0").decode()  # type: ignore[union-attr]

    def fileno(self) -> int:
        """Readable when the state of the socket changed."""
        return self._socket.fileno()

    @property
    def patience_s(self) -> float | None:
        """Any time."""
        return None

    def wait(self, timeout_s: float | None = None) -> None:
        """Sleep until something may have come."""
        select.select([self._socket.fileno()], [], [], timeout_s)

    def waiting(self) -> Iterator[Received]:
        """Every message that is there; frames are the memory that ZeroMQ received into."""
        for head, *frames in received(self._socket):
            yield Received(head.buffer, [frame.buffer for frame in frames])

    def close(self) -> None:
        """Receive nothing more."""
        self._socket.close(linger=0)


@final
class ZeroMqLink:
    """See :class:`penstock.serve.transport.interface.Link`."""

    def __init__(self, socket: Socket, counts: TransportCounts) -> None:
        self._socket = socket
        self._counts = counts

    def send(self, message: msgspec.Struct) -> None:
        """Queue a small message."""
        send(self._socket, message)

    def send_batch(self, header: BatchHeader, groups: Sequence[Parts]) -> None:
        """Queue a batch; each tensor of each part is a frame, not copied."""
        self._counts.batches += 1
        send(self._socket, header, [frame for parts in groups for frame in tensor_frames(parts)])

    def close(self) -> None:
        """Drop what is queued."""
        self._socket.close(linger=0)
