"""A client that costs little: requests made in advance, blocking sockets for one, a selector for several."""

from __future__ import annotations

import selectors
import socket
import time
from dataclasses import dataclass
from typing import Self

import numpy as np

TIMEOUT_S = 30.0
_LAST_CHUNK = b"\r\n0\r\n\r\n"


@dataclass(frozen=True)
class Figures:
    """Of a closed loop. Latencies in microseconds, of answers with status 200."""

    rps: float
    p50_us: float
    p99_us: float
    failed: int
    done: int


def post(path: str, body: bytes, headers: dict[str, str] | None = None) -> bytes:
    """A whole HTTP request."""
    lines = [f"POST {path} HTTP/1.1", "Host: here", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


class _Connection:
    """One connection, on which one request is on its way."""

    def __init__(self, port: int, request: bytes) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * 2**20)
        self._request = request
        self._buffer = bytearray(2**20)
        self._is_chunked = False
        self.begin_s = 0.0

    def send(self) -> None:
        self.begin_s = time.perf_counter()
        self.socket.sendall(self._request)
        self._at = 0
        self._end = -1

    def receive(self) -> int:
        """Read what is there: the status once the answer is whole, else 0."""
        count = self.socket.recv_into(memoryview(self._buffer)[self._at :])
        if not count:
            raise ConnectionError("the server closed the connection")
        self._at += count
        if self._end < 0:
            head_end = self._buffer.find(b"\r\n\r\n", 0, self._at)
            if head_end < 0:
                return 0
            head = bytes(self._buffer[:head_end]).lower()
            self._is_chunked = b"transfer-encoding: chunked" in head
            if not self._is_chunked and b"content-length:" not in head:
                raise ConnectionError("the server answered without a length")
            length = 0 if self._is_chunked else int(head.split(b"content-length:")[1].split(b"\r\n")[0])
            self._end = head_end + 4 + length
            if self._end > len(self._buffer):
                self._buffer += bytes(self._end - len(self._buffer))
        is_whole = self._at >= self._end
        if self._is_chunked:
            is_whole = self._buffer[self._at - len(_LAST_CHUNK) : self._at] == _LAST_CHUNK
        return int(self._buffer[9:12]) if is_whole else 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.socket.close()


def one_by_one(port: int, request: bytes, seconds: float) -> Figures:
    """Requests one after the other on one connection."""
    return closed_loop(port, request, 1, seconds)


def closed_loop(port: int, request: bytes, concurrency: int, seconds: float) -> Figures:
    """``concurrency`` connections, each with a request on its way at all times."""
    connections = [_Connection(port, request) for _ in range(concurrency)]
    times: list[float] = []
    failed = 0
    with selectors.DefaultSelector() as selector:
        for one in connections:
            selector.register(one.socket, selectors.EVENT_READ, one)
            one.send()
        begin_s = time.perf_counter()
        end_s = begin_s + seconds
        waiting = len(connections)
        while waiting:
            for key, _ in selector.select(TIMEOUT_S) or _nothing_came():
                one = key.data
                try:
                    status = one.receive()
                except ConnectionError:  # the server closed it: a failure, and the end of this connection
                    failed += 1
                    selector.unregister(one.socket)
                    waiting -= 1
                    continue
                if not status:
                    continue
                now_s = time.perf_counter()
                if status == 200:
                    times.append(now_s - one.begin_s)
                else:
                    failed += 1
                if now_s < end_s:
                    one.send()
                else:
                    selector.unregister(one.socket)
                    waiting -= 1
        took_s = time.perf_counter() - begin_s
    for one in connections:
        one.socket.close()
    us = np.array(times or [np.nan]) * 1e6
    return Figures(
        len(times) / took_s, float(np.median(us)), float(np.quantile(us, 0.99)), failed, len(times)
    )


def _nothing_came() -> list[tuple[selectors.SelectorKey, int]]:
    raise TimeoutError(f"no answer for {TIMEOUT_S:g} s")
