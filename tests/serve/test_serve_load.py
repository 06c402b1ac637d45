"""The load generator: what it asks, what it sends, and that latency counts from the intended send time."""

from __future__ import annotations

import asyncio
import json

import numpy as np
import pytest
from aiohttp import web
from click.testing import CliRunner

from penstock.cli.running.load import command
from penstock.errors import BadInputError
from penstock.record import Outcome
from penstock.serve.load.openloop import LoadSettings, run_load
from penstock.serve.load.sample_request import describe
from penstock.serve.protocol.infer import HEADER_LENGTH, decode_request
from penstock.traffic.arrivals import Arrivals

METADATA = {
    "name": "toy",
    "inputs": [
        {"name": "image", "datatype": "FP32", "shape": [-1, 3]},
        {"name": "words", "datatype": "BYTES", "shape": [-1, 1]},
        {"name": "ids", "datatype": "INT64", "shape": [-1, -1]},
    ],
}
CONFIG = {"parameters": {"slo_us": {"string_value": "50000"}}}


def rng():
    return np.random.default_rng(0)


def test_bodies_are_requests_of_one_sample():
    subject = describe(METADATA, CONFIG, None, rng())
    assert subject.slo_us == 50_000
    for body in subject.bodies:
        request = decode_request(body.data, int(body.headers[HEADER_LENGTH]))
        assert {t.name: t.array.shape for t in request.inputs} == {
            "image": (1, 3),
            "words": (1, 1),
            "ids": (1, 1),
        }
        assert request.binary_default
    assert len({body.data for body in subject.bodies}) == len(subject.bodies)
    assert subject == describe(METADATA, CONFIG, None, rng())


@pytest.mark.parametrize("config", [{}, {"parameters": {"slo_us": {"string_value": "soon"}}}])
def test_without_a_stated_slo_one_must_be_given(config):
    assert describe(METADATA, config, 7_000, rng()).slo_us == 7_000
    with pytest.raises(BadInputError, match="--slo-ms"):
        describe(METADATA, config, None, rng())


def test_metadata_that_is_not_of_the_protocol_is_refused():
    with pytest.raises(BadInputError, match="not of the protocol"):
        describe({"name": "toy"}, CONFIG, None, rng())


async def with_server(infer, act, metadata=METADATA):
    """``act(url)`` against a server of the protocol whose answers ``infer`` gives."""

    def document(body):
        async def answer(request):
            return web.json_response(body)

        return answer

    app = web.Application()
    app.router.add_get("/v2", document({"name": "other"}))
    app.router.add_get("/v2/health/live", document({}))
    app.router.add_get("/v2/health/ready", document({}))
    app.router.add_get("/v2/models/toy", document(metadata))
    app.router.add_get("/v2/models/toy/config", document(CONFIG))
    app.router.add_post("/v2/models/toy/infer", infer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        return await act(f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}")
    finally:
        await runner.cleanup()


def arrivals(*times_us):
    return Arrivals(np.array(times_us, np.int64), np.zeros(len(times_us), np.int64))


def test_requests_do_not_wait_for_each_other_and_outcomes_follow_the_status():
    """The server answers only once all have come: a client that waited for answers would never get there."""
    statuses = [200, 503, 504, 500]
    came = []
    together = asyncio.Event()

    async def infer(request):
        decode_request(await request.read(), int(request.headers[HEADER_LENGTH]))
        mine = len(came)
        came.append(mine)
        if len(came) == len(statuses):
            together.set()
        await together.wait()
        return web.json_response({}, status=statuses[mine])

    async def act(url):
        return await run_load(url, ["toy"], arrivals(0, 1_000, 2_000, 3_000), slo_us=60_000_000, rng=rng())

    result = asyncio.run(asyncio.wait_for(with_server(infer, act), 30))
    requests = result.record.requests
    wanted = [Outcome.MET, Outcome.DROPPED_EARLY, Outcome.DROPPED_DEADLINE, Outcome.ERROR]
    assert sorted(requests.outcome.tolist()) == sorted(wanted)
    assert ((requests.finish_us == -1) == (requests.outcome != Outcome.MET)).all()
    assert result.statuses == {200: 1, 500: 1, 503: 1, 504: 1}
    assert (result.lag_us >= 0).all()
    assert requests.arrival_us.tolist() == [0, 1_000, 2_000, 3_000]
    assert requests.deadline_us.tolist() == [60_000_000 + at for at in (0, 1_000, 2_000, 3_000)]


def test_latency_counts_from_the_intended_time():
    """The client is kept from sending for 50 ms: the request it should have sent first shows that as latency."""

    async def infer(request):
        await request.read()
        return web.json_response({})

    async def act(url):
        async def hog():
            await asyncio.sleep(0.2)  # until the run has begun
            loop = asyncio.get_running_loop()
            end = loop.time() + 0.05
            while loop.time() < end:
                pass

        task = asyncio.create_task(hog())
        times = range(0, 1_000_000, 10_000)
        result = await run_load(url, ["toy"], arrivals(*times), slo_us=25_000, rng=rng())
        await task
        return result

    result = asyncio.run(asyncio.wait_for(with_server(infer, act), 30))
    requests = result.record.requests
    latency_us = requests.finish_us - requests.arrival_us
    assert result.lag_us.max() >= 30_000
    assert (latency_us >= result.lag_us).all()
    assert requests.outcome[result.lag_us.argmax()] == Outcome.LATE


def test_a_closed_loop_waits_for_the_answer_and_the_think_time():
    """Two streams of two requests. The first request to come is held until the other stream is done.

    Number 3, the second of the held stream, must not come before its answer.
    """
    events, came = [], []
    others_done = asyncio.Event()

    async def infer(request):
        await request.read()
        number = len(came)
        came.append(number)
        events.append(("begin", number))
        if number == 0:
            await asyncio.wait_for(others_done.wait(), 10)
        elif number == 2:
            others_done.set()
        events.append(("end", number))
        return web.Response(status=503)

    async def act(url):
        load = Arrivals(
            np.array([0, 1_000, 2_000, 3_000]),
            np.zeros(4, np.int64),
            stream=np.array([0, 1, 0, 1]),
        )
        return await run_load(url, ["toy"], load, slo_us=None, rng=rng(), settings=LoadSettings(closed=True))

    result = asyncio.run(asyncio.wait_for(with_server(infer, act), 30))
    assert events.index(("begin", 3)) > events.index(("end", 0)) > events.index(("begin", 2))
    requests = result.record.requests
    assert (np.diff(requests.arrival_us) >= 0).all()
    assert (requests.deadline_us - requests.arrival_us == 50_000).all()
    assert (
        requests.arrival_us[-1] > 2_000
    )  # due a think time after the answer, not at the time drawn beforehand


def test_a_closed_loop_needs_streams():
    with pytest.raises(BadInputError, match="a closed loop needs streams"):
        asyncio.run(
            run_load(
                "http://127.0.0.1:9",
                ["toy"],
                arrivals(0),
                slo_us=None,
                rng=rng(),
                settings=LoadSettings(closed=True),
            )
        )


def test_an_unreachable_server_is_bad_input():
    result = CliRunner().invoke(
        command, ["http://127.0.0.1:1", "--model", "toy", "--rate", "1", "--wait", "0"]
    )
    assert isinstance(result.exception, BadInputError)
    assert "Is the server up" in str(result.exception)


@pytest.mark.slow
def test_load_on_a_real_server(tmp_path):
    """Two emulated stages at a third of their rate: everything is answered and recorded on both sides."""
    from serve_cases import bytes_profile, write_plan

    from penstock.record import load_record
    from penstock.serve.local_server import LocalServer

    plan = write_plan(tmp_path, bytes_profile("sizes", (24, 100, 10), 10_000), (0, 1, 2), slo_us=20_000_000)
    arguments = ["--executor", "emulated", "--overhead-us", "60000", "--record", str(tmp_path / "server")]
    with LocalServer(plan, arguments) as server:
        options = [
            "--model",
            "sizes",
            "--rate",
            "60",
            "--seconds",
            "2",
            "--json",
            "-o",
            str(tmp_path / "client"),
        ]
        result = CliRunner().invoke(command, [server.url, *options])
    assert result.exception is None, result.output
    document = json.loads(result.stdout)
    assert document["statuses"] == {"200": document["requests"]}
    assert document["emulated_models"] == ["sizes"]
    client, server_side = load_record(tmp_path / "client"), load_record(tmp_path / "server")
    assert len(client.requests.request) == len(server_side.requests.request) == document["requests"]
    assert client.batches.batch.size == 0
    # The client sees at least what the server saw.
    sent = (client.requests.finish_us - client.requests.arrival_us).mean()
    served = (server_side.requests.finish_us - server_side.requests.arrival_us).mean()
    assert sent >= served
