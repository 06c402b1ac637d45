"""HTTP itself: what libraries of clients do, and what nobody should be able to do."""

from __future__ import annotations

import socket
from contextlib import suppress

from penstock.serve.conformance.framework import NotConformingError, expect
from penstock.serve.conformance.http_requests import HTTP, expect_error
from penstock.serve.conformance.http_server_under_test import Answer, HttpServerUnderTest, exchange

Server = HttpServerUnderTest


@HTTP.add("http")
def keep_alive(server: Server) -> None:
    """A connection can be used again, also after an error."""
    connection = server.connect()
    try:
        exchange(server, connection, "GET", "/v2/health/live")
        before = connection.sock
        exchange(server, connection, "GET", "/v2/models/no-such-model-here")
        answer = exchange(server, connection, "GET", "/v2/health/live")
        expect(answer.status == 200, f"status {answer.status}")
        expect(connection.sock is before, "the connection was closed in between")
    finally:
        connection.close()


@HTTP.add("http")
def head(server: Server) -> None:
    """HEAD of the health path gives 200 without a body."""
    answer = server.ask("HEAD", "/v2/health/live")
    expect(answer.status == 200 and not answer.body, f"status {answer.status}, {len(answer.body)} bytes")


@HTTP.add("http")
def chunked(server: Server) -> None:
    """A chunked body is read."""
    raw = _raw(server, "POST", server.model("/infer"), "Transfer-Encoding: chunked", b"1\r\n{\r\n0\r\n\r\n")
    expect_error(raw, 400)


@HTTP.add("http")
def continue_first(server: Server) -> None:
    """Expect: 100-continue is answered before the body is sent."""
    with server.raw() as line:
        line.sendall(
            _head(server, "POST", server.model("/infer"), "Expect: 100-continue\r\nContent-Length: 2")
        )
        first = line.recv(65_536)
        expect(first.startswith(b"HTTP/1.1 100"), f"the first line is {first[:40]!r}")
        line.sendall(b"{}")
        second = line.recv(65_536)
        expect(second.startswith(b"HTTP/1.1 4"), f"then {second[:40]!r}")


@HTTP.add("http")
def pipelined(server: Server) -> None:
    """Two requests in one packet get two answers."""
    one = _head(server, "GET", "/v2/health/live", "X-Number: 1")
    last = _head(server, "GET", "/v2/health/ready", "Connection: close")
    with server.raw() as line:
        line.sendall(one + last)
        text = _to_the_end(line)
    expect(text.count(b"HTTP/1.1 200") == 2, f"{text.count(b'HTTP/1.1 200')} answers with 200")


@HTTP.add("http")
def not_http(server: Server) -> None:
    """What is not HTTP is answered with 400."""
    with server.raw() as line:
        line.sendall(b"nonsense\r\n\r\n")
        expect(_to_the_end(line).startswith(b"HTTP/1.1 400"), "another answer, or none")


@HTTP.add("http")
def two_lengths(server: Server) -> None:
    """Content-Length together with chunked, which smugglers use, is 400."""
    head_text = "Content-Length: 5\r\nTransfer-Encoding: chunked"
    expect(
        _raw(server, "POST", server.model("/infer"), head_text, b"0\r\n\r\n").status == 400, "another status"
    )


@HTTP.add("http")
def too_large(server: Server) -> None:
    """A body that is announced as a terabyte is 413 at once."""
    expect_error(_raw(server, "POST", server.model("/infer"), f"Content-Length: {2**40}", b""), 413)


@HTTP.add("http")
def long_header(server: Server) -> None:
    """A header of a megabyte is refused with 431, 413 or 400."""
    answer = _raw(server, "GET", "/v2/health/live", f"X-Long: {'x' * 2**20}", b"")
    expect(answer.status in (431, 413, 400), f"status {answer.status}")


def _head(server: Server, method: str, path: str, more: str) -> bytes:
    lines = [f"{method} {server.path(path)} HTTP/1.1", "Host: conformance"]
    lines += [f"{name}: {value}" for name, value in server.headers().items()]
    return "\r\n".join([*lines, more, "", ""]).encode()


def _raw(server: Server, method: str, path: str, more: str, body: bytes) -> Answer:
    """One request as it is written here; the answer is read to its end."""
    with server.raw() as line:
        with suppress(OSError):  # it may refuse before all is sent
            line.sendall(_head(server, method, path, more) + body)
        text = b""
        while b"\r\n\r\n" not in text:
            text += (piece := line.recv(65_536))
            if not piece:
                raise NotConformingError(f"no answer, {text[:40]!r}")
        top, _, rest = text.partition(b"\r\n\r\n")
        lines = top.decode("latin-1").split("\r\n")
        headers = {k.lower(): v.strip() for k, _, v in (each.partition(":") for each in lines[1:])}
        while len(rest) < int(headers.get("content-length", "0")):
            rest += (piece := line.recv(65_536))
            if not piece:
                break
    return Answer(int(lines[0].split()[1]), headers, rest)


def _to_the_end(line: socket.socket) -> bytes:
    text = b""
    while True:
        try:
            piece = line.recv(65_536)
        except ConnectionResetError:
            return text
        if not piece:
            return text
        text += piece
