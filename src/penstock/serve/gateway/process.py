"""The gateway's process: an HTTP server on a socket that the supervisor has bound."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path
from typing import Any

import uvloop
from aiohttp import web

from penstock.serve.control import ControlLine, Ready, Stop
from penstock.serve.gateway.core import Gateway
from penstock.serve.gateway.http import HttpGateway
from penstock.serve.spec import read_spec

SWEEP_S = 1.0
"""How often overdue requests are looked for."""


def run_gateway(folder: Path, line: ControlLine, listener: socket.socket) -> None:
    """Answer on ``listener`` until told to stop; then drain, and leave the requests' rows in ``folder``."""
    uvloop.run(_serve(folder, line, listener))


async def _serve(folder: Path, line: ControlLine, listener: socket.socket) -> None:
    spec = read_spec(folder)
    gateway = Gateway(spec, folder)
    runner = web.ServerRunner(_server(HttpGateway(gateway), spec.limits.body_bytes), shutdown_timeout=2.0)
    await runner.setup()
    await web.SockSite(runner, listener, backlog=1024).start()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_reader(line.fileno(), _hear_supervisor, line, stop)
    tasks = [asyncio.create_task(_sweep(gateway)), asyncio.create_task(_announce(gateway, line))]
    await stop.wait()
    await gateway.drain()
    for task in tasks:
        task.cancel()
    await runner.cleanup()
    gateway.close()
    if gateway.rows is not None:
        gateway.rows.save(folder)


def _server(handler: HttpGateway, body_bytes: int) -> web.Server:
    """aiohttp's bare server: routing and errors are the protocol's own."""

    def make_request(message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> web.BaseRequest:
        loop = asyncio.get_running_loop()
        return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=body_bytes)

    return web.Server(handler.handle, request_factory=make_request, access_log=None)


def _hear_supervisor(line: ControlLine, stop: asyncio.Event) -> None:
    messages = line.receive()
    if messages is None:
        # Orphaned: nobody would collect what a drain leaves.
        os._exit(1)
    if any(isinstance(message, Stop) for message in messages):
        stop.set()


async def _announce(gateway: Gateway, line: ControlLine) -> None:
    """Ready means that a request sent now is admitted."""
    await gateway.became_ready.wait()
    line.send(Ready())


async def _sweep(gateway: Gateway) -> None:
    while True:
        await asyncio.sleep(SWEEP_S)
        gateway.give_up_overdue()
