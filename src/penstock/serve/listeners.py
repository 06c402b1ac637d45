"""The addresses of a server, shared by all its gateways.

The supervisor binds each address and does not listen: so the address is the server's from its start to its end, and
the system gives each new connection to a gateway that listens there (``SO_REUSEPORT``). If a gateway dies, the
connections that it had are lost, and new ones go to the others.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path

import msgspec

from penstock.errors import BadInputError

_FILE = "listeners.msgpack"
BACKLOG = 1_024


@dataclass(frozen=True)
class Address:
    """Where to listen; port 0 lets the system choose."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """``HOST:PORT`` (``[::1]:8000`` for IPv6); ``:PORT`` means loopback."""
        host, separator, port = text.rpartition(":")
        if not separator or not port.isascii() or not port.isdigit() or int(port) > 65_535:
            raise BadInputError(f"address {text!r} must be HOST:PORT with a port of 0 to 65535.")
        return cls(host.strip("[]") or "127.0.0.1", int(port))

    @property
    def text(self) -> str:
        """``HOST:PORT``."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """The URL of an HTTP server here."""
        return f"http://{self.text}"


class Listeners(msgspec.Struct, frozen=True):
    """The addresses of a server, with the ports that were chosen."""

    http: Address
    grpc: Address | None = None


def reserved(address: Address, *, option: str = "--http") -> socket.socket:
    """A socket bound to ``address`` that does not listen; :class:`BadInputError` if it is taken or not ours.

    Another server is refused, although the sockets of one server share the address.
    """
    try:
        family = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[0][0]
        if address.port:
            _refuse_taken(address, family)
        return _bound(address, family)
    except OSError as error:
        raise BadInputError(
            f"cannot listen on {address.host}:{address.port} ({error.strerror or error}). "
            f"Stop what uses that port, or choose another with {option} (port 0 takes a free one)."
        ) from None


def address_of(bound: socket.socket) -> Address:
    """Where ``bound`` is bound."""
    host, port = bound.getsockname()[:2]
    return Address(host, port)


def shared_listener(address: Address) -> socket.socket:
    """A socket that listens on ``address`` beside those of the other gateways."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    made = _bound(address, family)
    made.listen(BACKLOG)
    return made


def write_listeners(listeners: Listeners, folder: Path) -> None:
    """Leave ``listeners`` in the run folder."""
    (folder / _FILE).write_bytes(msgspec.msgpack.encode(listeners))


def read_listeners(folder: Path) -> Listeners:
    """The addresses from the run folder."""
    return msgspec.msgpack.decode((folder / _FILE).read_bytes(), type=Listeners)


def _refuse_taken(address: Address, family: int) -> None:
    """Bind without sharing once: a server of the same user that shares the port would be joined otherwise."""
    with socket.socket(family, socket.SOCK_STREAM) as alone:
        # A port whose last connections are closing is free.
        alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        alone.bind((address.host, address.port))
        alone.listen(1)


def _bound(address: Address, family: int) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        made.bind((address.host, address.port))
    except OSError:
        made.close()
        raise
    return made
