"""How a body over HTTP is encoded: raw tensors behind JSON, gzip, deflate."""

from __future__ import annotations

import gzip
import json
import zlib

from penstock.serve.conformance.framework import expect
from penstock.serve.conformance.http_requests import (
    HTTP,
    Server,
    document_of,
    expect_error,
    expect_same,
    post,
    reference_of,
    request_of,
)
from penstock.serve.protocol.infer import HEADER_LENGTH, RequestedOutput, encode_request

_BINARY = "binary_tensor_data"


@HTTP.add("infer binary", _BINARY)
def binary_in_json_out(server: Server) -> None:
    """Raw inputs give the same outputs as JSON."""
    server.subject.needs_json()
    answer = server.infer(request_of(server), binary=True)
    expect(HEADER_LENGTH.lower() not in answer.headers, "raw outputs, which were not asked for")
    expect_same(answer.result().outputs, reference_of(server))


@HTTP.add("infer binary", _BINARY)
def binary_out_by_default(server: Server) -> None:
    """binary_data_output gives every output raw."""
    answer = server.infer(request_of(server, binary_default=True), binary=True)
    expect(HEADER_LENGTH.lower() in answer.headers, f"no {HEADER_LENGTH}")
    expect_same(answer.result().outputs, reference_of(server))


@HTTP.add("infer binary", _BINARY)
def binary_out_by_output(server: Server) -> None:
    """binary_data of one output makes that one raw, and leaves the others in JSON."""
    first = server.subject.outputs[0][0]
    others = [name for name, kind, _ in server.subject.outputs[1:] if kind not in ("FP16", "BF16")]
    wanted = (RequestedOutput(first, True), *(RequestedOutput(name, False) for name in others))
    answer = server.infer(request_of(server, outputs=wanted), binary=True)
    result = answer.result()
    header = json.loads(answer.body[: int(answer.headers[HEADER_LENGTH.lower()])])
    raw = [t["name"] for t in header["outputs"] if "binary_data_size" in t.get("parameters", {})]
    expect(raw == [first], f"raw outputs: {raw}")
    expect([t.name for t in result.outputs] == [first, *others], [t.name for t in result.outputs])


@HTTP.add("errors", _BINARY)
def broken_header_length(server: Server) -> None:
    """A length of the JSON part that is over the body's is 400."""
    message = encode_request(request_of(server))
    answer = post(server, message.body(), **{HEADER_LENGTH: str(len(message.body()) + 1)})
    expect_error(answer, 400)


@HTTP.add("errors", _BINARY)
def broken_binary_size(server: Server) -> None:
    """Raw data that is shorter than its shape says is 400."""
    message = encode_request(request_of(server))
    assert message.header_length is not None
    expect_error(post(server, message.body()[:-1], **{HEADER_LENGTH: str(message.header_length)}), 400)


def _coded(server: Server, coding: str, body: bytes) -> None:
    server.subject.needs_json()
    result = post(server, body, **{"Content-Encoding": coding}).result()
    expect_same(result.outputs, reference_of(server))


@HTTP.add("codings")
def gzip_in(server: Server) -> None:
    """A body in gzip is read."""
    _coded(server, "gzip", gzip.compress(json.dumps(document_of(server)).encode()))


@HTTP.add("codings")
def deflate_in(server: Server) -> None:
    """A body in deflate is read."""
    _coded(server, "deflate", zlib.compress(json.dumps(document_of(server)).encode()))


@HTTP.add("codings")
def gzip_out(server: Server) -> None:
    """Accept-Encoding: gzip is answered in gzip or plain, and says which."""
    answer = server.ask(
        "GET",
        server.model("/config" if "model_configuration" in server.extensions else ""),
        None,
        {"Accept-Encoding": "gzip"},
    )
    coding = answer.headers.get("content-encoding", "")
    expect(coding in ("", "gzip", "identity"), f"Content-Encoding {coding!r}")
    json.loads(gzip.decompress(answer.body) if coding == "gzip" else answer.body)


@HTTP.add("errors")
def unknown_coding(server: Server) -> None:
    """An unknown Content-Encoding is 415 (or 400)."""
    expect_error(post(server, b"xxxx", **{"Content-Encoding": "conformance"}), 415, 400)


@HTTP.add("errors")
def damaged_gzip(server: Server) -> None:
    """A body that is not the gzip it says it is is 400."""
    expect_error(post(server, b"this is not gzip", **{"Content-Encoding": "gzip"}), 400)
