"""`penstock load` before the server is ready, without a scheme, and its exit status when nothing was answered."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web

from penstock.errors import BadInputError, MissedRequirementError
from penstock.serve.load.verdict import causes, check_load, until_ready, with_scheme


def test_an_address_without_a_scheme_is_http():
    """`127.0.0.1:8000` confused the client."""
    assert with_scheme("127.0.0.1:8000") == "http://127.0.0.1:8000"
    assert with_scheme("grpc://127.0.0.1:8001") == "grpc://127.0.0.1:8001"


async def ask(statuses: list[int], seconds: float) -> int:
    """Wait for a server that answers with ``statuses`` in turn; how often it was asked."""
    asked = 0

    async def ready(request: web.Request) -> web.Response:
        nonlocal asked
        asked += 1
        return web.Response(status=statuses[min(asked, len(statuses)) - 1])

    app = web.Application()
    app.router.add_get("/v2/health/ready", ready)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        await until_ready(f"http://{runner.addresses[0][0]}:{runner.addresses[0][1]}", seconds)
    finally:
        await runner.cleanup()
    return asked


def test_the_load_waits_until_the_server_is_ready():
    """Requests before that were answered 503, and counted as drops."""
    assert asyncio.run(ask([503, 503, 200], 60.0)) == 3


def test_a_server_that_never_gets_ready_is_bad_input():
    with pytest.raises(BadInputError, match="it answers 503"):
        asyncio.run(ask([503], 0.0))
    with pytest.raises(BadInputError, match="Is the server up"):
        asyncio.run(until_ready("http://127.0.0.1:1", 0.0))


def test_causes_are_counted_apart_in_words():
    assert causes({"200": 5, "0": 7, "503": 1}) == [
        "7 x no answer: the connection broke, or nothing came in time",
        "5 x 200",
        "1 x 503: not ready, or too much waits",
    ]


def test_nothing_answered_is_not_success():
    """337 connection errors ended with exit status 0."""
    with pytest.raises(MissedRequirementError, match="337 x no answer") as found:
        check_load({"m": 0.0}, {0: 337}, None)
    assert found.value.exit_status == 4
    check_load({"m": 0.003}, {0: 336, 200: 1}, None)
    check_load({}, {}, None)


def test_a_required_attainment_decides_the_exit_status():
    """0.3% attainment ended with exit status 0, and nothing could ask for more."""
    check_load({"m": 0.99}, {200: 100}, 0.99)
    with pytest.raises(MissedRequirementError, match=r"attainment of n 98\.90%"):
        check_load({"m": 0.99, "n": 0.989}, {200: 100}, 0.99)
