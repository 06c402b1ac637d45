"""An agent's part in measuring a link between two hosts: sends bytes as tensors go, or counts those that come.

They go over ZeroMQ with CURVE, as tensors do. So what is found is what tensors get, and not what the wire could carry.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import final

import msgspec
import zmq

from penstock.serve.hosts.agent_messages import ProbeListening, ProbeMeasured
from penstock.serve.transport.curve import CurveKeys, SendersOfRun, be_listener, be_sender
from penstock.serve.transport.zeromq import Context, Socket

PROBE_BYTES = 2**20
IN_FLIGHT = 4
"""Messages that may wait in each process: a slow link must not fill the memory."""
PATIENCE_MS = 5_000
"""A probe ends after so long without a message."""


@final
class LinkProbe:
    """``tell`` passes a message to the head. Every probe has a thread, which ends by itself."""

    def __init__(self, here: str, keys: CurveKeys, tell: Callable[[msgspec.Struct], None]) -> None:
        self._here = here
        self._keys = keys
        self._tell = tell

    def listen(self) -> None:
        """Count what comes from one sender, and tell the head where, and then how much."""
        threading.Thread(target=self._listen, name="link-probe", daemon=True).start()

    def send(self, endpoint: str, us: int) -> None:
        """Send for ``us`` to another host."""
        threading.Thread(target=self._send, args=(endpoint, us), name="link-probe", daemon=True).start()

    def _listen(self) -> None:
        context: Context = zmq.Context()
        senders = SendersOfRun(context, self._keys)
        socket = context.socket(zmq.PULL)
        try:
            socket.setsockopt(zmq.RCVHWM, IN_FLIGHT)
            socket.setsockopt(zmq.RCVTIMEO, PATIENCE_MS)
            be_listener(socket, self._keys)
            port = socket.bind_to_random_port(f"tcp://{self._here}")
            self._tell(ProbeListening(f"tcp://{self._here}:{port}"))
            self._tell(_counted(socket))
        except zmq.ZMQError:
            return  # the head notices that nothing is told
        finally:
            senders.close()
            context.destroy(linger=0)

    def _send(self, endpoint: str, us: int) -> None:
        context: Context = zmq.Context()
        socket = context.socket(zmq.PUSH)
        try:
            socket.setsockopt(zmq.SNDHWM, IN_FLIGHT)
            socket.setsockopt(zmq.SNDTIMEO, PATIENCE_MS)
            be_sender(socket, self._keys)
            socket.connect(endpoint)
            data = bytes(PROBE_BYTES)
            socket.send(data, copy=False)
            until_ns = time.monotonic_ns() + us * 1_000
            while time.monotonic_ns() < until_ns:
                socket.send(data, copy=False)
            socket.send(b"")
        except zmq.ZMQError:
            return
        finally:
            socket.close(linger=PATIENCE_MS)
            context.term()


def _counted(socket: Socket) -> ProbeMeasured:
    """What came after the first message, until an empty one, and in what time."""
    socket.recv(copy=False)
    begin_ns = last_ns = time.monotonic_ns()
    received = 0
    while size := len(socket.recv(copy=False)):
        received += size
        last_ns = time.monotonic_ns()
    return ProbeMeasured(received, max((last_ns - begin_ns) // 1_000, 1))
