"""HTTP on the wire: what is framed how, what is refused, and what a client cannot make the server hold or wait for."""

from __future__ import annotations

import asyncio
import json
import socket

import pytest
from fake_backend import run

from penstock.serve.listen import http_server as module
from penstock.serve.listen.http_message import HttpResponse
from penstock.serve.listen.http_server import HttpServer
from penstock.serve.listen.options import ListenLimits
from penstock.serve.protocol.errors import ProtocolError

BODY_BYTES = 100_000
POST = b"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%s"


class Echo:
    """Answers with the body; ``/wait`` waits for ``gate``, ``/big`` answers a lot, ``/no`` is refused by its head."""

    def __init__(self):
        self.counted = []
        self.gate = asyncio.Event()
        self.begun = asyncio.Event()
        self.gone = asyncio.Event()

    def begin(self, head):
        if head.target == "/no":
            raise ProtocolError(404, "no")
        return head.target

    async def handle(self, head, body, route):
        if route == "/wait":
            self.begun.set()
            try:
                await self.gate.wait()
            except asyncio.CancelledError:
                self.gone.set()
                raise
        if route == "/fault":
            raise ZeroDivisionError
        return HttpResponse(200, (b"x" * 50_000_000,) if route == "/big" else (head.method.encode(), body))

    def answered(self, head, route, status, length):
        self.counted.append(status)


class Wire:
    """A server and raw connections to it."""

    def __init__(self, **limits):
        self.echo = Echo()
        self.server = HttpServer(self.echo, ListenLimits(**limits), BODY_BYTES, lambda: 1)

    async def __aenter__(self):
        listener = socket.create_server(("127.0.0.1", 0))
        await self.server.listen(listener)
        self.port = listener.getsockname()[1]
        return self

    async def __aexit__(self, *error):
        await self.server.close(0.5)
        assert self.server.held_bytes == 0
        assert self.server.connections == 0 or error[0]

    async def connect(self):
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def exchange(self, data, pieces=1):
        """(statuses, bodies) of all answers to ``data`` until the server closes or all ``POST``s are answered."""
        reader, writer = await self.connect()
        step = -(-len(data) // pieces)
        for at in range(0, len(data), step):
            writer.write(data[at : at + step])
            await writer.drain()
            await asyncio.sleep(0)
        writer.write(b"GET /end HTTP/1.1\r\nConnection: close\r\n\r\n")
        answers = []
        while (answer := await read_answer(reader)) is not None:
            answers.append(answer)
        writer.close()
        return answers


async def read_answer(reader):
    """(status, headers, body), or None at the end."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    except (asyncio.IncompleteReadError, ConnectionResetError):
        return None
    headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
    status = int(head[0].split()[1])
    body = b"" if status == 100 else await reader.readexactly(int(headers["content-length"]))
    return status, headers, body


def answers_to(data, pieces=1, **limits):
    async def test():
        async with Wire(**limits) as wire:
            return await wire.exchange(data, pieces)

    return run(test())


@pytest.mark.parametrize("pieces", [1, 7, 10**9])
def test_requests_are_answered_in_order_however_they_are_cut(pieces):
    bodies = [b"one", b"", b"z" * 300]
    data = b"".join(POST % (len(body), body) for body in bodies)
    answers = answers_to(data, min(pieces, len(data)))
    assert [body for _, _, body in answers] == [b"POST" + body for body in bodies] + [b"GET"]
    assert {status for status, _, _ in answers} == {200}


def test_a_large_body_is_whole():
    body = bytes(range(256)) * 300
    assert answers_to(POST % (len(body), body), 20)[0][2] == b"POST" + body


def test_a_thousand_requests_in_one_packet():
    answers = answers_to(b"GET /no HTTP/1.1\r\n\r\n" * 1000)
    assert [status for status, _, _ in answers] == [404] * 1000 + [200]


def test_chunks_are_joined_and_the_connection_closes():
    data = b"POST /c HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    for pieces in (1, len(data)):
        ((status, headers, body),) = answers_to(data, pieces)
        assert (status, body, headers["connection"]) == (200, b"POSTabcde", "close")


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET /\r\n\r\n", 400),
        (b"GET / HTTP/1.1\nHost: h\n\n\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: -3\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 1e3\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 40_000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 40_000, 431),
        (b"POST / HTTP/1.1\r\nContent-Length: 100001\r\n\r\n", 413),
        (b"POST / HTTP/1.1\r\nContent-Length: 999999999999999\r\n\r\n", 413),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n186a1\r\n" + b"a" * 100_001, 413),
        (b"POST /no HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 404),
        (b"POST /no HTTP/1.1\r\nContent-Length: 90000\r\n\r\n", 404),
    ],
)
def test_what_is_refused_without_its_body_is_answered_in_json_and_closed(data, status):
    async def test():
        async with Wire() as wire:
            answers = await wire.exchange(data)
            return answers, wire.echo.counted

    answers, counted = run(test())
    ((got, headers, body),) = answers
    assert (got, counted, headers["connection"]) == (status, [status], "close")
    assert json.loads(body)["error"]


def test_a_small_refused_body_is_skipped_and_the_connection_goes_on():
    refused = b"POST /no HTTP/1.1\r\nContent-Length: 4\r\n\r\nGET "
    for pieces in (1, 60):
        assert [status for status, _, _ in answers_to(refused * 2, pieces)] == [404, 404, 200]


def test_head_gets_the_headers_only():
    async def test():
        async with Wire() as wire:
            reader, writer = await wire.connect()
            writer.write(b"HEAD / HTTP/1.1\r\nConnection: close\r\n\r\n")
            return await reader.read()

    text = run(test())
    assert text.endswith(b"Connection: close\r\n\r\n")
    assert b"Content-Length: 4\r\n" in text


def test_a_fault_of_the_server_is_a_500_in_json():
    (answer, _) = answers_to(b"GET /fault HTTP/1.1\r\n\r\n")
    assert (answer[0], json.loads(answer[2])["error"]) == (500, "internal fault; the server's log has more.")


@pytest.mark.parametrize(("target", "statuses"), [("/yes", [100, 200]), ("/no", [404])])
def test_a_client_that_asks_first_is_told_to_continue_or_refused(target, statuses):
    async def test():
        async with Wire() as wire:
            reader, writer = await wire.connect()
            writer.write(
                f"POST {target} HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n".encode()
            )
            got = [await read_answer(reader)]
            if got[0][0] == 100:
                writer.write(b"{}")
                got.append(await read_answer(reader))
            writer.close()
            return [status for status, _, _ in got]

    assert run(test()) == statuses


@pytest.mark.parametrize(
    ("data", "limits", "answer"),
    [
        (b"GET / HT", {"head_s": 0.05}, 408),
        (b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\n1234", {"body_s": 0.05}, 408),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1", {"body_s": 0.05}, 408),
        (b"POST /no HTTP/1.1\r\nContent-Length: 9\r\n\r\n1234", {"body_s": 0.05}, 408),
        (b"", {"idle_s": 0.05}, None),
    ],
)
def test_slow_senders_are_cut(monkeypatch, data, limits, answer):
    monkeypatch.setattr(module, "SWEEP_S", 0.01)

    async def test():
        async with Wire(**limits) as wire:
            reader, writer = await wire.connect()
            writer.write(data)
            got = await read_answer(reader)
            assert await reader.read() == b""
            writer.close()
            return got and got[0], wire.echo.counted

    assert run(test()) == (answer, [answer] if answer else [])


def test_an_answer_that_nobody_reads_is_dropped(monkeypatch):
    monkeypatch.setattr(module, "SWEEP_S", 0.01)

    async def test():
        async with Wire(answer_s=0.05) as wire:
            with socket.create_connection(("127.0.0.1", wire.port)) as client:
                client.sendall(b"GET /big HTTP/1.1\r\n\r\n")
                while not wire.echo.counted or wire.server.connections:
                    await asyncio.sleep(0.005)
            return wire.echo.counted

    assert run(test()) == [200]


def test_bodies_of_all_connections_have_one_limit():
    async def test():
        async with Wire(held_bytes=1_000) as wire:
            _, first = await wire.connect()
            first.write(b"POST / HTTP/1.1\r\nContent-Length: 600\r\n\r\n")
            while not wire.server.held_bytes:
                await asyncio.sleep(0.005)
            refused = await wire.exchange(POST % (600, b"b" * 600))
            first.close()
            while wire.server.held_bytes:
                await asyncio.sleep(0.005)
            taken = await wire.exchange(POST % (600, b"b" * 600))
            return refused, taken, wire.echo.counted

    refused, taken, counted = run(test())
    assert (refused[0][0], refused[0][1]["retry-after"], taken[0][0]) == (503, "1", 200)
    assert sorted(counted) == [200, 200, 200, 499, 503]


def test_more_connections_than_the_limit_are_told_so():
    async def test():
        async with Wire(connections=1) as wire:
            _, first = await wire.connect()
            while not wire.server.connections:
                await asyncio.sleep(0.005)
            reader, second = await wire.connect()
            answer = await read_answer(reader)
            assert await reader.read() == b""
            second.close()
            first.close()
            return answer

    assert run(test())[0] == 503


def test_a_request_whose_client_has_gone_is_cancelled_and_counted_once():
    async def test():
        async with Wire() as wire:
            _, writer = await wire.connect()
            writer.write(b"GET /wait HTTP/1.1\r\n\r\n")
            await wire.echo.begun.wait()
            writer.close()
            await wire.echo.gone.wait()
            return wire.echo.counted

    assert run(test()) == [499]


def test_a_stop_lets_the_answer_be_sent():
    async def test():
        async with Wire() as wire:
            reader, writer = await wire.connect()
            writer.write(b"GET /wait HTTP/1.1\r\n\r\n")
            await wire.echo.begun.wait()
            closing = asyncio.ensure_future(wire.server.close())
            await asyncio.sleep(0)
            wire.echo.gate.set()
            status, headers, _ = await read_answer(reader)
            await closing
            writer.close()
            return status, headers["connection"]

    assert run(test()) == (200, "close")


def test_what_a_client_sends_ahead_is_bounded():
    """While a request runs, the connection keeps about a head's worth of what follows, and no more is read."""

    async def test():
        async with Wire(head_bytes=10_000) as wire:
            reader, writer = await wire.connect()
            writer.write(b"GET /wait HTTP/1.1\r\n\r\n")
            await wire.echo.begun.wait()
            follow = b"GET /a HTTP/1.1\r\n\r\n"
            count = 60_000 // len(follow)
            writer.write(follow * count)
            (connection,) = wire.server._connections
            while len(connection._pending) <= 10_000:
                await asyncio.sleep(0.005)
            for _ in range(20):
                await asyncio.sleep(0.001)
            assert len(connection._pending) <= 10_000 + module.SCRATCH_BYTES
            wire.echo.gate.set()
            for _ in range(count + 1):
                assert (await read_answer(reader))[0] == 200
            writer.close()

    run(test())


def test_bytes_that_waited_for_the_loop_arrived_when_it_polled():
    """By hand: the loop polled at 5.000 s. At 5.001 s nothing says that bytes waited; at 5.030 s they waited since."""

    async def test():
        async with Wire() as wire:
            server = wire.server

            class Loop:
                def time(self):
                    return 5.0

            found = []
            server._loop = Loop()
            for now_us in (5_001_000, 5_030_000):
                server._now_us = lambda now_us=now_us: now_us
                found.append(server.arrival_us())
            server._loop = asyncio.get_running_loop()
            return found

    assert run(test()) == [5_001_000, 5_001_000]
