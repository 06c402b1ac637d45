"""Transports by name; shared memory is imported only if it is asked for."""

from __future__ import annotations

import sys
from pathlib import Path

from penstock.errors import BadInputError
from penstock.serve.spec import TransportName
from penstock.serve.transport.endpoints import read_place
from penstock.serve.transport.interface import Transport
from penstock.serve.transport.zeromq import ZeroMqTransport


def open_transport(name: TransportName, process: str, folder: Path | None = None) -> Transport:
    """The transport of one process; ``process`` names it in messages to people.

    ``folder``: its run folder, which says if the run has many hosts; then ``name`` is the transport within a host.
    Raises :class:`BadInputError` if this system does not have it.
    """
    place = None if folder is None else read_place(folder)
    if folder is not None and place is not None:
        from penstock.serve.transport.by_host import HostTransport
        from penstock.serve.transport.curve import read_keys

        return HostTransport(
            _within_host(name, process), ZeroMqTransport(read_keys(folder)), place.here, folder
        )
    return _within_host(name, process)


def _within_host(name: TransportName, process: str) -> Transport:
    if name == "zeromq":
        return ZeroMqTransport()
    if not sys.platform.startswith("linux"):
        raise BadInputError(f"shared memory needs Linux, and this is {sys.platform}. Use --transport zeromq.")
    from penstock.serve.transport.shared.shared_memory import SharedMemoryTransport

    return SharedMemoryTransport(process=process)
