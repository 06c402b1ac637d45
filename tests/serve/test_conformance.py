"""The conformance checks: our server passes all; a server that does things wrong fails those that look at them."""

from __future__ import annotations

import asyncio
import json
import socket
import threading

import pytest
from click.testing import CliRunner
from fake_backend import FakeBackend, model

from penstock.cli.running.conformance import command
from penstock.errors import BadInputError
from penstock.serve.conformance.framework import run_checks
from penstock.serve.conformance.grpc_checks import GRPC
from penstock.serve.conformance.http_checks import http_checks
from penstock.serve.conformance.http_server_under_test import HttpServerUnderTest
from penstock.serve.gateway.http import HttpGateway
from penstock.serve.listen.grpc_server import GrpcServer
from penstock.serve.listen.http_message import HttpResponse, json_response
from penstock.serve.listen.http_server import HttpServer
from penstock.serve.listen.options import ListenOptions
from penstock.serve.listen.service import InferenceService
from penstock.serve.protocol.infer import InferRequest
from penstock.serve.protocol.routes import Ask


class InThread:
    """Servers over ``backend`` in a loop of their own; ``change(handler)`` may spoil the HTTP one."""

    def __init__(self, backend, change=lambda handler: handler):
        self.backend = backend
        self.change = change
        self.loop = asyncio.new_event_loop()
        self.ready = threading.Event()
        self.stop = None
        self.thread = threading.Thread(target=lambda: self.loop.run_until_complete(self.serve()))

    async def serve(self):
        self.stop = asyncio.Event()
        service = InferenceService(self.backend)
        handler = self.change(HttpGateway(self.backend, service))
        options = ListenOptions()
        http = HttpServer(handler, options.limits, self.backend.limits.body_bytes, self.backend.now_us)
        listener = socket.create_server(("127.0.0.1", 0))
        await http.listen(listener)
        grpc = GrpcServer(service, options, "127.0.0.1:0")
        port = await grpc.start()
        self.urls = [f"http://127.0.0.1:{listener.getsockname()[1]}", f"grpc://127.0.0.1:{port}"]
        self.ready.set()
        await self.stop.wait()
        await grpc.close()
        await http.close()

    def __enter__(self):
        self.thread.start()
        assert self.ready.wait(20)
        return self

    def __exit__(self, *error):
        self.loop.call_soon_threadsafe(self.stop.set)
        self.thread.join(20)
        self.loop.close()


MODELS = (
    model("two", {"a": ("FP32", (2, 3)), "b": ("INT64", (1,))}),
    model("half", {"x": ("FP16", (2,)), "y": ("BF16", (2,))}),
    model("text", {"s": ("BYTES", (2,))}),
)


@pytest.mark.parametrize("name", ["two", "half", "text"])
def test_our_server_passes_all(name):
    with InThread(FakeBackend(MODELS)) as server:
        result = CliRunner().invoke(command, [*server.urls, "--model", name, "--json"])
    document = json.loads(result.stdout)
    failed = [
        (c["protocol"], c["name"], c["seen"])
        for s in document["servers"]
        for c in s["checks"]
        if c["status"] == "fail"
    ]
    assert (failed, result.exit_code) == ([], 0)
    http, grpc = document["servers"]
    assert (http["pass"], grpc["pass"]) == (len(http_checks()) - http["skip"], len(GRPC.all) - grpc["skip"])
    skipped = [c["name"] for c in http["checks"] if c["status"] == "skip"]
    if name == "half":
        assert len(skipped) < len(http_checks()) / 2  # FP16 and BF16 have no JSON form
    else:
        assert skipped == ["A priority is taken"]  # not advertised


class Spoiled:
    """Our handler with faults of servers of the field."""

    def __init__(self, handler):
        self.handler = handler
        self.answered = handler.answered

    def begin(self, head):
        return self.handler.begin(head)

    async def handle(self, head, body, route):
        response = await self.handler.handle(head, body, route)
        if route.ask is Ask.INFER:
            document = json.loads(response.parts[0]) if len(response.parts) == 1 else None
            if document is not None:
                document["id"] = "fixed"
                return json_response(document)
        if route.ask is Ask.MODEL:
            document = json.loads(response.parts[0])
            del document["platform"]
            return json_response(document)
        if route.ask is Ask.STATS or route.ask is Ask.MODEL_STATS:
            return HttpResponse(200, (b"not json",))
        return response


def test_what_a_server_does_wrong_is_found():
    with InThread(FakeBackend(MODELS), Spoiled) as server:
        result = CliRunner().invoke(command, [server.urls[0]])
        under_test = HttpServerUnderTest(server.urls[0])
        under_test.choose_model(None)
        outcomes = {one.check.name: one for one in run_checks(under_test, http_checks())}
        # A version that is not there: the same check sees a status, not a fault.
        broken = under_test.infer(InferRequest(()))
    assert result.exit_code == 1
    assert "3 fail" in result.stdout
    assert {name for name, one in outcomes.items() if one.status == "fail"} == {
        "The id of the request is echoed",
        "The model's metadata has name, platform, inputs and outputs of known types",
        "GET .../stats counts the samples that were run",
    }
    assert outcomes["The id of the request is echoed"].seen == "id 'fixed'"
    assert broken.status == 400


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["http://127.0.0.1:1"], "does not describe a model"),
        (["grpc://127.0.0.1:1"], "does not describe a model"),
        (["ftp://x"], "must be http"),
        (["grpc://x"], "must be grpc"),
    ],
)
def test_servers_that_are_not_there(arguments, words):
    result = CliRunner().invoke(command, arguments)
    assert isinstance(result.exception, BadInputError)
    assert words in str(result.exception)


def test_features_are_chosen():
    with InThread(FakeBackend(MODELS)) as server:
        result = CliRunner().invoke(command, [server.urls[0], "--only", "health"])
        wrong = CliRunner().invoke(command, [server.urls[0], "--only", "nothing"])
    assert "3 pass, 0 fail, 0 skipped" in result.stdout
    assert "--only 'nothing'" in str(wrong.exception)
