"""The agent's part in the gateways of its host: it starts them, watches them, and is between them and the head.

They serve at the host's own address, which the agent keeps from its first gateway to its end. A gateway that ends or
hangs is reported, and started again with a new number when the head says so. If the head cannot be reached, nobody
decides about requests: then the gateways refuse what waits and what comes with 503. They make room for new ones when
the head is back.
"""

from __future__ import annotations

import selectors
import socket
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import final

import msgspec

from penstock.clock import Clock
from penstock.errors import BadInputError
from penstock.serve.control import Alive, HeadLost, Problem, Stop
from penstock.serve.engine.child import Child
from penstock.serve.engine.elsewhere import GatewayEnded, GatewaySaid
from penstock.serve.engine.watch.hang_watch import HangWatch
from penstock.serve.engine.worker_keeper import END_S
from penstock.serve.hosts.agent_messages import AgentNote, CountersPart, StartGateway, TellGateway
from penstock.serve.hosts.gateways.counter_copies import CountersOut, gateway_of, keep_counters
from penstock.serve.hosts.gateways.row_copies import RowsOut
from penstock.serve.listeners import Address, Listeners, address_of, reserved, write_listeners
from penstock.serve.spec import read_spec
from penstock.units import NEVER_US, US_PER_S

COPY_US = US_PER_S
"""How often rows and counters go to the head."""
ROWS = "rows"
"""The folder for them in the run folder of a host."""


@final
class AgentGateways:
    """The gateways of the host at address ``here``. ``tell`` passes a message to the head."""

    def __init__(
        self,
        folder: Path,
        here: str,
        selector: selectors.BaseSelector,
        clock: Clock,
        tell: Callable[[msgspec.Struct], None],
    ) -> None:
        self._folder = folder
        self._here = here
        self._selector = selector
        self._clock = clock
        self._tell = tell
        self._living: dict[int, Child] = {}
        self._headless: set[int] = set()
        self._started: set[int] = set()
        self._sockets: list[socket.socket] = []
        self._watch = HangWatch(clock.now_us())
        self._rows = RowsOut(folder / ROWS)
        self._counters = CountersOut(folder, self._is_own)
        self._has_head = False
        self._copy_us = 0

    @property
    def next_us(self) -> int:
        """When :meth:`turn` has something to do."""
        return min(self._watch.next_us, self._copy_us) if self._started else NEVER_US

    def meet_head(self, rows: Mapping[str, int]) -> None:
        """The head is there, and has so many bytes of the files of rows. Gateways that it has given up end."""
        self._has_head = True
        self._rows.resume(rows)
        self._counters.forget()
        for number in self._headless & self._living.keys():
            self._living[number].send(Stop())

    def lose_head(self) -> None:
        """The head cannot be reached, and has given up the gateways of this host."""
        self._has_head = False
        for child in self._living.values():
            child.send(HeadLost())
        self._headless |= self._living.keys()

    def start(self, order: StartGateway) -> None:
        """Start a gateway; the spec of its plan is in the run folder."""
        try:
            self._reserve(order)
        except BadInputError as error:
            self._tell(GatewayEnded(order.gateway, str(error)))
            return
        log_format = read_spec(self._folder, order.epoch).listen.log_format
        child = Child("gateway", self._folder, order.gateway, order.epoch, log_format=log_format)
        self._living[order.gateway] = child
        self._started.add(order.gateway)
        self._selector.register(child.line, selectors.EVENT_READ, partial(self._hear, order.gateway, child))

    def pass_on(self, message: TellGateway) -> None:
        """What the head has to say to a gateway."""
        child = self._living.get(message.gateway)
        if child is not None:
            child.send(message.message)

    def keep(self, part: CountersPart) -> None:
        """Counters of other hosts came."""
        keep_counters(part, self._folder)

    def turn(self) -> None:
        """Kill a gateway that hangs; bring rows and counters to the head."""
        now_us = self._clock.now_us()
        for child, silent_us in self._watch.look(now_us, self._living.values()):
            child.problem = f"it hung: no answer for {silent_us / US_PER_S:.1f} s"
            child.kill()
        if now_us >= self._copy_us:
            self._copy_us = now_us + COPY_US
            self._copy()

    def stop(self) -> None:
        """Let every gateway drain and end, and bring what is left to the head."""
        for child in self._living.values():
            self._selector.unregister(child.line)
            child.send(Stop())
        for child in self._living.values():
            child.reap(END_S)
        self._living = {}
        self._copy()
        for one in self._sockets:
            one.close()

    def _reserve(self, order: StartGateway) -> None:
        """Take the addresses of the host, and keep them."""
        if self._sockets:
            return
        http = reserved(Address(self._here, order.http_port))
        self._sockets.append(http)
        grpc = None
        if order.grpc_port is not None:
            try:
                grpc = reserved(Address(self._here, order.grpc_port), option="--grpc")
            except BadInputError:
                self._sockets.pop().close()
                raise
            self._sockets.append(grpc)
        listeners = Listeners(address_of(http), None if grpc is None else address_of(grpc))
        write_listeners(listeners, self._folder)
        also = "" if listeners.grpc is None else f", gRPC at {listeners.grpc.text}"
        self._tell(AgentNote(f"gateways at {listeners.http.text}{also}"))

    def _hear(self, number: int, child: Child) -> None:
        messages = child.line.receive()
        if messages is None:
            self._bury(number, child)
        for message in messages or ():
            if isinstance(message, Problem):
                child.problem = message.message
            elif isinstance(message, Alive):
                self._watch.answered(self._clock.now_us(), child)
            elif number not in self._headless:
                self._tell(GatewaySaid(number, message))

    def _bury(self, number: int, child: Child) -> None:
        """A gateway has ended: its last rows go before the news of it."""
        self._selector.unregister(child.line)
        reason = child.reap(END_S)
        del self._living[number]
        self._copy()
        if number not in self._headless:
            self._tell(GatewayEnded(number, reason))

    def _copy(self) -> None:
        if self._has_head:
            for part in (*self._rows.parts(), *self._counters.parts()):
                self._tell(part)

    def _is_own(self, name: str) -> bool:
        """Whether counters of this name are those of a gateway of this host; others are copies."""
        return gateway_of(name) in self._started
