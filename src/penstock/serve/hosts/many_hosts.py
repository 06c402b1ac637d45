"""Puts a run on many hosts together: keys, the head's ports, a launcher, and the hub that supervises through it."""

from __future__ import annotations

import selectors
import socket
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import SystemRandom
from typing import Protocol, final

from penstock.clock import MonotonicClock
from penstock.cluster import Cluster
from penstock.errors import BadInputError
from penstock.serve.engine.worker_keeper import KeeperReport
from penstock.serve.hosts.gateways.at_head import GatewaysOn
from penstock.serve.hosts.hub import AgentHub
from penstock.serve.hosts.launcher import Launcher
from penstock.serve.hosts.link_check import HostLink
from penstock.serve.observe.catalogue import LINK
from penstock.serve.observe.counter_file import Counters, counters_path
from penstock.serve.transport.curve import CurveKeys, write_keys
from penstock.serve.transport.endpoints import Place, write_place

_PORTS = range(20_000, 32_000)
"""Below those that Linux gives out by itself, so that a port is still free when a process asks for it."""
_TRIES = 100

Note = Callable[[str], None]


class MakeLauncher(Protocol):
    """Makes a launcher for a run: its folder, its keys, and who hears notes for people."""

    def __call__(self, folder: Path, keys: CurveKeys, note: Note) -> Launcher:
        """The launcher."""
        ...


@dataclass(frozen=True)
class HostsChoice:
    """Where the hosts of a plan come from, the ``cluster`` that it was made for, and which have ``gateways``."""

    launcher: MakeLauncher
    cluster: Cluster
    gateways: GatewaysOn | None = None

    def planned_gbps(self, sender: str, receiver: str) -> float:
        """What the plan was made for between two of its hosts."""
        return self.cluster.link_gbps(sender.rpartition(":")[0], receiver.rpartition(":")[0])


@final
class ManyHosts:
    """The hosts of the run in ``folder``. Call :meth:`close` at the end, whether it served or not.

    ``rows``: the folder for rows of the record, if there is one.
    """

    def __init__(self, folder: Path, choice: HostsChoice, note: Note, rows: Path | None = None) -> None:
        self._choice = choice
        self._rows = rows
        self._folder = folder
        self._keys = write_keys(folder)
        self._launcher = choice.launcher(folder, self._keys, note)
        try:
            head = self._launcher.head_address
            self._port = free_port(head)
            write_place(Place(here=head, head=head, port=self._port, is_head=True), folder)
        except BaseException:
            self._launcher.close()
            raise

    def keeper(
        self, selector: selectors.BaseSelector, report: Callable[[KeeperReport], None], note: Note
    ) -> AgentHub:
        """Who supervises the workers."""
        return AgentHub(
            self._keys,
            self._port,
            self._launcher,
            MonotonicClock(),
            selector,
            report,
            note,
            self._choice.planned_gbps,
            self._count_links,
            self._folder,
            self._choice.gateways,
            self._rows,
        )

    def _count_links(self, gbps: Mapping[HostLink, float]) -> None:
        """Leave what was measured for the metrics."""
        if gbps:
            counters = Counters(((LINK, link) for link in gbps), counters_path(self._folder, "links"))
            for link, found in gbps.items():
                counters.cell(LINK, link).set(round(found * 1e9))

    def close(self) -> None:
        """Let go of every host."""
        self._launcher.close()


def free_port(address: str) -> int:
    """A port of ``address`` that nobody has, for the dispatcher.

    It is not kept. If another program takes it before the dispatcher does, the dispatcher says so.
    """
    choose = SystemRandom()
    for _ in range(_TRIES):
        port = choose.choice(_PORTS)
        try:
            with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tried:
                tried.bind((address, port))
        except OSError:
            continue
        return port
    raise BadInputError(
        f"{address} has no free port from {_PORTS.start} to {_PORTS.stop}. Is it an address of this host?"
    )


def rehearsed(cluster: Cluster, *, delay_us: int = 0) -> MakeLauncher:
    """Hosts as network namespaces of this machine (``--rehearse-hosts``), with the bandwidths of ``cluster``."""
    from penstock.serve.hosts.rehearsal import NamespaceLauncher

    def gbps_of(host: str) -> float:
        return cluster.bandwidth_gbps_of(host.rpartition(":")[0])

    def make(folder: Path, keys: CurveKeys, note: Note) -> Launcher:
        return NamespaceLauncher(folder, keys, gbps_of, note, delay_us=delay_us)

    return make


def on_ray(address: str, hosts: Counter[str]) -> MakeLauncher:
    """Hosts as nodes of a Ray cluster (``--engine ray``); ``hosts`` counts those of each device class."""
    from penstock.serve.hosts.ray_launcher import RayLauncher

    def make(folder: Path, keys: CurveKeys, note: Note) -> Launcher:
        return RayLauncher(address, hosts, keys, note)

    return make
