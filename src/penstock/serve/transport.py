"""ZeroMQ between the processes of one host: a PULL socket where a process listens, a PUSH to each peer.

Sockets are files in the run folder, which only the user may enter. Queues are unbounded: the policy and
the gateway's limits bound what is in flight, and a full queue must never block a decision.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np
import zmq

from penstock.serve.messages import BatchHeader, Hop, TensorHeader
from penstock.serve.protocol.infer import Tensor
from penstock.serve.protocol.raw import Array, array_from_raw, raw_from_array

Buffer = bytes | memoryview
_encoder = msgspec.msgpack.Encoder()


def dispatcher_endpoint(folder: Path) -> str:
    """Where the dispatcher listens."""
    return f"ipc://{folder}/dispatcher"


def gateway_endpoint(folder: Path) -> str:
    """Where the gateway listens."""
    return f"ipc://{folder}/gateway"


def worker_endpoint(folder: Path, worker: int, life: int) -> str:
    """Where a worker listens in its ``life``-th life: what was sent to the last one dies with it."""
    return f"ipc://{folder}/worker-{worker}-{life}"


def listen(context: zmq.Context[zmq.Socket[bytes]], endpoint: str) -> zmq.Socket[bytes]:
    """A socket that receives whatever peers send to ``endpoint``."""
    socket = context.socket(zmq.PULL)
    socket.setsockopt(zmq.RCVHWM, 0)
    socket.setsockopt(zmq.LINGER, 0)
    socket.bind(endpoint)
    return socket


def connect(context: zmq.Context[zmq.Socket[bytes]], endpoint: str) -> zmq.Socket[bytes]:
    """A socket that sends to ``endpoint`` and never blocks."""
    socket = context.socket(zmq.PUSH)
    socket.setsockopt(zmq.SNDHWM, 0)
    socket.setsockopt(zmq.LINGER, 200)
    socket.connect(endpoint)
    return socket


def send(socket: zmq.Socket[bytes], message: msgspec.Struct, frames: Sequence[Buffer] = ()) -> None:
    """Queue ``message`` and its frames; large frames go without a copy, so they must not change after."""
    head = _encoder.encode(message)
    if frames:
        socket.send_multipart([head, *frames], zmq.NOBLOCK, copy=False)
    else:
        socket.send(head, zmq.NOBLOCK)


def received(socket: zmq.Socket[bytes]) -> Iterator[list[zmq.Frame]]:
    """Every message that waits at ``socket``, without blocking."""
    while True:
        try:
            yield socket.recv_multipart(zmq.NOBLOCK, copy=False)
        except zmq.Again:
            return


class WorkerLinks:
    """Sockets to workers, opened on first use; a worker's new endpoint replaces its old one."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        self._context = context
        self._links: dict[int, tuple[str, zmq.Socket[bytes]]] = {}

    def to(self, hop: Hop) -> zmq.Socket[bytes]:
        """The socket to ``hop``."""
        link = self._links.get(hop.worker)
        if link is not None and link[0] == hop.endpoint:
            return link[1]
        if link is not None:
            link[1].close(linger=0)
        socket = connect(self._context, hop.endpoint)
        self._links[hop.worker] = (hop.endpoint, socket)
        return socket


def tensor_headers(parts: Sequence[Sequence[Tensor]]) -> tuple[TensorHeader, ...]:
    """Headers of a batch gathered from ``parts``, each with the same tensors in the same order."""
    if len(parts) == 1:
        return tuple(TensorHeader(t.name, t.datatype, t.array.shape) for t in parts[0])
    rows = sum(len(part[0].array) for part in parts)
    return tuple(TensorHeader(t.name, t.datatype, (rows, *t.array.shape[1:])) for t in parts[0])


def tensor_frames(parts: Sequence[Sequence[Tensor]]) -> list[Buffer]:
    """The raw frames in the order of :class:`BatchHeader`."""
    columns = range(len(parts[0]))
    return [raw_from_array(part[c].datatype, part[c].array) for c in columns for part in parts]


def read_tensors(header: BatchHeader, frames: Sequence[zmq.Frame]) -> list[Tensor]:
    """The batch's tensors; views of ``frames`` where each came in one part."""
    count = len(header.parts)
    tensors = []
    for index, tensor in enumerate(header.tensors):
        pieces = [frame.buffer for frame in frames[index * count : (index + 1) * count]]
        tensors.append(Tensor(tensor.name, tensor.datatype, _joined(header, tensor, pieces)))
    return tensors


def _joined(header: BatchHeader, tensor: TensorHeader, pieces: Sequence[memoryview]) -> Array:
    if len(pieces) == 1:
        return array_from_raw(tensor.datatype, tensor.shape, pieces[0])
    rest = tensor.shape[1:]
    arrays = [
        array_from_raw(tensor.datatype, (rows, *rest), piece)
        for rows, piece in zip(header.parts, pieces, strict=True)
    ]
    return np.concatenate(arrays)
