"""The HTTP side: bytes to requests, results to bytes, every failure to ``{"error": ...}``."""

from __future__ import annotations

from typing import Any, final

import msgspec
from aiohttp import web

from penstock.serve.gateway.core import Gateway, model_index
from penstock.serve.gateway.metrics import prometheus_text, statistics
from penstock.serve.protocol.documents import (
    model_config,
    model_metadata,
    repository_index,
    server_metadata,
)
from penstock.serve.protocol.errors import ProtocolError, malformed
from penstock.serve.protocol.infer import HEADER_LENGTH, InferResponse, decode_request, encode_response
from penstock.serve.protocol.routes import Ask, Route, match

_JSON = "application/json"
_BINARY = "application/octet-stream"


@final
class HttpGateway:
    """Answers each request of the protocol; :meth:`handle` never raises."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._models = model_index(gateway.spec.models)

    async def handle(self, request: web.BaseRequest) -> web.Response:
        """The response to ``request``."""
        try:
            route = match(request.method, request.raw_path)
            if route.ask is Ask.INFER:
                return await self._infer(request, route)
            return self._describe(route)
        except ProtocolError as error:
            return _error(error)
        except web.HTTPRequestEntityTooLarge:
            limit = self._gateway.spec.limits.body_bytes
            return _error(ProtocolError(413, f"the body is larger than the limit of {limit} bytes."))

    async def _infer(self, request: web.BaseRequest, route: Route) -> web.Response:
        arrival_us = self._gateway.now_us()
        model = self._index(route)
        self._refuse_large(request)
        await _ask_for_body(request)
        decoded = decode_request(await request.read(), _header_length(request))
        outputs = await self._gateway.infer(model, decoded, arrival_us)
        if decoded.outputs is not None:
            by_name = {tensor.name: tensor for tensor in outputs}
            outputs = tuple(by_name[output.name] for output in decoded.outputs)
        message = encode_response(InferResponse(route.model, outputs, id=decoded.id), decoded.wants_binary)
        if message.header_length is None:
            return web.Response(body=message.body(), content_type=_JSON)
        headers = {HEADER_LENGTH: str(message.header_length)}
        return web.Response(body=message.body(), content_type=_BINARY, headers=headers)

    def _refuse_large(self, request: web.BaseRequest) -> None:
        """Refuse by the announced length, before the body is read; reading refuses the rest."""
        limit = self._gateway.spec.limits.body_bytes
        if (request.content_length or 0) > limit:
            raise ProtocolError(
                413, f"a body of {request.content_length} bytes is over the limit of {limit}."
            )

    def _describe(self, route: Route) -> web.Response:
        gateway = self._gateway
        models = gateway.spec.models
        ready = [gateway.is_ready(model) for model in range(len(models))]
        if route.ask is Ask.SERVER:
            return _json(server_metadata(models))
        if route.ask is Ask.LIVE:
            return web.Response()
        if route.ask is Ask.READY:
            return _readiness(all(ready))
        if route.ask is Ask.INDEX:
            return _json(repository_index(models, ready))
        if route.ask is Ask.STATS:
            entries = [statistics(*one) for one in zip(models, gateway.metrics, strict=True)]
            return _json({"model_stats": [stats for entry in entries for stats in entry["model_stats"]]})
        if route.ask is Ask.METRICS:
            workers_up = gateway.readiness.workers_up
            text = prometheus_text(models, gateway.metrics, gateway.ledger.in_flight, workers_up)
            return web.Response(text=text, content_type="text/plain")
        return self._describe_model(route)

    def _describe_model(self, route: Route) -> web.Response:
        index = self._index(route)
        model = self._gateway.spec.models[index]
        if route.ask is Ask.MODEL_READY:
            return _readiness(self._gateway.is_ready(index))
        if route.ask is Ask.MODEL_CONFIG:
            return _json(model_config(model))
        if route.ask is Ask.MODEL_STATS:
            return _json(statistics(model, self._gateway.metrics[index]))
        return _json(model_metadata(model))

    def _index(self, route: Route) -> int:
        try:
            return self._models[route.model]
        except KeyError:
            known = ", ".join(self._models)
            raise ProtocolError(404, f"no model {route.model[:200]!r} here; there is {known}.") from None


async def _ask_for_body(request: web.BaseRequest) -> None:
    """Clients with large bodies wait to hear that theirs is wanted; aiohttp's bare server leaves that to us."""
    if request.headers.get("Expect", "").lower() == "100-continue" and request.transport is not None:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")


def _header_length(request: web.BaseRequest) -> int | None:
    text = request.headers.get(HEADER_LENGTH)
    if text is None:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise malformed(f"{HEADER_LENGTH} (={text[:40]!r}) must be a whole number of bytes.")
    return int(text)


def _json(document: Any, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(document), content_type=_JSON, status=status)


def _readiness(is_ready: bool) -> web.Response:
    return web.Response(status=200 if is_ready else 503)


def _error(error: ProtocolError) -> web.Response:
    response = _json({"error": str(error)}, error.http_status)
    if error.retry_after_s is not None:
        response.headers["Retry-After"] = str(error.retry_after_s)
    return response
