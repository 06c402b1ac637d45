"""Where the processes of a run listen: files in the run folder, which only the user may enter; on many hosts TCP too.

On many hosts an endpoint may be two in one text: ``tcp://ADDRESS:PORT ipc://PATH``. A peer on the same host takes the
file, one on another host the address (:mod:`.by_host`). Each host has a run folder of its own, and a file in it says
where it is.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import msgspec

IPC = "ipc://"
_PLACE = "place.msgpack"


class Place(msgspec.Struct, frozen=True):
    """Where this host and the head, which runs the dispatcher, are as addresses. ``port``: the dispatcher's.

    ``is_head``: whether this is the head's run folder. An agent on the head's machine has another one.
    """

    here: str
    head: str
    port: int
    is_head: bool = False


def write_place(place: Place, folder: Path) -> None:
    """Leave ``place`` in the run folder of a host, before a process starts there."""
    (folder / _PLACE).write_bytes(msgspec.msgpack.encode(place))


@lru_cache(maxsize=64)
def read_place(folder: Path) -> Place | None:
    """The place of the host of ``folder``; None if the run has one host only."""
    path = folder / _PLACE
    return msgspec.msgpack.decode(path.read_bytes(), type=Place) if path.exists() else None


def dispatcher_endpoint(folder: Path) -> str:
    """Where the dispatcher listens, also after a restart: everybody else comes to it."""
    place = read_place(folder)
    local = f"{IPC}{folder}/dispatcher"
    if place is None:
        return local
    address = f"tcp://{place.head}:{place.port}"
    return f"{address} {local}" if place.is_head else address


def gateway_endpoint(folder: Path, gateway: int) -> str:
    """Where a gateway is to listen. Each start of one has a new number; the inbox says which port it got."""
    return _here(folder, f"gateway-{gateway}")


def worker_endpoint(folder: Path, worker: int, generation: int) -> str:
    """Where a worker is to listen. Each restart is a new ``generation``, and gets nothing sent to an older one."""
    return _here(folder, f"worker-{worker}-{generation}")


def doorbell_path(endpoint: str) -> str | None:
    """The socket for shared memory beside ``endpoint``; None for an endpoint of another host."""
    return f"{endpoint.removeprefix(IPC)}.bell" if endpoint.startswith(IPC) else None


def _here(folder: Path, name: str) -> str:
    place = read_place(folder)
    local = f"{IPC}{folder}/{name}"
    return local if place is None else f"tcp://{place.here}:0 {local}"
