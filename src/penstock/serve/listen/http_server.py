"""The HTTP server: its connections, what they hold together, and the sweep that ends those that take too long."""

from __future__ import annotations

import asyncio
import ctypes
import socket
import ssl
from collections.abc import Callable
from email.utils import formatdate
from typing import Any, Protocol, final

from penstock.serve.listen.arrival import arrived_us
from penstock.serve.listen.http_connection import RETRY_AFTER_S, HttpConnection, too_large
from penstock.serve.listen.http_message import HttpHead, HttpResponse
from penstock.serve.listen.options import ListenLimits
from penstock.serve.protocol.errors import ProtocolError

SWEEP_S = 0.5
"""How often time limits are looked at."""

SCRATCH_BYTES = 16_384
"""The buffer that all connections receive heads in, one after the other. What follows a head in it is copied, so it
is small."""

# From glibc's malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3


class HttpHandler(Protocol):
    """What answers requests."""

    def begin(self, head: HttpHead) -> Any:
        """Look at a head before its body is read. Returns what ``handle`` gets as ``route``, or raises
        :class:`ProtocolError`."""
        ...

    async def handle(self, head: HttpHead, body: memoryview, route: Any) -> HttpResponse:
        """The response, or :class:`ProtocolError`."""
        ...

    def answered(self, head: HttpHead | None, route: Any, status: int, length: int) -> None:
        """A request that was begun has its answer, or can have none any more (499). Called once for each.

        ``head`` is None if there was none that could be read, ``route`` if ``begin`` refused it.
        """
        ...


def keep_freed_memory() -> None:
    """Ask the C library not to give memory back to the system whenever a body is freed.

    By default each body of more than about 128 KB is new memory, which the kernel clears page by page when it is
    first written: for 600 KB that is more time than the rest of the server takes (benchmarks/http_servers.py). Only
    glibc has these settings.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 32 * 2**20)
        mallopt(_M_TRIM_THRESHOLD, 128 * 2**20)


@final
class HttpServer:
    """Create it, :meth:`listen`, and :meth:`close` it, inside the running loop."""

    def __init__(
        self, handler: HttpHandler, limits: ListenLimits, body_bytes: int, now_us: Callable[[], int]
    ) -> None:
        self.limits = limits
        self.body_bytes = body_bytes
        self.scratch = memoryview(bytearray(SCRATCH_BYTES))
        self.is_closing = False
        self.held_bytes = 0
        self.handle = handler.handle
        self.answered = handler.answered
        self._handler = handler
        self._now_us = now_us
        self._loop = asyncio.get_running_loop()
        self.now_s = self._loop.time
        self._connections: set[HttpConnection] = set()
        self._servers: list[asyncio.Server] = []
        self._date = (0, "")
        keep_freed_memory()
        self._sweeper = self._loop.create_task(self._sweep())

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._connections)

    async def listen(self, listener: socket.socket, tls: ssl.SSLContext | None = None) -> None:
        """Accept on ``listener``."""
        server = await self._loop.create_server(
            lambda: HttpConnection(self), sock=listener, backlog=1024, ssl=tls
        )
        self._servers.append(server)

    async def close(self, limit_s: float = 2.0) -> None:
        """Accept no more; connections may finish the answer that they work on, for ``limit_s``."""
        self.is_closing = True
        for server in self._servers:
            server.close()
        for connection in list(self._connections):
            connection.stop()
        end_s = self.now_s() + limit_s
        while self._connections and self.now_s() < end_s:
            await asyncio.sleep(0.01)
        for connection in list(self._connections):
            connection.abort()
        self._sweeper.cancel()

    def take(self, connection: HttpConnection) -> bool:
        """Whether ``connection`` may stay."""
        has_room = len(self._connections) < self.limits.connections
        self._connections.add(connection)
        return has_room

    def leave(self, connection: HttpConnection) -> None:
        """``connection`` is gone."""
        self._connections.discard(connection)

    def begin(self, head: HttpHead) -> Any:
        """What the handler says of ``head``, or :class:`ProtocolError`."""
        route = self._handler.begin(head)
        if head.length > self.body_bytes:
            raise too_large(self.body_bytes)
        return route

    def hold(self, count: int) -> None:
        """Take ``count`` bytes of the room that all bodies share; 503 if there are not so many."""
        if self.held_bytes + count > self.limits.held_bytes:
            raise ProtocolError(
                503,
                f"bodies of {self.held_bytes} bytes are held; at most {self.limits.held_bytes} may be.",
                retry_after_s=RETRY_AFTER_S,
            )
        self.held_bytes += count

    def release(self, count: int) -> None:
        """Give them back."""
        self.held_bytes -= count

    def arrival_us(self) -> int:
        """When the bytes that are read now had arrived."""
        return arrived_us(self._loop, self._now_us)

    def date(self) -> str:
        """The ``Date`` of an answer."""
        second = int(self._loop.time())
        if second != self._date[0]:
            self._date = (second, formatdate(usegmt=True))
        return self._date[1]

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            now_s = self.now_s()
            for connection in [c for c in self._connections if 0 < c.expires_s <= now_s]:
                connection.expire()
