"""A bare echo in one HTTP server: ``echo.py NAME PORT``."""

from __future__ import annotations

import asyncio
import socket
import sys
from typing import Any


def aiohttp_server(port: int) -> None:
    import uvloop
    from aiohttp import web

    async def echo(request: web.BaseRequest) -> web.Response:
        return web.Response(body=await request.read())

    def make(message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> web.BaseRequest:
        loop = asyncio.get_running_loop()
        return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=2**26)

    async def run() -> None:
        runner = web.ServerRunner(web.Server(echo, request_factory=make, access_log=None))
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        await asyncio.Event().wait()

    uvloop.run(run())


def penstock_server(port: int) -> None:
    import uvloop

    from penstock.clock import MonotonicClock
    from penstock.serve.listen.http_message import HttpResponse
    from penstock.serve.listen.http_server import HttpServer
    from penstock.serve.listen.options import ListenLimits

    class Echo:
        def begin(self, head: Any) -> None:
            return None

        async def handle(self, head: Any, body: memoryview, route: None) -> HttpResponse:
            return HttpResponse(200, (body,))

        def answered(self, head: Any, route: None, status: int, length: int) -> None:
            return None

    async def run() -> None:
        server = HttpServer(Echo(), ListenLimits(), 2**26, MonotonicClock().now_us)
        await server.listen(socket.create_server(("127.0.0.1", port)))
        await asyncio.Event().wait()

    uvloop.run(run())


async def application(scope: Any, receive: Any, send: Any) -> None:
    """The echo for servers of ASGI."""
    if scope["type"] != "http":
        raise RuntimeError
    parts = []
    more = True
    while more:
        event = await receive()
        parts.append(event["body"])
        more = event["more_body"]
    body = b"".join(parts)
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def uvicorn_server(port: int) -> None:
    import uvicorn

    uvicorn.run(
        application,
        host="127.0.0.1",
        port=port,
        http="httptools",
        loop="uvloop",
        access_log=False,
        lifespan="off",
    )


def granian_server(port: int) -> None:
    import uvloop
    from granian.constants import Interfaces
    from granian.server.embed import Server

    server = Server(application, address="127.0.0.1", port=port, interface=Interfaces.ASGINL)
    uvloop.run(server.serve())


if __name__ == "__main__":
    globals()[f"{sys.argv[1]}_server"](int(sys.argv[2]))
