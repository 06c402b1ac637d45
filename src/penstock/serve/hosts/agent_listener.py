"""Where agents connect to the head: who is let in, and what those are told who are not."""

from __future__ import annotations

import selectors
import socket
from collections.abc import Callable, Collection
from functools import partial
from typing import final

import msgspec

import penstock
from penstock.errors import BadInputError
from penstock.serve.hosts.agent_messages import FromAgent, Hello, Refused
from penstock.serve.hosts.host_line import SILENCE_US, HostLine
from penstock.serve.listeners import Address

LEAVE_S = 1.0
"""How long the last messages to an agent may take."""

AgentLine = HostLine[FromAgent]
Refuse = Callable[[str, str], None]
"""Gets the host whose agent was refused, and why."""
TakeIn = Callable[[AgentLine, Hello, list[FromAgent]], None]
"""Gets the line of an agent that was let in, what it said of itself, and what else it has said already."""


@final
class AgentListener:
    """Listens at ``head_address``, on any free port. ``hosts``: those that a plan has; only their agents are let in.

    ``secret``: of the run; a peer without it is not heard. ``take_in`` gets those that are let in, and registers their
    lines in the selector anew. ``refused`` hears of others that have the secret. ``note`` is for people.
    """

    def __init__(
        self,
        head_address: str,
        secret: bytes,
        selector: selectors.BaseSelector,
        hosts: Collection[str],
        take_in: TakeIn,
        refused: Refuse,
        note: Callable[[str], None],
    ) -> None:
        self._secret = secret
        self._selector = selector
        self._hosts = hosts
        self._take_in = take_in
        self._refused = refused
        self._note = note
        self._strangers: set[AgentLine] = set()
        self._socket = socket.create_server((head_address, 0), backlog=256)
        self._socket.setblocking(False)
        self._selector.register(self._socket, selectors.EVENT_READ, self._accept)
        self.address = Address(head_address, self._socket.getsockname()[1])

    @property
    def strangers(self) -> Collection[AgentLine]:
        """The lines of those that have not said who they are."""
        return self._strangers

    def turn(self, now_us: int) -> None:
        """Dismiss those that are silent."""
        for line in [line for line in self._strangers if now_us - line.heard_us > SILENCE_US]:
            self._dismiss(line)

    def close(self) -> None:
        """Listen no more."""
        for line in list(self._strangers):
            self._dismiss(line)
        self._selector.unregister(self._socket)
        self._socket.close()

    def _accept(self) -> None:
        try:
            end = self._socket.accept()[0]
        except OSError:
            return  # it has gone already
        end.settimeout(None)
        line: AgentLine = HostLine(end, self._secret, msgspec.msgpack.Decoder(FromAgent), is_head=True)
        self._strangers.add(line)
        self._selector.register(line, selectors.EVENT_READ, partial(self._hear, line))

    def _hear(self, line: AgentLine) -> None:
        try:
            messages = line.receive()
        except BadInputError as error:
            self._note(f"a connection of a host was refused: {error}")
            messages = None
        if messages is None:
            self._dismiss(line)
        elif messages:
            hello, *later = messages
            why = self._why_not(hello)
            if why is None and isinstance(hello, Hello):
                self._strangers.discard(line)
                self._take_in(line, hello, later)
            else:
                self._refuse(line, why or "", getattr(hello, "host", "?"))

    def _why_not(self, hello: FromAgent) -> str | None:
        if isinstance(hello, Hello) and hello.version != penstock.__version__:
            return (
                f"it runs penstock {hello.version}, and the head {penstock.__version__}. "
                f"Run the same release on all hosts."
            )
        if not isinstance(hello, Hello) or hello.host not in self._hosts:
            return "no plan that is served has such a host."
        return None

    def _refuse(self, line: AgentLine, why: str, name: str) -> None:
        self._note(f"host {name} was refused: {why}")
        self._refused(name, why)
        line.send(Refused(why))
        self._strangers.discard(line)
        self._selector.unregister(line)
        line.close(LEAVE_S)

    def _dismiss(self, line: AgentLine) -> None:
        self._strangers.discard(line)
        self._selector.unregister(line)
        line.close()
