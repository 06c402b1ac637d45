"""One HTTP/1.1 connection: it frames requests, and bounds what a client can make the server hold or wait for.

A head goes to :class:`RequestReader`, which decides where a request ends. A body of known length is received
straight into its own memory, so that no byte of it is copied. Requests of a connection are answered one at a time;
what a client sends ahead is kept up to the limit of a head, and then not read.

Every state has a time limit, which :meth:`HttpConnection.expire` enforces when :class:`HttpServer` sweeps. Only a
request that is being handled has none here: its deadline is the model's.
"""

from __future__ import annotations

import asyncio
import logging
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, cast, final

import numpy as np

from penstock.serve.listen.http_message import HttpHead, HttpResponse, error_response, response_head
from penstock.serve.listen.request_reader import RequestReader
from penstock.serve.protocol.errors import ProtocolError

if TYPE_CHECKING:
    from penstock.serve.listen.http_server import HttpServer

SKIPPED_BYTES = 65_536
"""A refused body up to this size is read, so that the connection can be used again."""

LINGER_S = 5.0
LINGER_BYTES = 2**24
"""How long, and how much, a refused client may go on sending. If the socket closed at once, it would not see the
answer."""

RETRY_AFTER_S = 1
CLIENT_GONE = 499
"""In place of a status: the client closed its connection before the answer (nginx's number for it)."""

_END_OF_HEAD = b"\r\n\r\n"
_log = logging.getLogger("penstock.http")


class State(Enum):
    """What the connection waits for."""

    IDLE = auto()
    HEAD = auto()
    BODY = auto()
    CHUNKS = auto()
    SKIP = auto()
    HANDLING = auto()
    ANSWERING = auto()
    LINGER = auto()


@final
class HttpConnection(asyncio.BufferedProtocol):
    """See the module. All methods run in the loop."""

    def __init__(self, server: HttpServer) -> None:
        self._server = server
        self._limits = server.limits
        self.state = State.IDLE
        self.expires_s = 0.0
        self._pending = bytearray()
        self._first_us = 0
        self._body = memoryview(b"")
        self._reader = RequestReader()
        self._at = 0
        self._held = 0
        self._skip = 0
        self._is_direct = False
        self._is_paused = False
        self._answer: HttpResponse | None = None
        self._head: HttpHead | None = None
        self._route: Any = None
        self._keeps_alive = True
        self._task: asyncio.Task[None] | None = None

    # -- what the loop calls ------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection, or refuse it if there are too many."""
        # uvloop's transports are not of asyncio's class.
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=0)
        peer = transport.get_extra_info("peername")
        self._peer = f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else ""
        if self._server.take(self):
            self._wait(State.IDLE, self._limits.idle_s)
        else:
            limit = self._limits.connections
            self._refuse(
                ProtocolError(503, f"{limit} connections are open; no more may be.", retry_after_s=1)
            )

    def connection_lost(self, error: Exception | None) -> None:
        """Free what it held. If its request is being handled, nobody waits for that any more."""
        if self.state not in (State.IDLE, State.ANSWERING, State.LINGER):
            self._server.answered(self._head, self._route, CLIENT_GONE, 0)
        self._server.leave(self)
        self._release()
        self._pending.clear()
        if self._task is not None:
            self._task.cancel()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where to receive: in the body's own memory, or in the buffer that all connections share."""
        self._is_direct = self.state is State.BODY
        return self._body[self._at :] if self._is_direct else self._server.scratch

    def buffer_updated(self, count: int) -> None:
        """Bytes came."""
        if not self._is_direct:
            self._receive(self._server.scratch[:count])
            return
        self._at += count
        if self._at == len(self._body):
            self._dispatch(self._body)

    def eof_received(self) -> bool:
        """The client has gone; the transport closes."""
        return False

    def pause_writing(self) -> None:
        """Not all of the answer is sent yet."""
        self._is_paused = True

    def resume_writing(self) -> None:
        """All is sent."""
        self._is_paused = False
        if self.state is State.ANSWERING:
            self._answered()

    # -- what the server calls ----------------------------------------------------------------------------------------

    def expire(self) -> None:
        """The time of the present state is over."""
        if self.state in (State.HEAD, State.BODY, State.CHUNKS, State.SKIP):
            self._refuse(
                ProtocolError(408, "the request did not arrive in time. Send it faster, or in parts.")
            )
        elif self.state is State.IDLE:
            self._transport.close()
        else:  # the client does not read, or goes on sending
            self._transport.abort()

    def stop(self) -> None:
        """Close after the answer that is being worked on, if there is one."""
        self._keeps_alive = False
        if self.state not in (State.HANDLING, State.ANSWERING, State.LINGER):
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()

    # -- receiving ----------------------------------------------------------------------------------------------------

    def _receive(self, data: memoryview) -> None:
        if self.state is State.LINGER:
            self._skip -= len(data)
            if self._skip < 0:
                self._transport.abort()
        elif self.state is State.CHUNKS:
            self._feed_chunks(data)
        else:
            if not self._pending:
                self._first_us = self._server.arrival_us()
            self._pending += data
            if self.state in (State.HANDLING, State.ANSWERING):
                if len(self._pending) > self._limits.head_bytes:
                    self._transport.pause_reading()
            else:
                self._read_pending()

    def _read_pending(self) -> None:
        """Read what is there: the rest of a body that is skipped, or a head."""
        if self.state is State.SKIP:
            skipped = min(self._skip, len(self._pending))
            del self._pending[:skipped]
            self._skip -= skipped
            if self._skip == 0:
                assert self._answer is not None
                self._send(self._answer)
            return
        while self._pending[:2] == b"\r\n":  # some clients end a body so
            del self._pending[:2]
        if not self._pending:
            return
        end = self._pending.find(_END_OF_HEAD)
        if end < 0 and len(self._pending) <= self._limits.head_bytes:
            if self.state is State.IDLE:
                self._wait(State.HEAD, self._limits.head_s)
        elif end < 0 or end > self._limits.head_bytes:
            limit = self._limits.head_bytes
            self._refuse(ProtocolError(431, f"the request's headers are over the limit of {limit} bytes."))
        else:
            text = bytes(self._pending[: end + 4])
            del self._pending[: end + 4]
            self._take_head(text)

    def _take_head(self, text: bytes) -> None:
        try:
            head = self._head = self._reader.read_head(text, self._first_us, self._peer)
        except ProtocolError as error:
            self._refuse(error)
            return
        self._keeps_alive = self._reader.keeps_alive and not self._server.is_closing
        try:
            self._route = self._server.begin(head)
            if head.length < 0:
                self._wait(State.CHUNKS, self._limits.body_s)
            elif head.length:
                self._hold(head.length)
                # Not bytearray: that writes zeros, so a client could claim memory by announcing it.
                self._body = np.empty(head.length, np.uint8).data
        except ProtocolError as error:
            self._refuse_body(error, head.length)
            return
        if head.length:
            if head.headers.get("expect", "").lower() == "100-continue":
                self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self._take_body(head.length)
        else:
            self._dispatch(memoryview(b""))

    def _take_body(self, length: int) -> None:
        """Move what came with the head to the body, and wait for the rest."""
        if length < 0:
            data = bytes(self._pending)
            self._pending.clear()
            if data:
                self._feed_chunks(memoryview(data))
            return
        self._at = min(length, len(self._pending))
        self._body[: self._at] = self._pending[: self._at]
        del self._pending[: self._at]
        if self._at == length:
            self._dispatch(self._body)
        else:
            self._wait(State.BODY, self._limits.body_s)

    def _feed_chunks(self, data: memoryview) -> None:
        reader = self._reader
        before = len(reader.chunks)
        problem = None
        try:
            reader.feed_chunks(data)
        except ProtocolError as error:
            problem = error
        try:
            if len(reader.chunks) > self._server.body_bytes:
                raise too_large(self._server.body_bytes)
            if problem is not None:
                raise problem
            self._hold(len(reader.chunks) - before)
        except ProtocolError as error:
            self._refuse(error)
        else:
            if reader.has_ended:
                self._dispatch(memoryview(reader.chunks))

    # -- handling and answering ---------------------------------------------------------------------------------------

    def _dispatch(self, body: memoryview) -> None:
        self._wait(State.HANDLING, 0.0)
        assert self._head is not None
        self._task = asyncio.get_running_loop().create_task(self._handle(self._head, body))

    async def _handle(self, head: HttpHead, body: memoryview) -> None:
        try:
            response = await self._server.handle(head, body, self._route)
        except ProtocolError as error:
            response = error_response(error)
        except Exception:
            _log.exception("a fault in the server, while it handled %s %s", head.method, head.target[:200])
            response = error_response(ProtocolError(500, "internal fault; the server's log has more."))
        self._task = None
        self._send(response)

    def _refuse_body(self, error: ProtocolError, length: int) -> None:
        """Answer ``error`` in place of a body that nobody wants."""
        assert self._head is not None
        waits = self._head.headers.get("expect", "").lower() == "100-continue"
        if waits or not 0 <= length <= SKIPPED_BYTES:
            self._refuse(error)
            return
        self._answer = error_response(error)
        self._skip = length
        self._wait(State.SKIP, self._limits.body_s)
        self._read_pending()

    def _refuse(self, error: ProtocolError) -> None:
        """Answer ``error``, and read no more on this connection."""
        self._keeps_alive = False
        self._pending.clear()
        self._write(error_response(error))
        self._release()
        if self._transport.can_write_eof():
            self._skip = LINGER_BYTES
            self._wait(State.LINGER, LINGER_S)
            self._transport.write_eof()
        else:
            self._transport.close()

    def _send(self, response: HttpResponse) -> None:
        if self._transport.is_closing():
            return
        self._write(response)
        self._wait(State.ANSWERING, self._limits.answer_s)
        if not self._is_paused:
            self._answered()

    def _write(self, response: HttpResponse) -> None:
        is_head = self._head is not None and self._head.method == "HEAD"
        head = response_head(response, self._server.date(), closes=not self._keeps_alive)
        # An empty part is never sent by asyncio's own transport (Python 3.12 and later), which then waits for ever.
        parts = () if is_head else (part for part in response.parts if len(part))
        self._transport.writelines([head, *parts])
        self._server.answered(self._head, self._route, response.status, response.length)

    def _answered(self) -> None:
        """The answer is sent: go on with what the client sent ahead, or close."""
        self._release()
        if not self._keeps_alive:
            self._transport.close()
            return
        self._wait(State.IDLE, self._limits.idle_s)
        if self._pending:
            self._transport.resume_reading()
            # Not at once: each of a thousand requests in one packet would be a call deeper.
            asyncio.get_running_loop().call_soon(self._go_on)

    def _go_on(self) -> None:
        if self.state is State.IDLE:
            self._read_pending()

    def _wait(self, state: State, limit_s: float) -> None:
        self.state = state
        self.expires_s = self._server.now_s() + limit_s if limit_s else 0.0

    def _hold(self, count: int) -> None:
        """Account for ``count`` more bytes; :class:`ProtocolError` (503) if all connections hold too many."""
        self._server.hold(count)
        self._held += count

    def _release(self) -> None:
        self._server.release(self._held)
        self._held = 0
        self._body = memoryview(b"")
        self._reader.release()
        self._answer = None
        self._head = None
        self._route = None


def too_large(limit: int) -> ProtocolError:
    """413: the body is over the limit."""
    return ProtocolError(
        413, f"the body is larger than the limit of {limit} bytes. Send fewer samples in a request."
    )
