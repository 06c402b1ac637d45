"""The head's part in gateways on other hosts: it passes on what the engine decides, and takes in rows and counters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import final

import msgspec

from penstock.serve.control import ControlMessage, PlanAdded, Ready, Serving, Switch
from penstock.serve.engine.elsewhere import GatewayEnded, GatewaySaid
from penstock.serve.hosts.agent_messages import CountersPart, RowsPart, StartGateway, TellGateway
from penstock.serve.hosts.gateways.counter_copies import CountersOut, gateway_of, keep_counters
from penstock.serve.hosts.gateways.row_copies import RowsIn
from penstock.serve.observe.counter_file import counters_path, silence
from penstock.units import US_PER_S

COPY_US = US_PER_S
"""How often counters go to the hosts."""
_FROM_GATEWAY = Ready | Serving | PlanAdded | Switch
"""What a gateway has to say to the engine."""


@dataclass(frozen=True)
class GatewaysOn:
    """Hosts of the plan that have gateways too, and their ports: 0 takes a free one, ``grpc_port`` None means none."""

    hosts: tuple[str, ...] = ()
    http_port: int = 0
    grpc_port: int | None = None


@final
class HeadGateways:
    """See :class:`penstock.serve.engine.elsewhere.GatewaysElsewhere`. ``folder`` is the head's run folder.

    ``rows``: the folder for rows of the record, if there is one. ``tell`` sends a message to the agent of a host if it
    is there; ``is_there`` says whether it is, and may start processes. ``report`` is the engine's.
    """

    def __init__(
        self,
        asked: GatewaysOn,
        folder: Path,
        rows: Path | None,
        is_there: Callable[[str], bool],
        tell: Callable[[str, msgspec.Struct], None],
        report: Callable[[GatewaySaid | GatewayEnded], None],
    ) -> None:
        self._asked = asked
        self._folder = folder
        self._is_there = is_there
        self._tell = tell
        self._report = report
        self._host_of: dict[int, str] = {}
        self._rows = None if rows is None else RowsIn(rows, self._host_of)
        self._living: set[int] = set()
        self._copies: dict[str, str] = {}  # the host of each file of counters that was copied here
        self._counters = {
            host: CountersOut(folder, partial(self._is_for, host)) for host in dict.fromkeys(asked.hosts)
        }
        self._copy_us = 0

    @property
    def hosts(self) -> tuple[str, ...]:
        """Those that have gateways."""
        return tuple(self._counters)

    def can_start(self, host: str) -> bool:
        """Whether the agent of ``host`` is there."""
        return self._is_there(host)

    def start(self, host: str, gateway: int, epoch: int) -> None:
        """Let the agent of ``host`` start a gateway."""
        self._host_of[gateway] = host
        self._living.add(gateway)
        self._tell(host, StartGateway(gateway, epoch, self._asked.http_port, self._asked.grpc_port))

    def tell(self, gateway: int, message: ControlMessage) -> None:
        """Let its agent pass ``message`` on."""
        if gateway in self._living:
            self._tell(self._host_of[gateway], TellGateway(gateway, message))

    def rows_of(self, host: str) -> dict[str, int]:
        """The bytes that are here of the files of rows of ``host``."""
        return {} if self._rows is None else self._rows.there(host)

    def came_back(self, host: str) -> None:
        """An agent of ``host`` connected, which has no counters of others."""
        if host in self._counters:
            self._counters[host].forget()

    def lost(self, host: str, why: str) -> None:
        """``host`` is gone, and with it its gateways."""
        for name, its in self._copies.items():
            if its == host:
                silence(counters_path(self._folder, name))
        for gateway in sorted(self._living):
            if self._host_of[gateway] == host:
                self._end(GatewayEnded(gateway, f"host {host} is gone: {why}", is_host_gone=True))

    def hear(self, host: str, message: GatewaySaid | GatewayEnded | RowsPart | CountersPart) -> None:
        """What the agent of ``host`` says. Nobody is believed about the gateways of others.

        Raises :class:`BadInputError` if rows or counters cannot be of this host.
        """
        if isinstance(message, RowsPart):
            if self._rows is not None:
                self._rows.add(host, message)
        elif isinstance(message, CountersPart):
            if self._host_of.get(gateway_of(message.name) or 0) == host:
                self._copies[message.name] = host
                keep_counters(message, self._folder)
        elif self._host_of.get(message.gateway) == host and message.gateway in self._living:
            if isinstance(message, GatewayEnded):
                self._end(message)
            elif isinstance(message.message, _FROM_GATEWAY):
                self._report(message)

    def turn(self, now_us: int) -> None:
        """Bring the counters of all others to each host with gateways."""
        if now_us < self._copy_us:
            return
        self._copy_us = now_us + COPY_US
        for host, counters in self._counters.items():
            if self._is_there(host):
                for part in counters.parts():
                    self._tell(host, part)

    def _end(self, message: GatewayEnded) -> None:
        self._living.discard(message.gateway)
        self._report(message)

    def _is_for(self, host: str, name: str) -> bool:
        return self._copies.get(name) != host
