"""The process of the gateway: it listens on addresses that it may share with other gateways."""

from __future__ import annotations

import asyncio
import os
import shutil
from contextlib import suppress
from importlib import import_module
from pathlib import Path

import uvloop

from penstock.serve.control import ControlLine, Drained, HeadLost, PlanAdded, Ready, Serving, Stop, Switch
from penstock.serve.gateway.gateway import Gateway
from penstock.serve.listen.start import start_listeners
from penstock.serve.listeners import read_listeners, shared_listener
from penstock.serve.protocol.regions import Regions
from penstock.serve.spec import read_spec

TOLD_S = 2.0
"""How long to wait for the dispatcher before listening."""
SWEEP_S = 1.0
"""How often overdue requests are looked for."""


def run_gateway(folder: Path, line: ControlLine, number: int, epoch: int) -> None:
    """Answer on the addresses of the server until told to stop; then drain.

    ``number``: each start of a gateway has a new one. ``epoch``: that of the plan that is served now.
    """
    uvloop.run(_serve(folder, line, number, epoch))


async def _serve(folder: Path, line: ControlLine, number: int, epoch: int) -> None:
    spec = read_spec(folder, epoch)
    gateway = Gateway(spec, folder, number, lambda switched: line.send(Switch(switched)))
    addresses = read_listeners(folder)
    if addresses.grpc is not None:
        # It blocks the loop for a while. From the first answer to the supervisor on, that would look like hanging.
        import_module("penstock.serve.listen.grpc_server")
    stop = asyncio.Event()
    asyncio.get_running_loop().add_reader(line.fileno(), _hear_supervisor, line, stop, gateway, folder)
    line.send(Ready(gateway.endpoint))
    # A gateway that was started again shares its address with others, so it listens when it knows what is served: it
    # would refuse what the others answer. If there is no dispatcher to tell, it says that it is not ready.
    with suppress(TimeoutError):
        await asyncio.wait_for(gateway.was_told.wait(), TOLD_S)
    grpc = None if addresses.grpc is None else addresses.grpc.text
    regions = None
    if spec.listen.system_shared_memory:
        regions = Regions(folder / "regions", spec.limits.body_bytes)
    listeners = await start_listeners(
        gateway, shared_listener(addresses.http), spec.listen, grpc=grpc, regions=regions
    )
    tasks = [asyncio.create_task(_sweep(gateway)), asyncio.create_task(_announce(gateway, line))]
    await stop.wait()
    await gateway.drain()
    for task in tasks:
        task.cancel()
    await listeners.close()
    gateway.close()


def _hear_supervisor(line: ControlLine, stop: asyncio.Event, gateway: Gateway, folder: Path) -> None:
    messages = line.receive()
    if messages is None:
        # The supervisor is gone, so nobody else may remove the files of the run.
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(1)
    for message in messages:
        if isinstance(message, Stop):
            stop.set()
        elif isinstance(message, PlanAdded):
            gateway.add_plan(read_spec(folder, message.epoch))
            line.send(message)
        elif isinstance(message, Drained):
            gateway.end_plan(message.epoch)
        elif isinstance(message, HeadLost):
            gateway.lose_head()


async def _announce(gateway: Gateway, line: ControlLine) -> None:
    """Tell the supervisor when requests for every model are admitted."""
    await gateway.became_ready.wait()
    line.send(Serving())


async def _sweep(gateway: Gateway) -> None:
    while True:
        await asyncio.sleep(SWEEP_S)
        gateway.give_up_overdue()
        gateway.metrics.measure(gateway.now_us())
