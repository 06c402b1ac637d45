"""The HTTP surface over models that are functions: every path, form, coding and refusal."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib

import numpy as np
import pytest
from fake_backend import EVERY_TYPE, FakeBackend, http_server, run

from penstock.serve.gateway.http import INLINE_JSON_BYTES, HttpGateway
from penstock.serve.listen.http_message import HttpHead, error_response
from penstock.serve.listen.security import Tokens
from penstock.serve.listen.service import InferenceService
from penstock.serve.protocol.content_coding import MOST_MEMBERS, accepted_codings
from penstock.serve.protocol.datatypes import NUMPY
from penstock.serve.protocol.errors import ProtocolError
from penstock.serve.protocol.infer import (
    HEADER_LENGTH,
    InferRequest,
    RequestedOutput,
    Tensor,
    decode_response,
    encode_request,
)
from penstock.serve.protocol.openapi import openapi
from penstock.serve.spec import Limits


class Client:
    """Calls the handler as the connection does."""

    def __init__(self, backend=None, tokens=None):
        self.backend = backend or FakeBackend()
        self.service = InferenceService(self.backend)
        self.handler = HttpGateway(self.backend, self.service, tokens)

    async def response(self, method, target, body=b"", headers=None, arrival_us=1_000_000):
        named = {name.lower(): text for name, text in (headers or {}).items()}
        head = HttpHead(method, target, named, arrival_us, len(body))
        try:
            return await self.handler.handle(head, memoryview(body), self.handler.begin(head))
        except ProtocolError as error:
            return error_response(error)

    def __call__(self, *arguments, **options):
        async def asked():
            response = await self.response(*arguments, **options)
            self.handler.close()
            return response

        return run(asked())


def document(response):
    return json.loads(b"".join(map(bytes, response.parts)))


def infer_body(data=(1.0, 2.0), shape=(1, 2), **more):
    return json.dumps(
        {"inputs": [{"name": "x", "shape": list(shape), "datatype": "FP32", "data": list(data)}], **more}
    ).encode()


def answer(response):
    length = dict(response.headers).get(HEADER_LENGTH)
    return decode_response(b"".join(map(bytes, response.parts)), None if length is None else int(length))


ECHO = "/v2/models/echo/infer"


@pytest.mark.parametrize(
    ("verb", "target", "holds"),
    [
        ("GET", "/v2", {"name": "penstock"}),
        ("GET", "/v2/", {"name": "penstock"}),
        ("GET", "http://proxy/v2?x=1", {"name": "penstock"}),
        ("GET", "/v2/health/live", {"live": True}),
        ("HEAD", "/v2/health/live", {"live": True}),
        ("GET", "/v2/health/ready", {"ready": True}),
        ("GET", "/v2/models/echo", {"name": "echo", "versions": ["1"]}),
        ("GET", "/v2/models/echo/versions/1", {"name": "echo"}),
        ("GET", "/v2/models/echo/ready", {"name": "echo", "ready": True}),
        ("GET", "/v2/models/echo/versions/1/ready", {"name": "echo", "ready": True}),
        ("GET", "/v2/models/echo/config", {"name": "echo", "max_batch_size": 8}),
        ("GET", "/v2/trace/setting", {"trace_level": ["OFF"]}),
        ("GET", "/v2/models/echo/trace/setting", {"trace_level": ["OFF"]}),
        ("GET", "/openapi.json", {"openapi": "3.1.0"}),
    ],
)
def test_documents(verb, target, holds):
    response = Client()(verb, target)
    assert response.status == 200
    assert document(response).items() >= holds.items()


def test_lists():
    client = Client()
    assert [entry["name"] for entry in document(client("POST", "/v2/repository/index"))] == [
        model.name for model in client.backend.models
    ]
    assert len(document(client("GET", "/v2/models/stats"))["model_stats"]) == len(client.backend.models)
    assert document(client("GET", "/v2/models/echo/stats"))["model_stats"][0]["name"] == "echo"


@pytest.mark.parametrize(
    ("verb", "target", "status", "allow"),
    [
        ("GET", ECHO, 405, "POST"),
        ("POST", "/v2/models/echo", 405, "GET, HEAD"),
        ("DELETE", "/v2/trace/setting", 405, "GET, HEAD, POST"),
        ("GET", "/v2/repository/index", 405, "POST"),
        ("GET", "/v2/models/nobody", 404, None),
        ("POST", "/v2/models/nobody/infer", 404, None),
        ("GET", "/v2/models/echo/versions/2", 404, None),
        ("GET", "/" + "x" * 5_000, 404, None),
        ("POST", "/v2/repository/models/echo/unload", 400, None),
        ("POST", "/v2/trace/setting", 400, None),
    ],
)
def test_refusals(verb, target, status, allow):
    response = Client()(verb, target)
    assert (response.status, dict(response.headers).get("Allow")) == (status, allow)
    assert document(response)["error"]


def test_what_is_not_ready_says_so():
    backend = FakeBackend()
    backend.ready = False
    client = Client(backend)
    for target in ("/v2/health/ready", "/v2/models/echo/ready"):
        response = client("GET", target)
        assert (response.status, document(response)["ready"]) == (503, False)
    assert document(client("POST", "/v2/repository/index"))[0]["state"] == "UNAVAILABLE"


@pytest.mark.parametrize("binary", [True, False])
def test_every_datatype_comes_back(binary):
    rng = np.random.default_rng(3)
    tensors = []
    for name in EVERY_TYPE:
        if name == "BYTES":
            array = np.array([["ä".encode(), b""]], dtype=object)
        else:
            array = rng.integers(0, 2, (1, 2)).astype(NUMPY[name])
        tensors.append(Tensor(name.lower(), name, array))
    raw_only = [] if binary else [RequestedOutput(name, True) for name in ("fp16", "bf16")]
    outputs = [
        RequestedOutput(t.name, None) for t in tensors if t.datatype not in ("FP16", "BF16")
    ] + raw_only
    request = InferRequest(tuple(tensors), "i", tuple(outputs) if not binary else None, binary_default=binary)
    message = encode_request(request)
    head = {HEADER_LENGTH: str(message.header_length)}
    got = answer(Client()("POST", "/v2/models/types/infer", message.body(), head))
    assert got.id == "i"
    assert len(got.outputs) == len(EVERY_TYPE)
    given = {tensor.name: tensor for tensor in tensors}
    for tensor in got.outputs:
        assert tensor.datatype == given[tensor.name].datatype
        np.testing.assert_array_equal(tensor.array, given[tensor.name].array)


def test_any_byte_but_zero_is_true():
    head = {"name": "x", "shape": [1, 3], "datatype": "BOOL", "parameters": {"binary_data_size": 3}}
    text = json.dumps({"inputs": [head]}).encode()
    from penstock.serve.protocol.infer import decode_request

    (tensor,) = decode_request(text + b"\x00\x02\xff", len(text)).inputs
    assert tensor.array.tolist() == [[False, True, True]]
    assert tensor.array.view(np.uint8).max() == 1


@pytest.mark.parametrize(("asked", "used"), [(1_000, 1_000), (60_000_000, 60_000_000), (10**12, 60_000_000)])
def test_a_timeout_is_the_requests_own_slo_but_never_longer_than_the_models(asked, used):
    client = Client()
    client("POST", ECHO, infer_body(parameters={"timeout": asked}))
    ((_, request, _),) = client.backend.asked
    assert request.timeout_us == used


@pytest.mark.parametrize(
    ("more", "status", "words"),
    [
        ({"parameters": {"priority": 1}}, 400, "'priority' (=1) is not supported"),
        ({"parameters": {"sequence_id": 7}}, 400, "do not depend"),
        ({"parameters": {"priority": 0, "mine": [1]}}, 200, ""),
        ({"parameters": None, "outputs": None, "id": None}, 200, ""),
        ({"parameters": {"long": "x" * 70_000}}, 413, "parameters of 70"),
        ({"outputs": [{"name": "x", "parameters": {"classification": 3}}]}, 400, "'classification'"),
        ({"outputs": [{"name": "y"}]}, 400, "not 'y'"),
        ({"outputs": [{"name": "x"}, {"name": "x"}]}, 400, "different names"),
        ({"inputs": []}, 400, "takes the inputs"),
        (
            {
                "inputs": [
                    {"name": str(n), "shape": [0], "datatype": "FP32", "data": []} for n in range(1_025)
                ]
            },
            413,
            "1025",
        ),
    ],
)
def test_parameters(more, status, words):
    response = Client()("POST", ECHO, infer_body(**more))
    assert response.status == status
    assert words in document(response).get("error", "")


def test_more_samples_than_the_limit_are_413():
    client = Client(FakeBackend(limits=Limits(samples=3)))
    assert client("POST", ECHO, infer_body([0.0] * 6, (3, 2))).status == 200
    response = client("POST", ECHO, infer_body([0.0] * 8, (4, 2)))
    assert (response.status, "at most 3" in document(response)["error"]) == (413, True)


def test_a_form_that_an_output_never_has_is_refused_before_the_run():
    client = Client()
    tensor = Tensor("x", "FP16", np.ones((1, 2), np.float16))
    message = encode_request(InferRequest((tensor,)))
    head = {HEADER_LENGTH: str(message.header_length)}
    response = client("POST", "/v2/models/half/infer", message.body(), head)
    assert (response.status, client.backend.asked) == (400, [])
    assert "binary_data" in document(response)["error"]


def test_nan_is_refused_as_json_and_sent_raw():
    client = Client()
    body = {"inputs": [{"name": "x", "shape": [1, 1], "datatype": "FP32", "data": [1]}]}

    def ask(**more):
        return client("POST", "/v2/models/nan/infer", json.dumps(body | more).encode())

    assert ask().status == 400
    assert answer(ask(outputs=[{"name": "good"}])).outputs[0].array.tolist() == [[1.0]]
    raw = answer(ask(parameters={"binary_data_output": True}))
    assert np.isnan(raw.outputs[0].array).all()


class TestLate:
    """By hand: the SLO is 60 s, and one sample takes 10 s by the profile; so 50 s may pass before the request is
    read."""

    @pytest.mark.parametrize(("waited_us", "status"), [(50_000_000, 200), (50_000_001, 503)])
    def test_what_waited_too_long_to_be_read_is_shed(self, waited_us, status):
        from fake_backend import model

        client = Client(FakeBackend((model("echo", {"x": ("FP32", (2,))}, least_us=10_000_000),)))
        client.backend.clock_us = 1_000_000 + waited_us
        response = client("POST", ECHO, infer_body())
        assert response.status == status
        if status == 503:
            assert dict(response.headers)["Retry-After"] == "1"
            assert client.backend.asked == []


class TestCodings:
    @pytest.mark.parametrize("coding", ["gzip", "deflate", "identity", ""])
    def test_in(self, coding):
        body = infer_body()
        pack = {"gzip": gzip.compress, "deflate": zlib.compress}.get(coding, bytes)
        response = Client()("POST", ECHO, pack(body), {"Content-Encoding": coding})
        assert answer(response).outputs[0].array.tolist() == [[1.0, 2.0]]

    @pytest.mark.parametrize(
        ("coding", "body", "status"),
        [
            ("br", b"x", 415),
            ("gzip, gzip", b"x", 415),
            ("gzip", b"not gzip", 400),
            ("gzip", gzip.compress(infer_body(), mtime=0)[:-9], 400),
            ("gzip", gzip.compress(b"x", mtime=0)[:-4] + b"\0\0\0\0", 400),
            ("deflate", zlib.compress(infer_body()) + b"more", 400),
            ("gzip", gzip.compress(b"", mtime=0) * (MOST_MEMBERS + 1), 400),
            ("gzip", b"", 400),
            ("gzip", gzip.compress(bytes(100_001), mtime=0), 413),
            ("deflate", zlib.compress(bytes(2**26)), 413),
        ],
    )
    def test_what_is_damaged_unknown_or_a_bomb(self, coding, body, status):
        client = Client(FakeBackend(limits=Limits(body_bytes=100_000)))
        response = client("POST", ECHO, body, {"Content-Encoding": coding})
        assert response.status == status
        assert document(response)["error"]

    def test_members_are_joined(self):
        body = infer_body()
        packed = gzip.compress(body[:20]) + gzip.compress(body[20:])
        assert Client()("POST", ECHO, packed, {"Content-Encoding": "gzip"}).status == 200

    @pytest.mark.parametrize(
        ("accepted", "binary", "coding"),
        [
            ("gzip", False, "gzip"),
            ("deflate", False, "deflate"),
            ("gzip", True, "gzip"),
            ("gzip, deflate", False, "gzip"),
            ("gzip, deflate", True, None),
            ("br", False, None),
            ("", False, None),
        ],
    )
    def test_out(self, accepted, binary, coding):
        array = np.zeros((600, 2), np.float32)
        message = encode_request(InferRequest((Tensor("x", "FP32", array),), binary_default=binary))
        headers = {HEADER_LENGTH: str(message.header_length), "Accept-Encoding": accepted}
        response = Client()("POST", ECHO, message.body(), headers)
        given = dict(response.headers)
        assert given.get("Content-Encoding") == coding
        body = b"".join(map(bytes, response.parts))
        unpack = {"gzip": gzip.decompress, "deflate": zlib.decompress}.get(coding, bytes)
        length = given.get(HEADER_LENGTH)
        got = decode_response(unpack(body), None if length is None else int(length))
        np.testing.assert_array_equal(got.outputs[0].array, array)

    def test_weights(self):
        assert accepted_codings("br, GZIP;q=0.5, deflate;q=0, *") == ("gzip",)
        assert accepted_codings("gzip;q=0.000,deflate; q=1") == ("deflate",)


class TestLargeJson:
    """Bodies that go to the helper's process, and answers that a thread writes."""

    def test_the_result_is_the_same_and_others_are_answered_meanwhile(self):
        count = 200_000
        data = [float(n) for n in range(2 * count)]
        body = infer_body(data, (count, 2), id="big")
        assert len(body) > INLINE_JSON_BYTES

        async def test():
            client = Client(FakeBackend(limits=Limits(samples=count, in_flight=count)))
            large = asyncio.ensure_future(client.response("POST", ECHO, body))
            await asyncio.sleep(0)
            small = await client.response("GET", "/v2/health/live")
            assert (small.status, large.done()) == (200, False)
            got = answer(await large)
            # A second one, to the same process; then one that is no JSON.
            assert (await client.response("POST", ECHO, body)).status == 200
            wrong = await client.response("POST", ECHO, body[:-3])
            deep = await client.response("POST", ECHO, b"[" * 1_000_000)
            client.handler.close()
            return got, wrong, deep

        got, wrong, deep = run(test())
        assert got.id == "big"
        np.testing.assert_array_equal(got.outputs[0].array.ravel(), np.arange(2 * count, dtype=np.float32))
        assert (wrong.status, deep.status) == (400, 400)

    def test_the_first_large_body_does_not_wait_for_a_process(self):
        """Started before the server is ready, the helper is the same process afterwards."""
        body = infer_body([0.0] * 100_000, (50_000, 2))

        async def test():
            client = Client(FakeBackend(limits=Limits(samples=50_000)))
            await client.handler.start()
            started = client.handler._helper._process
            answer = await client.response("POST", ECHO, body)
            same = client.handler._helper._process is started
            client.handler.close()
            return answer.status, started is not None, same

        assert run(test()) == (200, True, True)

    def test_a_helper_that_dies_is_replaced(self):
        body = infer_body([0.0] * 100_000, (50_000, 2))

        async def test():
            client = Client(FakeBackend(limits=Limits(samples=50_000)))
            assert (await client.response("POST", ECHO, body)).status == 200
            helper = client.handler._helper
            helper._process.kill()
            helper._process.wait()
            lost = await client.response("POST", ECHO, body)
            after = await client.response("POST", ECHO, body)
            client.handler.close()
            return lost.status, after.status

        assert run(test()) == (413, 200)


class TestTokens:
    TOKEN = "0123456789abcdef"

    @pytest.mark.parametrize(
        ("target", "header", "status"),
        [
            ("/v2", "", 401),
            ("/nothing", "", 401),
            ("/metrics", "Bearer 0123456789abcdeX", 401),
            ("/v2", "Basic 0123456789abcdef", 401),
            ("/v2", "Bearer 0123456789abcdef", 200),
            ("/v2", "bearer  0123456789abcdef", 200),
            ("/nothing", "Bearer 0123456789abcdef", 404),
            ("/v2/health/live", "", 200),
            ("/v2/health/ready", "", 200),
        ],
    )
    def test_who_may_ask(self, target, header, status):
        response = Client(tokens=Tokens(("another-token-1234", self.TOKEN)))(
            "GET", target, headers={"Authorization": header}
        )
        assert response.status == status
        assert ("WWW-Authenticate", "Bearer") in response.headers or status != 401


def test_the_live_page_needs_no_token_and_has_its_headers():
    client = Client(tokens=Tokens(("0123456789abcdef",)))
    for target in ("/dashboard", "/dashboard/", "/dashboard/dashboard.js?v=1"):
        response = client("GET", target)
        assert response.status == 200
        assert "default-src 'none'" in dict(response.headers)["Content-Security-Policy"]
    assert client("GET", "/dashboard/../secret").status == 401
    assert Client()("GET", "/dashboard/%2e%2e").status == 404
    assert Client()("GET", "/dashboard/none.js").status == 404


def test_every_request_is_in_one_counter():
    async def test():
        backend = FakeBackend()
        async with http_server(backend) as (port, service, _):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            body = infer_body()
            wanted = {
                ("http", "echo", 200): f"POST {ECHO} HTTP/1.1\r\nContent-Length: {len(body)}\r\n\r\n".encode()
                + body,
                ("http", "echo", 400): f"POST {ECHO} HTTP/1.1\r\nContent-Length: 1\r\n\r\n{{".encode(),
                ("http", "", 404): b"GET /v2/models/nobody HTTP/1.1\r\n\r\n",
                ("http", "", 200): b"GET /v2 HTTP/1.1\r\n\r\n",
                ("http", "", 400): b"nonsense\r\n\r\n",
            }
            writer.write(b"".join(wanted.values()))
            while await reader.read(65_536):
                pass
            writer.close()
            return wanted, dict(service.answers)

    wanted, counted = run(test())
    assert counted == dict.fromkeys(wanted, 1)


def test_the_description_names_every_path():
    """Each path of the document is one that the server knows, with the verbs that it names."""
    from penstock.serve.protocol.routes import match

    for path, operations in openapi(("m",), has_tokens=False)["paths"].items():
        target = path.replace("{model}", "m").replace("{version}", "1")
        for verb in operations:
            assert match(verb.upper(), target).ask
