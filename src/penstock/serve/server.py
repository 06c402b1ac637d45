"""``penstock serve`` as a function: from a plan to a server that runs until it is told to stop."""

from __future__ import annotations

import shutil
import socket
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from penstock.clock import MonotonicClock
from penstock.errors import BadInputError
from penstock.record import Record
from penstock.serve.engine.local import LocalEngine
from penstock.serve.rows import joined_record
from penstock.serve.spec import ServerSpec, write_spec
from penstock.units import NEVER_US, us_from_seconds


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


def listening_socket(address: Address) -> socket.socket:
    """A TCP socket bound to ``address`` and listening; :class:`BadInputError` if it is taken or not ours."""
    try:
        family = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((address.host, address.port), family=family, backlog=1024)
    except OSError as error:
        raise BadInputError(
            f"cannot listen on {address.host}:{address.port} ({error.strerror or error}). "
            f"Stop what uses that port, or choose another with --http (port 0 takes a free one)."
        ) from None


def url_of(listener: socket.socket) -> str:
    """The URL of a server that listens on ``listener``."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def run_folder() -> Path:
    """A new folder that only this user may enter, for sockets and sub-models of one run."""
    return Path(tempfile.mkdtemp(prefix="penstock-"))


def serve(
    spec: ServerSpec,
    folder: Path,
    listener: socket.socket,
    *,
    on_ready: Callable[[str], None],
    note: Callable[[str], None],
    seconds: float | None = None,
) -> Record | None:
    """Serve until SIGINT or SIGTERM, or for ``seconds``; then drain and end every process.

    ``on_ready`` gets the URL once all workers are up. ``folder`` (of :func:`run_folder`) is removed. Returns
    the record if ``spec`` asks for one. Raises :class:`PenstockError` if a process cannot start, or if the
    gateway or the dispatcher dies.
    """
    try:
        write_spec(spec, folder)
        engine = LocalEngine(spec, folder, listener, note)
        try:
            if engine.start():
                on_ready(url_of(listener))
                until_us = NEVER_US
                if seconds is not None:
                    until_us = MonotonicClock().now_us() + us_from_seconds(seconds)
                engine.run(until_us)
        finally:
            engine.stop()
        return joined_record(spec, folder) if spec.keep_record else None
    finally:
        listener.close()
        shutil.rmtree(folder, ignore_errors=True)
