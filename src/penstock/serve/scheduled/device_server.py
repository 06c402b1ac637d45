"""``penstock device serve`` as a function: several models on one device behind the protocol, one process.

The loop that talks to clients has the main thread; worker threads run segments with Python's lock released.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing, nullcontext, suppress
from pathlib import Path
from typing import Any

import uvloop

from penstock.serve.listen.options import ListenOptions
from penstock.serve.listen.start import Listening, start_listeners
from penstock.serve.observe.log_lines import READY
from penstock.serve.scheduled.device_backend import DeviceBackend
from penstock.serve.scheduled.device_log import LoggedDevicePolicy
from penstock.serve.scheduled.device_models import DeviceModel
from penstock.serve.scheduled.device_spec import DeviceSpec
from penstock.serve.scheduled.thread_driver import ThreadDriver
from penstock.serve.server import url_of
from penstock.serve.spec import Limits

_log = logging.getLogger("penstock.serve")


def serve_device(
    models: Sequence[DeviceModel],
    device: DeviceSpec,
    listener: socket.socket,
    *,
    limits: Limits,
    options: ListenOptions,
    grpc: str | None,
    journal: Path | None,
    seconds: float | None = None,
) -> None:
    """Serve ``models``, which are the types of ``device``, until SIGINT or SIGTERM, or for ``seconds``; then drain.

    ``grpc`` is the address of gRPC, if it is served.

    Raises the fault if the driver met one (see :mod:`.thread_driver`).
    """
    policy: Any = device.policy() if journal is None else LoggedDevicePolicy(device, journal)
    with nullcontext() if journal is None else closing(policy):

        async def start(backend: DeviceBackend) -> Listening:
            listening = await start_listeners(backend, listener, options, grpc=grpc)
            if listening.grpc is not None:
                _log.info("grpc: port %d", listening.grpc_port)
            _log.info("%s%s", READY, url_of(listener, is_tls=options.tls_certificate is not None))
            return listening

        uvloop.run(_serve(models, device, limits, policy, start, seconds))


async def _serve(
    models: Sequence[DeviceModel],
    device: DeviceSpec,
    limits: Limits,
    policy: Any,
    start: Callable[[DeviceBackend], Awaitable[Listening]],
    seconds: float | None,
) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)

    def stop_after(fault: BaseException) -> None:
        loop.call_soon_threadsafe(stop.set)

    driver = ThreadDriver(
        policy,
        [model.runner for model in models],
        threads=device.threads,
        on_fault=stop_after,
    )
    backend = DeviceBackend(driver, [model.spec for model in models], limits, device.threads)
    listeners = None
    try:
        listeners = await start(backend)
        with suppress(TimeoutError):  # the time that was asked for is over
            async with asyncio.timeout(seconds):
                await stop.wait()
        await backend.drain()
    finally:
        # The driver first: it answers what is left, and those answers still have to be sent.
        try:
            await asyncio.to_thread(driver.close)
        finally:
            if listeners is not None:
                await listeners.close()
