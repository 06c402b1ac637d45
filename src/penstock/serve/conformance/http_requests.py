"""What the checks of HTTP share: the requests they send, and what they expect of an answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from penstock.serve.conformance.framework import Checks, expect
from penstock.serve.conformance.http_server_under_test import Answer, HttpServerUnderTest
from penstock.serve.protocol.infer import InferRequest, InferResponse, Tensor, encode_request

HTTP = Checks("http")
Server = HttpServerUnderTest
OutputsFor = Callable[[tuple[Tensor, ...]], Sequence[Tensor]]


def request_of(server: Server, **fields: Any) -> InferRequest:
    """The inference request of all checks."""
    return InferRequest(server.subject.tensors(), **fields)


def document_of(server: Server, **changes: Any) -> dict[str, Any]:
    """A request in JSON, as a document that can be broken."""
    server.subject.needs_json()
    document: dict[str, Any] = json.loads(encode_request(request_of(server), binary=False).body())
    return document | changes


def post(server: Server, document: Any, **headers: str) -> Answer:
    """The answer to an inference request: ``document`` in JSON, or bytes as they are."""
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return server.ask("POST", server.model("/infer"), body, {"Content-Type": "application/json"} | headers)


def expect_error(answer: Answer, *statuses: int) -> None:
    """A status of the client's fault, and ``{"error": text}``."""
    expect(answer.status in statuses, f"status {answer.status}, not {' or '.join(map(str, statuses))}")
    document = answer.json()
    is_error = isinstance(document, dict) and isinstance(document.get("error"), str) and document["error"]
    expect(bool(is_error), f"the body has no error text: {document}")


def expect_same(one: Sequence[Tensor], other: Sequence[Tensor]) -> None:
    """The same outputs, up to the rounding of JSON."""
    expect(
        [t.name for t in one] == [t.name for t in other],
        f"{[t.name for t in one]} and {[t.name for t in other]}",
    )
    for a, b in zip(one, other, strict=True):
        expect(a.datatype == b.datatype, f"{a.name}: {a.datatype} and {b.datatype}")
        is_equal = a.array.shape == b.array.shape and (
            np.allclose(a.array, b.array, rtol=1e-3, atol=1e-5)
            if a.array.dtype.kind == "f"
            else (a.array == b.array).all()
        )
        expect(bool(is_equal), f"output {a.name} differs between two forms of one request")


def expect_each_alone(tensors: Sequence[Tensor], outputs_for: OutputsFor) -> None:
    """The outputs of several samples together are those of each of them alone, in order."""
    together = outputs_for(tuple(tensors))
    for at in range(len(tensors[0].array)):
        one = [Tensor(t.name, t.datatype, t.array[at : at + 1]) for t in tensors]
        of_one = [Tensor(t.name, t.datatype, t.array[at : at + 1]) for t in together]
        expect_same(of_one, outputs_for(tuple(one)))


def result_for(server: Server, tensors: tuple[Tensor, ...], **fields: Any) -> InferResponse:
    """The result for ``tensors`` in JSON, or as raw data if JSON cannot hold the model's datatypes."""
    binary = not server.subject.has_json
    return server.infer(InferRequest(tensors, binary_default=binary, **fields), binary=binary).result()


def reference_of(server: Server) -> tuple[Tensor, ...]:
    """The outputs for the request of all checks."""
    return result_for(server, server.subject.tensors()).outputs
