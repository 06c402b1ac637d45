"""The control line between the supervisor and each process that it started: a socket pair, one JSON document a line.

If one side dies, of whatever cause, the other sees the end of the stream at once. So no process is left behind, and
none waits for one that is gone.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable

import msgspec


class Ready(msgspec.Struct, frozen=True, tag=True):
    """From a process: it is ready. Workers and gateways say where they listen for messages."""

    endpoint: str = ""


class Problem(msgspec.Struct, frozen=True, tag=True):
    """From a process: it cannot work, for this reason, and will end now."""

    message: str


class WorkerUp(msgspec.Struct, frozen=True, tag=True):
    """To the dispatcher: a worker may get work."""

    worker: int
    endpoint: str


class WorkerDown(msgspec.Struct, frozen=True, tag=True):
    """To the dispatcher: a worker died, with all it held."""

    worker: int
    reason: str


class WorkerSilent(msgspec.Struct, frozen=True, tag=True):
    """From the dispatcher: this worker does not answer, and gets no work for now. Say if it could have answered."""

    worker: int


class WorkerCouldRun(msgspec.Struct, frozen=True, tag=True):
    """To the dispatcher: since it was asked about, this worker had a core for long enough to answer."""

    worker: int


class WorkerHung(msgspec.Struct, frozen=True, tag=True):
    """From the dispatcher: this worker does not go on, for this reason. It gets no more work and is to be replaced."""

    worker: int
    why: str


class GatewayUp(msgspec.Struct, frozen=True, tag=True):
    """To the dispatcher: a gateway listens at ``endpoint``."""

    gateway: int
    endpoint: str


class GatewayDown(msgspec.Struct, frozen=True, tag=True):
    """To the dispatcher: a gateway died."""

    gateway: int


class PlanAdded(msgspec.Struct, frozen=True, tag=True):
    """To gateways and dispatcher: there is a spec of this epoch in the run folder. A gateway answers the same."""

    epoch: int


class Switch(msgspec.Struct, frozen=True, tag=True):
    """To the dispatcher, then to the command ``switch``: the plan of this epoch is served from now on.

    From a gateway: its new requests belong to this epoch.
    """

    epoch: int


class Drained(msgspec.Struct, frozen=True, tag=True):
    """From the dispatcher, then to gateways: no batch of this epoch is on its way, and there will be none.

    To the dispatcher: the plan of this epoch will not be served, forget it.
    """

    epoch: int


class SwitchTo(msgspec.Struct, frozen=True, tag=True):
    """From the command ``switch`` to the supervisor: load the plan of this epoch, whose spec is in the run folder."""

    epoch: int


class Progress(msgspec.Struct, frozen=True, tag=True):
    """From the supervisor to the command ``switch``: for people."""

    text: str


class Serving(msgspec.Struct, frozen=True, tag=True):
    """From a gateway: it is ready for requests for every model."""


class HeadLost(msgspec.Struct, frozen=True, tag=True):
    """From an agent to a gateway: the head cannot be reached. Refuse what waits and what comes, until you end."""


class Alive(msgspec.Struct, frozen=True, tag=True):
    """To a process: are you alive? It answers the same, from its main loop."""


class Stop(msgspec.Struct, frozen=True, tag=True):
    """To a process: finish what is in flight, then end."""


ControlMessage = (
    Ready
    | Problem
    | WorkerUp
    | WorkerDown
    | WorkerSilent
    | WorkerCouldRun
    | WorkerHung
    | GatewayUp
    | GatewayDown
    | PlanAdded
    | Switch
    | Drained
    | Serving
    | HeadLost
    | Alive
    | SwitchTo
    | Progress
    | Stop
)
_decoder: msgspec.json.Decoder[ControlMessage] = msgspec.json.Decoder(ControlMessage)


class ControlLine:
    """One end of the line. ``answers``: whether this end answers :class:`Alive` as soon as it reads that."""

    def __init__(self, end: socket.socket, *, answers: bool = False) -> None:
        self._end = end
        self._answers = answers
        self._rest = b""

    @classmethod
    def of_child(cls) -> ControlLine:
        """The child's end, which the supervisor passes as standard input.

        It answers :class:`Alive` itself. Read it in the main loop, and an answer says that this loop turns.
        """
        return cls(socket.socket(fileno=os.dup(0)), answers=True)

    def fileno(self) -> int:
        """For ``select``."""
        return self._end.fileno()

    def send(self, message: ControlMessage) -> None:
        """Write ``message``. If the peer is gone, the next :meth:`receive` says so."""
        try:
            self._end.sendall(msgspec.json.encode(message) + b"\n")
        except OSError:
            return

    def receive(self) -> list[ControlMessage] | None:
        """The messages that came, after waiting for some; None when the peer is gone.

        There may be none: questions that this end answers itself are left out.
        """
        try:
            data = self._end.recv(65_536)
        except OSError:
            return None
        if not data:
            return None
        *lines, self._rest = (self._rest + data).split(b"\n")
        messages = [_decoder.decode(line) for line in lines]
        if self._answers and Alive() in messages:
            self.send(Alive())
            return [message for message in messages if message != Alive()]
        return messages

    def close(self) -> None:
        """End the line."""
        self._end.close()


def end_with_supervisor(line: ControlLine, last: Callable[[], None] = lambda: None) -> None:
    """End this process when it is told to stop, or when the supervisor is gone.

    A thread waits for this, because the process itself may be inside an executor. ``last`` is called before the end.
    """

    def wait() -> None:
        while (messages := line.receive()) is not None:
            if any(isinstance(message, Stop) for message in messages):
                break
        try:
            last()
        finally:
            os._exit(0)

    threading.Thread(target=wait, name="end-with-supervisor", daemon=True).start()


def leave_signals_to_supervisor() -> None:
    """Ignore the signals that stop the server: they may reach every process of a group or a control group.

    Only the supervisor acts on them. Its children end when it tells them to, or when it is gone.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
