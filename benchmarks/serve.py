"""What the server itself adds to a request: one emulated stage that takes no time, against a bare HTTP echo.

One client, one request at a time (latency), then 16 in flight (throughput), for a small and an image-sized
input. The emulated table says 1 us a batch, so all that remains is HTTP, the codec, the hops between the
processes and the decision. The echo is the least that the same HTTP library does for the same bytes.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
from aiohttp import web

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "serve"))
from serve_cases import bytes_profile, write_plan

from penstock.clock import MonotonicClock
from penstock.serve.load.client import LoadClient
from penstock.serve.load.subject import Body, Subject, describe
from penstock.serve.local import LocalServer

REQUESTS = 1_000
WARM_UP = 100
IN_FLIGHT = 16
SIZES = {"24 B": 24, "147 KiB": 3 * 224 * 224}

LIMIT_US = 20_000
"""A median overhead above this is a fault, on whatever machine."""

CLOCK = MonotonicClock()


async def one_by_one(client: LoadClient, subject: Subject) -> np.ndarray:
    """Latencies in microseconds of requests sent one after the other."""
    times = []
    for _ in range(WARM_UP + REQUESTS):
        start_us = CLOCK.now_us()
        status = await client.infer(subject.name, subject.bodies[0])
        times.append(CLOCK.now_us() - start_us)
        assert status == 200, status
    return np.array(times[WARM_UP:])


async def together(client: LoadClient, subject: Subject) -> float:
    """Requests per second with :data:`IN_FLIGHT` at once."""
    todo = iter(range(REQUESTS))

    async def sender() -> None:
        for _ in todo:
            assert await client.infer(subject.name, subject.bodies[0]) == 200

    start_us = CLOCK.now_us()
    await asyncio.gather(*(sender() for _ in range(IN_FLIGHT)))
    return REQUESTS * 1e6 / (CLOCK.now_us() - start_us)


async def measure(url: str, subject: Subject) -> dict[str, float]:
    async with LoadClient(url, 30.0) as client:
        times = await one_by_one(client, subject)
        rate = await together(client, subject)
    return {
        "p50_us": float(np.median(times)),
        "p99_us": float(np.quantile(times, 0.99)),
        "rps": rate,
    }


async def served(size: int, stages: int) -> dict[str, float]:
    """A server whose stages take a microsecond each; its own allowance is irrelevant to batches of one."""
    with tempfile.TemporaryDirectory() as folder:
        bounds = (size, *[1_000] * (stages - 1), 40)
        profile = bytes_profile("idle", bounds, latency_us=1)
        plan = write_plan(Path(folder), profile, range(stages + 1), batch=1, slo_us=10_000_000)
        with LocalServer(plan, ["--executor", "emulated"]) as server:
            async with LoadClient(server.url, 30.0) as client:
                metadata = await client.ask("/v2/models/idle")
            subject = describe(metadata, {}, 10_000_000, np.random.default_rng(0))
            return await measure(server.url, subject)


async def echoed(size: int) -> dict[str, float]:
    """The bare library: read the body, answer 100 bytes. In this process, which flatters it on one core."""

    async def answer(request: web.BaseRequest) -> web.Response:
        await request.read()
        return web.Response(body=b"x" * 100)

    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        return await measure(url, Subject("idle", 1, (Body(b"0" * size, {}),)))
    finally:
        await runner.cleanup()


async def main() -> None:
    results: dict[str, dict[str, float]] = {}
    cases: dict[str, Callable[[int], Awaitable[dict[str, float]]]] = {
        "echo": echoed,
        "1 stage": lambda size: served(size, 1),
        "2 stages": lambda size: served(size, 2),
    }
    for label, size in SIZES.items():
        for name, case in cases.items():
            results[f"{name}, {label}"] = await case(size)
        added = results[f"1 stage, {label}"]["p50_us"] - results[f"echo, {label}"]["p50_us"]
        assert added < LIMIT_US, f"the server adds {added:.0f} us to a request of {label}"
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    asyncio.run(main())
