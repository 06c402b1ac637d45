"""What a wrong request over HTTP is answered with."""

from __future__ import annotations

import json
from typing import Any

from penstock.serve.conformance.framework import expect
from penstock.serve.conformance.http_documents import live
from penstock.serve.conformance.http_requests import HTTP, Server, document_of, expect_error, post


@HTTP.add("errors")
def unknown_model(server: Server) -> None:
    """Inference with an unknown model is 404 (or 400)."""
    body = json.dumps(document_of(server)).encode() if server.subject.has_json else b"{}"
    expect_error(server.ask("POST", "/v2/models/no-such-model-here/infer", body), 404, 400)


@HTTP.add("errors")
def unknown_model_metadata(server: Server) -> None:
    """Metadata of an unknown model is 404 (or 400)."""
    expect_error(server.ask("GET", "/v2/models/no-such-model-here"), 404, 400)


@HTTP.add("errors")
def unknown_version(server: Server) -> None:
    """An unknown version is 404 (or 400)."""
    expect_error(server.ask("GET", server.model("", "987654321")), 404, 400)


@HTTP.add("errors")
def unknown_path(server: Server) -> None:
    """An unknown path is 404."""
    answer = server.ask("GET", "/v2/no/such/path")
    expect(answer.status == 404, f"status {answer.status}")


@HTTP.add("errors")
def wrong_verb(server: Server) -> None:
    """GET of inference is 405 with Allow."""
    answer = server.ask("GET", server.model("/infer"))
    expect(answer.status == 405, f"status {answer.status}")
    expect("POST" in answer.headers.get("allow", ""), "no Allow header with POST")


@HTTP.add("errors")
def not_json(server: Server) -> None:
    """A body that is not JSON is 400."""
    expect_error(post(server, b"{nonsense"), 400)


@HTTP.add("errors")
def empty_body(server: Server) -> None:
    """An empty body is 400."""
    expect_error(post(server, b""), 400)


@HTTP.add("errors")
def no_inputs(server: Server) -> None:
    """A request without inputs is 400."""
    expect_error(post(server, {"id": "x"}), 400)


@HTTP.add("errors")
def missing_input(server: Server) -> None:
    """A missing input is 400."""
    expect_error(post(server, {"inputs": []}), 400)


def _broken_input(server: Server, **changes: Any) -> None:
    server.subject.needs_json()
    document = document_of(server)
    document["inputs"][0] |= changes
    expect_error(post(server, document), 400)


@HTTP.add("errors")
def unknown_input(server: Server) -> None:
    """An input of an unknown name is 400."""
    _broken_input(server, name="no-such-input")


@HTTP.add("errors")
def unknown_datatype(server: Server) -> None:
    """An unknown datatype is 400."""
    _broken_input(server, datatype="FP7")


@HTTP.add("errors")
def wrong_datatype(server: Server) -> None:
    """A datatype that is not the input's is 400."""
    kind = server.subject.inputs[0][1]
    _broken_input(server, datatype="INT64" if kind != "INT64" else "INT32")


@HTTP.add("errors")
def wrong_rank(server: Server) -> None:
    """A shape with a dimension too many is 400."""
    shape = server.subject.tensors()[0].array.shape
    _broken_input(server, shape=[*shape, 1])


@HTTP.add("errors")
def negative_shape(server: Server) -> None:
    """A negative length in a shape is 400."""
    shape = list(server.subject.tensors()[0].array.shape)
    _broken_input(server, shape=[-1, *shape[1:]])


@HTTP.add("errors")
def too_few_elements(server: Server) -> None:
    """Fewer elements than the shape says is 400."""
    _broken_input(server, data=[])


@HTTP.add("errors")
def unknown_output(server: Server) -> None:
    """A requested output of an unknown name is 400."""
    server.subject.needs_json()
    expect_error(post(server, document_of(server, outputs=[{"name": "no-such-output"}])), 400)


@HTTP.add("errors")
def deep_json(server: Server) -> None:
    """JSON nested ten thousand deep is 400, and the server lives."""
    expect_error(post(server, b'{"inputs":' + b"[" * 10_000), 400)
    live(server)
