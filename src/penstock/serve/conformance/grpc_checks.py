"""The protocol over gRPC."""

from __future__ import annotations

from typing import Any

import grpc

from penstock.serve.conformance.framework import Checks, NotApplicableError, NotConformingError, expect
from penstock.serve.conformance.grpc_server_under_test import GrpcServerUnderTest
from penstock.serve.conformance.http_requests import expect_each_alone, expect_same
from penstock.serve.protocol.datatypes import NUMPY, RAW_ONLY
from penstock.serve.protocol.grpc_infer import decode_response_message, encode_request_message
from penstock.serve.protocol.grpc_interface import HEALTH, message_class
from penstock.serve.protocol.infer import InferRequest, RequestedOutput, Tensor

GRPC = Checks("grpc")
Server = GrpcServerUnderTest
CODE = grpc.StatusCode


def _message(server: Server, *, raw: bool = True, **fields: Any) -> Any:
    request = InferRequest(server.subject.tensors(), **fields)
    return encode_request_message(server.subject.name, request, raw=raw)


def _named(kind: str, server: Server, **fields: Any) -> Any:
    return message_class(kind)(name=server.subject.name, **fields)


def _reference(server: Server) -> tuple[Tensor, ...]:
    return decode_response_message(server.ask("ModelInfer", _message(server)))


def expect_code(server: Server, message: Any, *codes: grpc.StatusCode, method: str = "ModelInfer") -> None:
    """One of ``codes`` with some text."""
    code, said = server.code(method, message)
    expect(code in codes, f"{code.name}, not {' or '.join(one.name for one in codes)}")
    expect(bool(said), "no text says why")


# -- health and documents ---------------------------------------------------------------------------------------------


@GRPC.add("health")
def live(server: Server) -> None:
    """ServerLive says live."""
    expect(server.ask("ServerLive", message_class("ServerLiveRequest")()).live, "not live")


@GRPC.add("health")
def ready(server: Server) -> None:
    """ServerReady says ready."""
    expect(server.ask("ServerReady", message_class("ServerReadyRequest")()).ready, "not ready")


@GRPC.add("health")
def model_ready(server: Server) -> None:
    """ModelReady says ready, with and without the version."""
    for version in ("", *server.subject.versions):
        answer = server.ask("ModelReady", _named("ModelReadyRequest", server, version=version))
        expect(answer.ready, f"version {version!r} is not ready")


@GRPC.add("health")
def standard_health(server: Server) -> None:
    """grpc.health.v1 says SERVING."""
    answer = server.ask("Check", message_class("grpc.health.v1.HealthCheckRequest")(), HEALTH)
    expect(answer.status == 1, f"status {answer.status}")


@GRPC.add("metadata")
def server_metadata(server: Server) -> None:
    """ServerMetadata has name and version."""
    answer = server.ask("ServerMetadata", message_class("ServerMetadataRequest")())
    expect(bool(answer.name and answer.version), answer)


@GRPC.add("metadata")
def model_metadata(server: Server) -> None:
    """ModelMetadata has platform, inputs and outputs of known types."""
    answer = server.ask("ModelMetadata", _named("ModelMetadataRequest", server))
    expect(bool(answer.platform), "no platform")
    kinds = [tensor.datatype for tensor in (*answer.inputs, *answer.outputs)]
    expect(set(kinds) <= set(NUMPY), kinds)


# -- inference --------------------------------------------------------------------------------------------------------


@GRPC.add("infer")
def infer_raw(server: Server) -> None:
    """Raw contents give every output, of the declared type."""
    answer = server.ask("ModelInfer", _message(server))
    expect(answer.model_name == server.subject.name, f"model_name {answer.model_name!r}")
    made = {tensor.name: tensor.datatype for tensor in decode_response_message(answer)}
    expect(made == {name: kind for name, kind, _ in server.subject.outputs}, made)


@GRPC.add("infer")
def infer_typed(server: Server) -> None:
    """Typed contents give the same outputs."""
    if any(kind in RAW_ONLY for _, kind, _ in server.subject.inputs):
        raise NotApplicableError("FP16 and BF16 have no typed contents")
    answer = server.ask("ModelInfer", _message(server, raw=False))
    expect_same(decode_response_message(answer), _reference(server))


@GRPC.add("infer")
def id_is_echoed(server: Server) -> None:
    """The id of the request is echoed."""
    answer = server.ask("ModelInfer", _message(server, id="conformance-7"))
    expect(answer.id == "conformance-7", f"id {answer.id!r}")


@GRPC.add("infer")
def requested_outputs(server: Server) -> None:
    """Only the requested outputs are sent, in the order asked."""
    names = [name for name, _, _ in reversed(server.subject.outputs)][:2]
    answer = server.ask("ModelInfer", _message(server, outputs=tuple(map(RequestedOutput, names))))
    expect([tensor.name for tensor in answer.outputs] == names, [tensor.name for tensor in answer.outputs])


@GRPC.add("infer")
def unknown_parameters(server: Server) -> None:
    """Parameters that the server does not know are ignored."""
    message = _message(server)
    message.parameters["conformance_note"].string_param = "x"
    server.ask("ModelInfer", message)


@GRPC.add("infer")
def batch(server: Server) -> None:
    """Three samples give the outputs of each, in order."""
    server.subject.needs_batch()

    def outputs_for(tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        message = encode_request_message(server.subject.name, InferRequest(tensors))
        return decode_response_message(server.ask("ModelInfer", message))

    expect_each_alone(server.subject.tensors(3), outputs_for)


@GRPC.add("versions")
def version_of_inference(server: Server) -> None:
    """Inference takes the model's version."""
    for version in server.subject.versions[:1]:
        message = _message(server)
        message.model_version = version
        answer = server.ask("ModelInfer", message)
        expect(answer.model_version == version, f"model_version {answer.model_version!r}")


# -- streams ----------------------------------------------------------------------------------------------------------


@GRPC.add("stream")
def stream(server: Server) -> None:
    """A stream answers every request, by its id."""
    answers = server.stream([_message(server, id=str(number)) for number in range(5)])
    failed = [one.error_message for one in answers if one.error_message]
    expect(not failed, failed)
    expect(sorted(one.infer_response.id for one in answers) == list("01234"), f"{len(answers)} answers")
    expect_same(decode_response_message(answers[0].infer_response), _reference(server))


@GRPC.add("stream")
def stream_error(server: Server) -> None:
    """A request of a stream that fails is told so, and the stream goes on."""
    broken = _message(server, id="1")
    broken.inputs[0].name = "no-such-input"
    answers = server.stream([_message(server, id="0"), broken, _message(server, id="2")])
    expect(len(answers) == 3, f"{len(answers)} answers to 3 requests")
    expect(sum(bool(one.error_message) for one in answers) == 1, "not one error")


# -- errors -----------------------------------------------------------------------------------------------------------


@GRPC.add("errors")
def unknown_model(server: Server) -> None:
    """An unknown model is NOT_FOUND."""
    message = _message(server)
    message.model_name = "no-such-model-here"
    expect_code(server, message, CODE.NOT_FOUND)
    kind = message_class("ModelMetadataRequest")
    expect_code(server, kind(name="no-such-model-here"), CODE.NOT_FOUND, method="ModelMetadata")


@GRPC.add("errors")
def unknown_version(server: Server) -> None:
    """An unknown version is NOT_FOUND or INVALID_ARGUMENT."""
    message = _message(server)
    message.model_version = "987654321"
    expect_code(server, message, CODE.NOT_FOUND, CODE.INVALID_ARGUMENT)


@GRPC.add("errors")
def missing_input(server: Server) -> None:
    """A missing input is INVALID_ARGUMENT."""
    message = _message(server)
    del message.inputs[:]
    del message.raw_input_contents[:]
    expect_code(server, message, CODE.INVALID_ARGUMENT)


@GRPC.add("errors")
def unknown_input(server: Server) -> None:
    """An input of an unknown name is INVALID_ARGUMENT."""
    message = _message(server)
    message.inputs[0].name = "no-such-input"
    expect_code(server, message, CODE.INVALID_ARGUMENT)


@GRPC.add("errors")
def wrong_datatype(server: Server) -> None:
    """A datatype that is not the input's is INVALID_ARGUMENT."""
    message = _message(server)
    message.inputs[0].datatype = "INT64" if message.inputs[0].datatype != "INT64" else "FP64"
    expect_code(server, message, CODE.INVALID_ARGUMENT)


@GRPC.add("errors")
def wrong_rank(server: Server) -> None:
    """A shape with a dimension too many is INVALID_ARGUMENT."""
    message = _message(server)
    message.inputs[0].shape.append(1)
    expect_code(server, message, CODE.INVALID_ARGUMENT)


@GRPC.add("errors")
def short_raw_contents(server: Server) -> None:
    """Raw contents that are shorter than the shape says are INVALID_ARGUMENT."""
    message = _message(server)
    message.raw_input_contents[0] = message.raw_input_contents[0][:-1]
    expect_code(server, message, CODE.INVALID_ARGUMENT)


@GRPC.add("errors")
def missing_raw_contents(server: Server) -> None:
    """More raw contents than inputs is INVALID_ARGUMENT."""
    message = _message(server)
    message.raw_input_contents.append(b"1234")
    expect_code(server, message, CODE.INVALID_ARGUMENT)


@GRPC.add("errors")
def unknown_output(server: Server) -> None:
    """A requested output of an unknown name is INVALID_ARGUMENT."""
    expect_code(server, _message(server, outputs=(RequestedOutput("no-such-output"),)), CODE.INVALID_ARGUMENT)


@GRPC.add("errors")
def not_a_message(server: Server) -> None:
    """Bytes that are no message are refused, and the server lives."""
    code, _ = server.code("ModelInfer", b"\xff\xff\xff\xff")
    expect(code in (CODE.INVALID_ARGUMENT, CODE.INTERNAL), code.name)
    live(server)


# -- extensions -------------------------------------------------------------------------------------------------------


@GRPC.add("extensions", "model_configuration")
def configuration(server: Server) -> None:
    """ModelConfig has name, inputs and outputs."""
    config = server.ask("ModelConfig", _named("ModelConfigRequest", server)).config
    expect(config.name == server.subject.name, f"name {config.name!r}")
    expect(bool(config.input and config.output), "no inputs or outputs")


@GRPC.add("extensions", "statistics")
def statistics(server: Server) -> None:
    """ModelStatistics counts the samples that were run."""

    def count() -> int:
        answer = server.ask("ModelStatistics", _named("ModelStatisticsRequest", server))
        return sum(entry.inference_count for entry in answer.model_stats)

    before = count()
    _reference(server)
    expect(count() == before + 1, f"inference_count went from {before} to {count()}")


@GRPC.add("extensions", "model_repository")
def repository_index(server: Server) -> None:
    """RepositoryIndex lists the model as READY."""
    answer = server.ask("RepositoryIndex", message_class("RepositoryIndexRequest")())
    states = {entry.name: entry.state for entry in answer.models}
    if states.get(server.subject.name) != "READY":
        raise NotConformingError(f"{states}")
