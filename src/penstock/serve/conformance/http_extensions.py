"""Extensions of the protocol over HTTP, each checked if the server advertises it."""

from __future__ import annotations

from penstock.serve.conformance.framework import NotApplicableError, expect
from penstock.serve.conformance.http_requests import (
    HTTP,
    Server,
    document_of,
    expect_error,
    post,
    reference_of,
)


@HTTP.add("extensions", "model_configuration")
def configuration(server: Server) -> None:
    """GET .../config has name, max_batch_size, and inputs with TYPE_ names."""
    document = server.get(server.model("/config"))
    expect(document.get("name") == server.subject.name, document.get("name"))
    expect(type(document.get("max_batch_size")) is int, f"max_batch_size {document.get('max_batch_size')!r}")
    types = [entry["data_type"] for entry in document["input"]]
    expect(bool(types) and all(kind.startswith("TYPE_") for kind in types), types)


@HTTP.add("extensions", "statistics")
def statistics(server: Server) -> None:
    """GET .../stats counts the samples that were run."""

    def count() -> int:
        return sum(
            int(entry["inference_count"]) for entry in server.get(server.model("/stats"))["model_stats"]
        )

    before = count()
    reference_of(server)
    expect(count() == before + 1, f"inference_count went from {before} to {count()}")


@HTTP.add("extensions", "model_repository")
def repository_index(server: Server) -> None:
    """POST /v2/repository/index lists the model as READY."""
    answer = server.ask("POST", "/v2/repository/index", b"{}")
    expect(answer.status == 200, f"status {answer.status}")
    states = {entry["name"]: entry.get("state") for entry in answer.json()}
    expect(states.get(server.subject.name) == "READY", states)


@HTTP.add("extensions", "schedule_policy")
def priority(server: Server) -> None:
    """A priority is taken."""
    server.subject.needs_json()
    post(server, document_of(server, parameters={"priority": 1})).result()


@HTTP.add("extensions")
def classification(server: Server) -> None:
    """classification is done, or refused: not ignored."""
    server.subject.needs_json()
    if "classification" in server.extensions:
        raise NotApplicableError("classification is advertised")
    name = server.subject.outputs[0][0]
    expect_error(
        post(server, document_of(server, outputs=[{"name": name, "parameters": {"classification": 1}}])), 400
    )
