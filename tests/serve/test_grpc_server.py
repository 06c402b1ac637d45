"""gRPC over models that are functions: every call, by tritonclient and by raw messages."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from fake_backend import EVERY_TYPE, FakeBackend, run
from tritonclient.grpc import service_pb2
from tritonclient.utils import InferenceServerException

from penstock.serve.listen.grpc_server import GrpcServer
from penstock.serve.listen.options import ListenOptions
from penstock.serve.listen.security import Tokens
from penstock.serve.listen.service import InferenceService
from penstock.serve.protocol.compile_proto import COMPILED, compiled
from penstock.serve.protocol.datatypes import NUMPY
from penstock.serve.protocol.errors import ProtocolError
from penstock.serve.protocol.grpc_bounds import (
    FEW_FIELDS,
    MOST_FIELDS,
    MOST_SMALL_BYTES,
    has_few_pieces,
    refuse_many_pieces,
)
from penstock.serve.protocol.grpc_infer import decode_response_message, encode_request_message
from penstock.serve.protocol.grpc_interface import SERVICE, message_class, methods
from penstock.serve.protocol.infer import InferRequest, Tensor
from penstock.serve.spec import Limits


@asynccontextmanager
async def server(backend=None, tokens=None):
    """``(address, service)`` of a gRPC server on loopback."""
    service = InferenceService(backend or FakeBackend())
    listening = GrpcServer(service, ListenOptions(), "127.0.0.1:0", tokens)
    port = await listening.start()
    try:
        yield f"127.0.0.1:{port}", service
    finally:
        await listening.close()


async def ask(address, method, message, metadata=(), timeout=10, service=SERVICE, **options):
    """The answer to ``message`` (bytes or a message), or (code, details)."""
    async with grpc.aio.insecure_channel(address) as channel:
        kind = methods(service)[method][1]
        call = channel.unary_unary(
            f"/{service}/{method}",
            request_serializer=lambda m: m if isinstance(m, bytes) else m.SerializeToString(),
            response_deserializer=kind.FromString,
        )
        try:
            return await call(message, timeout=timeout, metadata=metadata, **options)
        except grpc.aio.AioRpcError as error:
            return error.code(), error.details()


def asked(method, message, backend=None, tokens=None, **options):
    async def test():
        async with server(backend, tokens) as (address, service):
            return await ask(address, method, message, **options), dict(service.answers)

    return run(test())


def one(model="echo", values=(1.0, 2.0), **more):
    array = np.array([values], np.float32)
    return encode_request_message(model, InferRequest((Tensor("x", "FP32", array),), **more))


def test_the_compiled_descriptors_are_those_of_the_sources():
    assert compiled() == COMPILED.read_bytes()


def is_repeated(field):
    """protobuf 7 has the property, 5 has the label."""
    return field.is_repeated if hasattr(field, "is_repeated") else field.label == field.LABEL_REPEATED


def test_every_field_is_where_another_implementation_has_it():
    """tritonclient's compiled interface is the oracle: the same names have the same numbers, types and labels."""
    theirs = service_pb2.DESCRIPTOR.pool

    def compare(ours):
        other = {
            f.name: (f.number, f.type, is_repeated(f))
            for f in theirs.FindMessageTypeByName(ours.full_name).fields
        }
        for field in ours.fields:
            assert other[field.name] == (field.number, field.type, is_repeated(field)), (
                ours.full_name,
                field.name,
            )
        for nested in ours.nested_types:
            if not nested.GetOptions().map_entry:
                compare(nested)

    for request, response in methods(SERVICE).values():
        compare(request.DESCRIPTOR)
        compare(response.DESCRIPTOR)
    compare(message_class("ModelConfig").DESCRIPTOR)


def test_documents_by_tritonclient():
    async def test():
        async with server() as (address, _), triton_aio.InferenceServerClient(address) as client:
            assert await client.is_server_live()
            assert await client.is_server_ready()
            assert await client.is_model_ready("echo")
            with pytest.raises(InferenceServerException, match="NOT_FOUND"):
                await client.is_model_ready("nobody")
            assert (await client.get_server_metadata()).name == "penstock"
            metadata = await client.get_model_metadata("types")
            assert [(i.name, i.datatype, list(i.shape)) for i in metadata.inputs] == [
                (name.lower(), name, [-1, 2]) for name in EVERY_TYPE
            ]
            config = (await client.get_model_config("types", "1")).config
            assert (config.max_batch_size, config.backend) == (8, "penstock")
            assert (
                config.input[0].data_type
                == message_class("ModelConfig")
                .DESCRIPTOR.file.enum_types_by_name["DataType"]
                .values_by_name["TYPE_BOOL"]
                .number
            )
            assert config.dynamic_batching.default_queue_policy.default_timeout_microseconds == 60_000_000
            index = await client.get_model_repository_index()
            assert {(m.name, m.state) for m in index.models} >= {("echo", "READY")}
            stats = await client.get_inference_statistics("echo")
            assert [entry.name for entry in stats.model_stats] == ["echo"]
            assert len((await client.get_inference_statistics()).model_stats) == len(FakeBackend().models)
            for action in (client.load_model, client.unload_model):
                with pytest.raises(InferenceServerException, match="stays loaded"):
                    await action("echo")

    run(test())


def test_what_is_not_ready_says_so():
    backend = FakeBackend()
    backend.ready = False
    answer, _ = asked("ServerReady", message_class("ServerReadyRequest")(), backend)
    assert not answer.ready
    answer, _ = asked("ModelReady", message_class("ModelReadyRequest")(name="echo"), backend)
    assert not answer.ready
    only_ready = message_class("RepositoryIndexRequest")(ready=True)
    assert not asked("RepositoryIndex", only_ready, backend)[0].models


@pytest.mark.parametrize("raw", [True, False])
def test_every_datatype_comes_back_in_the_form_it_came(raw):
    rng = np.random.default_rng(4)
    kinds = EVERY_TYPE if raw else [name for name in EVERY_TYPE if name not in ("FP16", "BF16")]
    from fake_backend import model

    served = model("types", {name.lower(): (name, (2,)) for name in kinds})
    tensors = tuple(
        Tensor(
            name.lower(),
            name,
            np.array([["ä".encode(), b""]], dtype=object)
            if name == "BYTES"
            else rng.integers(0, 2, (1, 2)).astype(NUMPY[name]),
        )
        for name in kinds
    )
    request = encode_request_message("types", InferRequest(tensors, id="i"), raw=raw)
    response, _ = asked("ModelInfer", request, FakeBackend((served,)))
    assert (response.id, response.model_name, response.model_version) == ("i", "types", "1")
    assert (len(response.raw_output_contents) > 0) == raw
    for got, given in zip(decode_response_message(response), tensors, strict=True):
        assert (got.name, got.datatype) == (given.name, given.datatype)
        np.testing.assert_array_equal(got.array, given.array)


def broken(**changes):
    message = one()
    for name, value in changes.items():
        if name == "raw":
            message.raw_input_contents[:] = value
        elif name == "timeout":
            message.parameters["timeout"].int64_param = value
        elif name == "contents":
            message.inputs[0].contents.fp32_contents.extend(value)
        elif name == "ints":
            message.raw_input_contents[:] = []
            message.inputs[0].contents.int_contents.extend(value)
        elif name == "typed":
            message.raw_input_contents[:] = []
            message.inputs[0].contents.fp32_contents.extend(value)
        elif name == "classification":
            message.outputs.add(name="x").parameters["classification"].int64_param = value
        elif name == "priority":
            message.parameters["priority"].uint64_param = value
        elif name == "twice":
            message.inputs.add().CopyFrom(message.inputs[0])
            message.raw_input_contents.append(message.raw_input_contents[0])
        else:
            setattr(message, name, value)
    return message


CODE = grpc.StatusCode


@pytest.mark.parametrize(
    ("message", "code", "words"),
    [
        (b"\xff\xff\xff", CODE.INVALID_ARGUMENT, "not a ModelInferRequest"),
        (broken(model_name="nobody"), CODE.NOT_FOUND, "no model 'nobody'"),
        (broken(model_version="2"), CODE.NOT_FOUND, "version 1 only"),
        (broken(raw=[b"1234"]), CODE.INVALID_ARGUMENT, "takes 8"),
        (broken(raw=[b"", b""]), CODE.INVALID_ARGUMENT, "one for each"),
        (broken(contents=[1, 2]), CODE.INVALID_ARGUMENT, "both contents and raw"),
        (broken(ints=[1, 2]), CODE.INVALID_ARGUMENT, "takes fp32_contents, not int_contents"),
        (broken(typed=[1]), CODE.INVALID_ARGUMENT, "1 elements for shape"),
        (broken(typed=[]), CODE.INVALID_ARGUMENT, "0 elements for shape"),
        (broken(timeout=-1), CODE.INVALID_ARGUMENT, "whole microseconds"),
        (broken(classification=2), CODE.INVALID_ARGUMENT, "'classification'"),
        (broken(priority=1), CODE.INVALID_ARGUMENT, "'priority'"),
        (broken(twice=1), CODE.INVALID_ARGUMENT, "different names"),
        (one(values=(1.0, 2.0, 3.0)), CODE.INVALID_ARGUMENT, "has shape"),
    ],
)
def test_refusals(message, code, words):
    (got, details), counted = asked("ModelInfer", message)
    assert got == code
    assert words in details
    assert sum(counted.values()) == 1


def test_strings_that_are_no_text_are_refused():
    tensor = Tensor("s", "BYTES", np.array([[b"\xff"]], dtype=object))
    (code, details), _ = asked("ModelInfer", encode_request_message("text", InferRequest((tensor,))))
    assert (code, "'s' holds bytes that are not UTF-8" in details) == (CODE.INVALID_ARGUMENT, True)


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (413, CODE.RESOURCE_EXHAUSTED),
        (500, CODE.INTERNAL),
        (503, CODE.UNAVAILABLE),
        (504, CODE.DEADLINE_EXCEEDED),
    ],
)
def test_errors_of_the_server_have_their_codes(status, code):
    backend = FakeBackend()
    backend.error = ProtocolError(status, "because")
    (got, details), counted = asked("ModelInfer", one(), backend)
    assert (got, details, counted) == (code, "because", {("grpc", "echo", status): 1})


def test_a_fault_of_the_server_is_internal():
    backend = FakeBackend()
    backend.error = ZeroDivisionError()
    (got, details), counted = asked("ModelInfer", one(), backend)
    assert (got, counted) == (CODE.INTERNAL, {("grpc", "echo", 500): 1})
    assert "internal fault" in details


def test_the_clients_deadline_bounds_the_requests():
    """By hand: the SLO is 60 s, the client waits for 5 s, and asks for 10 s: about 5 s are left."""
    backend = FakeBackend()
    asked("ModelInfer", one(timeout_us=10_000_000), backend, timeout=5)
    asked("ModelInfer", one(timeout_us=1_000_000), backend, timeout=5)
    first, second = (request.timeout_us for _, request, _ in backend.asked)
    assert 0 < first < 6_000_000  # gRPC rounds deadlines up a little
    assert second == 1_000_000


def test_a_message_over_the_limit_is_refused():
    backend = FakeBackend(limits=Limits(body_bytes=100_000))
    message = broken(raw=[bytes(400_000)])
    for options in ({}, {"compression": grpc.Compression.Gzip}):
        (got, _), _ = asked("ModelInfer", message, backend, **options)
        assert got == CODE.RESOURCE_EXHAUSTED
    (got, _), _ = asked("ServerLive", b"\x0a\x80\x80\x04" + bytes(65_536), backend)
    assert got == CODE.RESOURCE_EXHAUSTED


def test_tokens():
    token = "0123456789abcdef"
    live = message_class("ServerLiveRequest")()
    tokens = Tokens((token,))
    (got, _), counted = asked("ServerLive", live, tokens=tokens)
    assert (got, counted) == (CODE.UNAUTHENTICATED, {("grpc", "", 401): 1})
    assert asked("ServerLive", live, tokens=tokens, metadata=[("authorization", f"Bearer {token}")])[0].live
    check = message_class("grpc.health.v1.HealthCheckRequest")()
    assert asked("Check", check, tokens=tokens, service="grpc.health.v1.Health")[0].status == 1


def test_health():
    kind = message_class("grpc.health.v1.HealthCheckRequest")

    async def test():
        backend = FakeBackend()
        async with server(backend) as (address, _):
            found = []
            for ready in (True, False):
                backend.ready = ready
                answer = await ask(address, "Check", kind(service=SERVICE), service="grpc.health.v1.Health")
                found.append(answer.status)
            unknown = await ask(address, "Check", kind(service="x"), service="grpc.health.v1.Health")
            async with grpc.aio.insecure_channel(address) as channel:
                watch = channel.unary_stream(
                    "/grpc.health.v1.Health/Watch",
                    request_serializer=kind.SerializeToString,
                    response_deserializer=message_class("grpc.health.v1.HealthCheckResponse").FromString,
                )(kind())
                first = (await watch.read()).status
                backend.ready = True
                second = (await watch.read()).status
                watch.cancel()
            return found, unknown[0], first, second

    assert run(test()) == ([1, 2], CODE.NOT_FOUND, 2, 1)


def test_a_stream_answers_in_order_and_goes_on_after_a_failure():
    async def test():
        async with server() as (address, service), triton_aio.InferenceServerClient(address) as client:

            async def requests():
                for number in range(40):
                    tensor = triton.InferInput("x", [1, 2], "FP32")
                    tensor.set_data_from_numpy(np.full((1, 2), number, np.float32))
                    yield {
                        "model_name": "nobody" if number == 3 else "echo",
                        "inputs": [tensor],
                        "request_id": str(number),
                    }

            found = []
            async for result, error in client.stream_infer(requests()):
                found.append(str(error) if error else (result.get_response().id, result.as_numpy("x")[0, 0]))
            return found, dict(service.answers)

    found, counted = run(test())
    assert "no model 'nobody'" in found[3]
    assert found[:3] + found[4:] == [(str(n), float(n)) for n in range(40) if n != 3]
    assert counted == {("grpc", "echo", 200): 39, ("grpc", "", 404): 1}


def test_a_stream_whose_client_leaves_cancels_what_it_asked():
    async def test():
        backend = FakeBackend()
        backend.gate = asyncio.Event()
        async with server(backend) as (address, _), grpc.aio.insecure_channel(address) as channel:
            call = channel.stream_stream(f"/{SERVICE}/ModelStreamInfer")()
            for _ in range(3):
                await call.write(one().SerializeToString())
            while len(backend.asked) < 3:
                await asyncio.sleep(0.005)
            call.cancel()
            while backend.cancelled < 3:
                await asyncio.sleep(0.005)

    run(test())


def test_a_client_that_leaves_cancels_its_request():
    async def test():
        backend = FakeBackend()
        backend.gate = asyncio.Event()
        async with server(backend) as (address, service):
            call = asyncio.ensure_future(ask(address, "ModelInfer", one()))
            while not backend.asked:
                await asyncio.sleep(0.005)
            call.cancel()
            while not backend.cancelled:
                await asyncio.sleep(0.005)
            while not service.answers:
                await asyncio.sleep(0.005)
            return dict(service.answers)

    assert run(test()) == {("grpc", "echo", 499): 1}


def varint(value):
    text = b""
    while value > 0x7F:
        text += bytes([value & 0x7F | 0x80])
        value >>= 7
    return text + bytes([value])


def piece(number, content):
    return varint(number << 3 | 2) + varint(len(content)) + content


class TestPieces:
    """Messages built by hand on the wire: field 5 is an input, its field 5 the contents, field 7 raw contents."""

    def refused(self, message):
        with pytest.raises(ProtocolError) as caught:
            refuse_many_pieces(message)
        return caught.value.http_status

    def test_few_are_parsed_at_once(self):
        assert has_few_pieces(piece(7, bytes(100_000)))
        assert has_few_pieces(piece(7, bytes(100_000)) + piece(5, b"") * (FEW_FIELDS - 1))
        assert not has_few_pieces(piece(7, bytes(100_000)) + piece(5, b"") * FEW_FIELDS)

    def test_large_tensors_are_few_pieces(self):
        refuse_many_pieces(piece(7, bytes(10_000_000)))
        refuse_many_pieces(piece(5, piece(1, b"x") + piece(5, piece(6, bytes(10_000_000)))))

    def test_many_empty_inputs(self):
        assert self.refused(piece(5, b"") * (MOST_FIELDS + 1)) == 413

    def test_many_strings(self):
        assert self.refused(piece(5, piece(5, piece(8, b"") * MOST_FIELDS))) == 413

    def test_many_bytes_of_names(self):
        assert self.refused(piece(5, piece(1, bytes(MOST_SMALL_BYTES + 1)))) == 413
        assert self.refused(piece(4, bytes(MOST_SMALL_BYTES + 1))) == 413

    @pytest.mark.parametrize(
        "end", [b"\x00\x00", b"\x0f", b"\xff" * 11, b"\x3a\x05abc", b"\x3a", b"\x39\x00"]
    )
    def test_a_broken_wire_format(self, end):
        assert self.refused(piece(7, bytes(70_000)) + end) == 400
