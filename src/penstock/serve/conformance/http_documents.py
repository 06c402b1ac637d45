"""Health and metadata over HTTP."""

from __future__ import annotations

from penstock.serve.conformance.framework import expect
from penstock.serve.conformance.http_requests import HTTP, Server, request_of
from penstock.serve.protocol.datatypes import NUMPY


@HTTP.add("health")
def live(server: Server) -> None:
    """GET /v2/health/live gives 200."""
    answer = server.ask("GET", "/v2/health/live")
    expect(answer.status == 200, f"status {answer.status}")


@HTTP.add("health")
def ready(server: Server) -> None:
    """GET /v2/health/ready gives 200."""
    answer = server.ask("GET", "/v2/health/ready")
    expect(answer.status == 200, f"status {answer.status}")


@HTTP.add("health")
def model_ready(server: Server) -> None:
    """GET .../ready of the model gives 200."""
    answer = server.ask("GET", server.model("/ready"))
    expect(answer.status == 200, f"status {answer.status}")


@HTTP.add("metadata")
def server_metadata(server: Server) -> None:
    """GET /v2 has name, version and extensions."""
    document = server.get("/v2")
    texts = all(isinstance(document.get(key), str) for key in ("name", "version"))
    expect(texts and isinstance(document.get("extensions"), list), document)


@HTTP.add("metadata")
def model_metadata(server: Server) -> None:
    """The model's metadata has name, platform, inputs and outputs of known types."""
    document = server.get(server.model())
    expect(document.get("name") == server.subject.name, document.get("name"))
    expect(isinstance(document.get("platform"), str), f"platform: {document.get('platform')!r}")
    for tensor in (*document["inputs"], *document["outputs"]):
        expect(tensor["datatype"] in NUMPY, f"datatype {tensor['datatype']!r} of {tensor['name']!r}")
        expect(all(type(length) is int for length in tensor["shape"]), f"shape {tensor['shape']}")


@HTTP.add("versions")
def versions_of_documents(server: Server) -> None:
    """Metadata and readiness answer with the version in the path."""
    for version in server.subject.versions:
        for suffix in ("", "/ready"):
            answer = server.ask("GET", server.model(suffix, version))
            expect(answer.status == 200, f"version {version}{suffix}: status {answer.status}")


@HTTP.add("versions")
def version_of_inference(server: Server) -> None:
    """Inference answers with the version in the path, and names it."""
    for version in server.subject.versions[:1]:
        binary = not server.subject.has_json
        result = server.infer(
            request_of(server, binary_default=binary), binary=binary, version=version
        ).result()
        expect(result.version == version, f"model_version {result.version!r} for version {version!r}")
