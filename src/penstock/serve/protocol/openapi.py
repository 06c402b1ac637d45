"""The HTTP interface as an OpenAPI 3.1 document, for generators of clients and for tools that try every call."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import penstock
from penstock.serve.protocol.datatypes import NUMPY
from penstock.serve.protocol.infer import HEADER_LENGTH

Schema = dict[str, Any]

_TEXT: Schema = {"type": "string"}
_NUMBER: Schema = {"type": "integer", "minimum": 0}
_PARAMETERS: Schema = {"type": "object", "additionalProperties": True}
_FOUND = {"404": "no such model, version or path"}
_TENSOR_FIELDS: dict[str, Schema] = {
    "name": _TEXT,
    "datatype": {"type": "string", "enum": list(NUMPY)},
    "shape": {"type": "array", "items": {"type": "integer"}},
    "parameters": _PARAMETERS,
}

_SCHEMAS: dict[str, Schema] = {
    "Error": {"type": "object", "properties": {"error": _TEXT}, "required": ["error"]},
    "ServerMetadata": {
        "type": "object",
        "properties": {"name": _TEXT, "version": _TEXT, "extensions": {"type": "array", "items": _TEXT}},
        "required": ["name", "version", "extensions"],
    },
    "TensorMetadata": {
        "type": "object",
        "properties": {key: _TENSOR_FIELDS[key] for key in ("name", "datatype", "shape")},
        "required": ["name", "datatype", "shape"],
    },
    "ModelMetadata": {
        "type": "object",
        "properties": {
            "name": _TEXT,
            "versions": {"type": "array", "items": _TEXT},
            "platform": _TEXT,
            "inputs": {"type": "array", "items": {"$ref": "#/components/schemas/TensorMetadata"}},
            "outputs": {"type": "array", "items": {"$ref": "#/components/schemas/TensorMetadata"}},
            "parameters": _PARAMETERS,
        },
        "required": ["name", "platform", "inputs", "outputs"],
    },
    "Tensor": {
        "type": "object",
        "properties": {**_TENSOR_FIELDS, "data": {"type": "array", "items": {}}},
        "required": ["name", "datatype", "shape"],
    },
    "RequestedOutput": {
        "type": "object",
        "properties": {"name": _TEXT, "parameters": _PARAMETERS},
        "required": ["name"],
    },
    "InferRequest": {
        "type": "object",
        "properties": {
            "id": _TEXT,
            "parameters": _PARAMETERS,
            "inputs": {"type": "array", "items": {"$ref": "#/components/schemas/Tensor"}},
            "outputs": {"type": "array", "items": {"$ref": "#/components/schemas/RequestedOutput"}},
        },
        "required": ["inputs"],
    },
    "InferResponse": {
        "type": "object",
        "properties": {
            "model_name": _TEXT,
            "model_version": _TEXT,
            "id": _TEXT,
            "parameters": _PARAMETERS,
            "outputs": {"type": "array", "items": {"$ref": "#/components/schemas/Tensor"}},
        },
        "required": ["model_name", "outputs"],
    },
    "Live": {"type": "object", "properties": {"live": {"type": "boolean"}}, "required": ["live"]},
    "Ready": {
        "type": "object",
        "properties": {"name": _TEXT, "ready": {"type": "boolean"}},
        "required": ["ready"],
    },
    "Index": {
        "type": "array",
        "items": {
            "type": "object",
            "properties": {"name": _TEXT, "version": _TEXT, "state": _TEXT, "reason": _TEXT},
            "required": ["name", "version", "state", "reason"],
        },
    },
    "Statistics": {
        "type": "object",
        "properties": {
            "model_stats": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {"name": _TEXT, "version": _TEXT, "inference_count": _NUMBER},
                    "required": ["name", "version", "inference_count"],
                },
            }
        },
        "required": ["model_stats"],
    },
    "Object": {"type": "object"},
}


@lru_cache(maxsize=2)
def openapi(
    models: tuple[str, ...],
    versions: tuple[str, ...] = ("1",),
    *,
    has_tokens: bool,
    has_regions: bool = False,
) -> Mapping[str, Any]:
    """The document of a server of ``models``, some of them in several ``versions``.

    ``has_tokens``: requests need one, but for the health paths. ``has_regions``: clients may use shared memory.
    """
    paths: dict[str, Any] = {
        "/v2": {"get": _get("serverMetadata", "The server and its extensions", "ServerMetadata")},
        "/v2/health/live": {"get": _get("serverLive", "Whether the process answers", "Live", is_open=True)},
        "/v2/health/ready": {
            "get": _get(
                "serverReady", "Whether every model is ready", "Ready", other={"503": "Ready"}, is_open=True
            )
        },
        "/v2/models/stats": {"get": _get("allStatistics", "Counts and times of all models", "Statistics")},
        "/v2/repository/index": {"post": _post("repositoryIndex", "The models and their state", "Index")},
        "/v2/trace/setting": _trace("serverTrace", ()),
        "/metrics": {"get": _text("metrics", "Counters for Prometheus")},
        "/openapi.json": {"get": _get("openapi", "This document", "Object")},
    }
    for suffix, has_version in (("", False), ("/versions/{version}", True)):
        base = "/v2/models/{model}" + suffix
        names = ("model", "version") if has_version else ("model",)
        tag = "Version" if has_version else "Model"
        paths |= {
            base: {"get": _get(f"metadata{tag}", "Inputs and outputs", "ModelMetadata", names)},
            f"{base}/ready": {
                "get": _get(f"ready{tag}", "Whether it is ready", "Ready", names, other={"503": "Ready"})
            },
            f"{base}/config": {"get": _get(f"config{tag}", "Its configuration", "Object", names)},
            f"{base}/stats": {"get": _get(f"statistics{tag}", "Counts and times", "Statistics", names)},
            f"{base}/trace/setting": _trace(f"trace{tag}", names),
            f"{base}/infer": {"post": _infer(f"infer{tag}", names)},
        }
    for verb in ("load", "unload"):
        operation = _post(
            f"{verb}Model", f"Ask to {verb} a model; refused if the plan decides", "Object", ("model",)
        )
        operation["responses"] |= _errors({"400": "the plan that is served decides which models are loaded"})
        paths[f"/v2/repository/models/{{model}}/{verb}"] = {"post": operation}
    if has_regions:
        paths |= _region_paths()
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": "Penstock",
            "version": penstock.__version__,
            "description": "The Open Inference Protocol (KServe V2) with the extensions that /v2 names.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": _SCHEMAS,
            "parameters": {
                "model": _in_path("model", "The name of a model", models),
                "version": _in_path("version", "A model's version", versions),
                "region": _in_path("region", "The name of a region of shared memory", ()),
            },
        },
    }
    if has_tokens:
        document["components"]["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"bearer": []}]
    return document


def _region_paths() -> dict[str, Any]:
    """Paths of the extension ``system_shared_memory``."""
    base = "/v2/systemsharedmemory"
    region = f"{base}/region/{{region}}"
    refused = _errors({"400": "the region, its file or its numbers cannot be"})
    register = _post(
        "registerRegion", "Let requests name a part of a file of /dev/shm", "Object", ("region",)
    )
    register["responses"] |= refused
    return {
        f"{base}/status": {"get": _get("regions", "All regions", "Object")},
        f"{base}/unregister": {"post": _post("unregisterRegions", "Forget all regions", "Object")},
        f"{region}/status": {"get": _get("region", "One region", "Object", ("region",))},
        f"{region}/register": {"post": register},
        f"{region}/unregister": {"post": _post("unregisterRegion", "Forget a region", "Object", ("region",))},
    }


def _get(
    operation: str,
    summary: str,
    schema: str,
    names: tuple[str, ...] = (),
    *,
    other: Mapping[str, str] | None = None,
    is_open: bool = False,
) -> Schema:
    responses = {"200": _answer(summary, schema), **_errors(_FOUND if names else {})}
    responses |= {status: _answer("not now", name) for status, name in (other or {}).items()}
    result: Schema = {"operationId": operation, "summary": summary, "parameters": _named(names)}
    result["responses"] = responses
    if is_open:
        result["security"] = []
    return result


def _post(operation: str, summary: str, schema: str, names: tuple[str, ...] = ()) -> Schema:
    body = {"required": False, "content": {"application/json": {"schema": {"type": "object"}}}}
    return _get(operation, summary, schema, names) | {"requestBody": body}


def _text(operation: str, summary: str) -> Schema:
    result = _get(operation, summary, "Object")
    result["responses"]["200"] = {"description": summary, "content": {"text/plain": {"schema": _TEXT}}}
    return result


def _trace(operation: str, names: tuple[str, ...]) -> Schema:
    post = _post(f"{operation}Update", "Refused: tracing is switched by the operator", "Object", names)
    post["responses"] |= _errors({"400": "tracing cannot be switched by this protocol"})
    return {"get": _get(operation, "What is traced (nothing)", "Object", names), "post": post}


def _infer(operation: str, names: tuple[str, ...]) -> Schema:
    result = _get(operation, "Run the model on one or more samples", "InferResponse", names)
    result["parameters"].append(
        {
            "name": HEADER_LENGTH,
            "in": "header",
            "required": False,
            "description": "Bytes of JSON before the raw tensors; absent if there are none.",
            "schema": _NUMBER,
        }
    )
    raw = {"type": "string", "format": "binary"}
    result["requestBody"] = {
        "required": True,
        "content": {
            "application/json": {"schema": {"$ref": "#/components/schemas/InferRequest"}},
            "application/octet-stream": {"schema": raw},
        },
    }
    result["responses"]["200"]["content"]["application/octet-stream"] = {"schema": raw}
    result["responses"] |= _errors(
        {
            "400": "the request is malformed, or does not fit the model",
            "413": "the body, or what it inflates to, or the number of samples is over the limit",
            "415": "an unknown Content-Encoding",
            "500": "the model failed",
            "503": "not ready, or too much waits; Retry-After says when to try again",
            "504": "the deadline can no longer be met",
        }
    )
    return result


def _named(names: tuple[str, ...]) -> list[Schema]:
    return [{"$ref": f"#/components/parameters/{name}"} for name in names]


def _in_path(name: str, text: str, values: tuple[str, ...]) -> Schema:
    schema: Schema = {"type": "string", "enum": list(values)} if values else {"type": "string"}
    return {"name": name, "in": "path", "required": True, "description": text, "schema": schema}


def _answer(text: str, schema: str) -> Schema:
    return {
        "description": text,
        "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}},
    }


def _errors(texts: Mapping[str, str]) -> dict[str, Schema]:
    return {
        status: _answer(text, "Error") for status, text in {**texts, "default": "any other error"}.items()
    }
