"""Inference over HTTP: JSON, several samples, outputs by name."""

from __future__ import annotations

import json

from penstock.serve.conformance.framework import expect
from penstock.serve.conformance.http_requests import (
    HTTP,
    Server,
    document_of,
    expect_each_alone,
    expect_same,
    post,
    reference_of,
    request_of,
    result_for,
)
from penstock.serve.protocol.infer import RequestedOutput


@HTTP.add("infer json")
def infer_json(server: Server) -> None:
    """Flat JSON data gives every output, with as many elements as its shape says."""
    server.subject.needs_json()
    answer = server.infer(request_of(server))
    result = answer.result()
    expect(result.model == server.subject.name, f"model_name {result.model!r}")
    declared = {name: (kind, shape) for name, kind, shape in server.subject.outputs}
    expect({t.name for t in result.outputs} == set(declared), f"outputs {[t.name for t in result.outputs]}")
    for tensor in result.outputs:
        kind, shape = declared[tensor.name]
        fits = len(shape) == tensor.array.ndim and all(
            want in (-1, got) for want, got in zip(shape, tensor.array.shape, strict=True)
        )
        expect(
            tensor.datatype == kind and fits,
            f"{tensor.name}: {tensor.datatype} {tensor.array.shape}, not {kind} {shape}",
        )


@HTTP.add("infer json")
def infer_nested(server: Server) -> None:
    """Data nested as the shape is gives the same outputs."""
    server.subject.needs_json()
    document = document_of(server)
    for entry, tensor in zip(document["inputs"], server.subject.tensors(), strict=True):
        nested = tensor.array.tolist()
        entry["data"] = json.loads(json.dumps(nested, default=bytes.decode))
    expect_same(post(server, document).result().outputs, reference_of(server))


@HTTP.add("infer json")
def infer_null(server: Server) -> None:
    """Optional fields may be null: id, parameters, outputs."""
    server.subject.needs_json()
    post(server, document_of(server, id=None, parameters=None, outputs=None)).result()


@HTTP.add("infer")
def id_is_echoed(server: Server) -> None:
    """The id of the request is echoed."""
    result = result_for(server, server.subject.tensors(), id="conformance-7")
    expect(result.id == "conformance-7", f"id {result.id!r}")


@HTTP.add("infer")
def requested_outputs(server: Server) -> None:
    """Only the requested outputs are sent, in the order asked."""
    names = [name for name, _, _ in reversed(server.subject.outputs)][:2]
    wanted = tuple(RequestedOutput(name) for name in names)
    result = result_for(server, server.subject.tensors(), outputs=wanted)
    expect([t.name for t in result.outputs] == names, f"{[t.name for t in result.outputs]} for {names}")


@HTTP.add("infer")
def unknown_parameters(server: Server) -> None:
    """Parameters that the server does not know are ignored."""
    server.subject.needs_json()
    post(server, document_of(server, parameters={"conformance_note": "x", "conformance_level": 3})).result()


@HTTP.add("infer")
def batch(server: Server) -> None:
    """Three samples give the outputs of each, in order."""
    server.subject.needs_batch()
    expect_each_alone(server.subject.tensors(3), lambda tensors: result_for(server, tensors).outputs)
