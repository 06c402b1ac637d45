"""The HTTP side: it reads requests, writes results, and answers every failure with ``{"error": ...}``.

What takes long enough to be felt by others runs off the loop: inflating, and writing large JSON, in a thread, and
reading large JSON in a process of its own (:mod:`penstock.serve.listen.json_helper`).
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from typing import final

import msgspec

from penstock.serve.dashboard.files import HEADERS, dashboard_file
from penstock.serve.gateway.backend import Backend
from penstock.serve.gateway.metrics import statistics
from penstock.serve.listen.http_message import BINARY, JSON, HttpHead, HttpResponse, json_response
from penstock.serve.listen.json_helper import JsonHelper
from penstock.serve.listen.request_log import RequestLog
from penstock.serve.listen.security import Tokens
from penstock.serve.listen.service import InferenceService
from penstock.serve.observe.exposition import metrics_page
from penstock.serve.observe.traces import TRACEPARENT
from penstock.serve.protocol.content_coding import accepted_codings, checked_coding, deflated, inflated
from penstock.serve.protocol.documents import (
    TRACE_OFF,
    model_config,
    model_metadata,
    repository_index,
    server_metadata,
)
from penstock.serve.protocol.errors import ProtocolError, malformed
from penstock.serve.protocol.infer import (
    HEADER_LENGTH,
    InferRequest,
    InferResponse,
    Message,
    Tensor,
    decode_request,
    encode_response,
    put_in,
)
from penstock.serve.protocol.openapi import openapi
from penstock.serve.protocol.regions import cuda_regions, no_cuda_regions
from penstock.serve.protocol.routes import Ask, Route, match

INLINE_JSON_BYTES = 131_072
"""JSON up to this size is read in the loop: it takes at most a few milliseconds."""

INLINE_BYTES = 32_768
"""Compressed bodies, and answers to compress, up to this size are handled in the loop."""

INLINE_ELEMENTS = 65_536
"""Answers in JSON with up to so many elements are written in the loop."""

SMALLEST_COMPRESSED = 1_024

_HEADER = HEADER_LENGTH.lower()


@final
class HttpGateway:
    """Answers each request of the protocol."""

    def __init__(
        self,
        backend: Backend,
        service: InferenceService | None = None,
        tokens: Tokens | None = None,
        log: RequestLog | None = None,
    ) -> None:
        self._gateway = backend
        self._service = service or InferenceService(backend)
        self._tokens = tokens
        self._log = log
        self._helper = JsonHelper()
        self._queued: set[int] = set()

    async def start(self) -> None:
        """Start what the first request would otherwise wait for: the process that reads large JSON."""
        await self._helper.start()

    def close(self) -> None:
        """End the process that reads large JSON."""
        self._helper.close()

    def begin(self, head: HttpHead) -> Route:
        """What ``head`` asks for; :class:`ProtocolError` if its body need not be read."""
        route, problem = Route(Ask.SERVER), None
        try:
            route = match(head.method, head.target)
        except ProtocolError as error:
            problem = error
        # A client without a token is not even told which paths there are.
        if self._tokens is not None and not (problem is None and route.ask.is_open):
            self._tokens.check(head.headers.get("authorization", ""))
        if problem is not None:
            raise problem
        if route.model:
            self._service.index_of(route.model, route.version)
        checked_coding(head.headers.get("content-encoding", ""))
        return route

    async def handle(self, head: HttpHead, body: memoryview, route: Route) -> HttpResponse:
        """The response, or :class:`ProtocolError`."""
        if route.ask is Ask.INFER:
            return await self._infer(head, body, route)
        if route.ask in (Ask.LOAD, Ask.UNLOAD):
            index = self._service.index_of(route.model)
            await self._gateway.set_loaded(index, loaded=route.ask is Ask.LOAD)
            return json_response({})
        if route.ask in (Ask.REGISTER, Ask.UNREGISTER):
            return self._change_regions(body, route)
        if route.ask is Ask.CUDA_REGISTER:
            raise no_cuda_regions()
        if route.ask is Ask.CUDA_UNREGISTER:
            return json_response({})
        if route.ask is Ask.TRACE and head.method == "POST":
            raise malformed("tracing cannot be switched by this protocol; the server's operator does.")
        if route.ask is Ask.DASHBOARD:
            return await self._compressed(head, _page(head.target.partition("?")[0].rstrip("/")))
        if route.ask is Ask.METRICS:
            page, content_type = metrics_page(self._gateway.metrics.totals(), head.headers.get("accept", ""))
            return await self._compressed(head, HttpResponse(200, (page,), content_type))
        return await self._compressed(head, self._describe(route))

    def answered(self, head: HttpHead | None, route: Route | None, status: int, length: int) -> None:
        """Count a request; ``head`` is None if there was none that could be read."""
        model = "" if route is None else route.model
        is_counted = True
        if head is not None and _is_infer(head, route):
            is_counted = id(head) in self._queued
            self._queued.discard(id(head))
        version = "" if route is None else route.version
        self._service.answered("http", model, status, is_counted=is_counted, version=version)
        if self._log is not None and head is not None:
            took_us = self._gateway.now_us() - head.arrival_us
            self._log.write("http", f"{head.method} {head.target}", status, length, took_us, head.peer)

    def _change_regions(self, body: memoryview, route: Route) -> HttpResponse:
        """Register a region, or forget one or all."""
        regions = self._service.known_regions()
        if route.ask is Ask.UNREGISTER:
            regions.unregister(route.region)
            return json_response({})
        try:
            document = msgspec.json.decode(body)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise malformed(f"the JSON of the message is wrong: {error}.") from None
        if not isinstance(document, dict):
            raise malformed("a registration is an object with key, offset and byte_size.")
        key, offset, size = document.get("key"), document.get("offset", 0), document.get("byte_size")
        regions.register(route.region, key, offset, size)
        return json_response({})

    async def _infer(self, head: HttpHead, body: memoryview, route: Route) -> HttpResponse:
        self._service.shed(self._service.index_of(route.model, route.version), head.arrival_us)
        request = await self._decoded(head, body)
        self._service.shed(self._service.index_of(route.model, route.version), head.arrival_us)
        self._queued.add(id(head))
        if self._gateway.is_traced:
            TRACEPARENT.set(head.headers.get("traceparent", ""))
        outputs, version = await self._service.infer(route.model, request, head.arrival_us, route.version)
        response_of = InferResponse(route.model, outputs, version, request.id)
        message = await _encoded(response_of, request, put_in(self._service.regions, request))
        if message.header_length is None:
            response = HttpResponse(200, message.parts, JSON)
        else:
            headers = ((HEADER_LENGTH, str(message.header_length)),)
            response = HttpResponse(200, message.parts, BINARY, headers)
        return await self._compressed(head, response)

    async def _decoded(self, head: HttpHead, body: memoryview) -> InferRequest:
        coding = checked_coding(head.headers.get("content-encoding", ""))
        data: bytes | memoryview = body
        if coding:
            inflate = functools.partial(inflated, body, coding, self._gateway.limits.body_bytes)
            data = inflate() if len(body) <= INLINE_BYTES // 8 else await asyncio.to_thread(inflate)
        header_length = _header_length(head)
        json_bytes = len(data) if header_length is None else min(header_length, len(data))
        if json_bytes > INLINE_JSON_BYTES:
            data, header_length = await self._helper.as_binary(data, header_length)
            json_bytes = header_length
        if len(data) > 2**20 and b'"BYTES"' in bytes(data[:json_bytes]):
            return await asyncio.to_thread(decode_request, data, header_length, self._service.regions)
        return decode_request(data, header_length, self._service.regions)

    async def _compressed(self, head: HttpHead, response: HttpResponse) -> HttpResponse:
        """``response`` in a coding that the client accepts, if it is worth it.

        Most HTTP libraries accept ``gzip, deflate`` unasked, and to compress raw tensors takes far longer than to
        send them. So they are compressed only for a client that names one coding, as it does if its user asks for
        that.
        """
        accepted = accepted_codings(head.headers.get("accept-encoding", ""))
        length = response.length
        is_wanted = accepted and (response.content_type != BINARY or len(accepted) == 1)
        if not is_wanted or length < SMALLEST_COMPRESSED:
            return response
        deflate = functools.partial(deflated, response.parts, accepted[0])
        data = deflate() if length <= INLINE_BYTES else await asyncio.to_thread(deflate)
        headers = (*response.headers, ("Content-Encoding", accepted[0]), ("Vary", "Accept-Encoding"))
        return HttpResponse(response.status, (data,), response.content_type, headers)

    def _describe(self, route: Route) -> HttpResponse:
        if route.model:
            return self._describe_model(route)
        if route.ask is Ask.LIVE:
            return json_response({"live": True})
        if route.ask is Ask.READY:
            return _readiness({}, is_ready=self._service.is_ready())
        if route.ask is Ask.REGIONS:
            known = self._service.known_regions().status(route.region)
            return json_response([msgspec.structs.asdict(one) for one in known])
        if route.ask is Ask.CUDA_REGIONS:
            return json_response(cuda_regions(route.region))
        if route.ask is Ask.OPENAPI:
            models = self._service.models
            names = tuple(dict.fromkeys(model.public_name for model in models))
            versions = tuple(map(str, sorted({model.version for model in models})))
            has_regions = self._service.regions is not None
            document = openapi(names, versions, has_tokens=self._tokens is not None, has_regions=has_regions)
            return json_response(document)
        return json_response(self._document(route.ask))

    def _document(self, ask: Ask) -> object:
        gateway = self._gateway
        models = gateway.models
        if ask is Ask.INDEX:
            return repository_index(models, [gateway.is_ready(model) for model in range(len(models))])
        if ask is Ask.STATS:
            totals = gateway.metrics.totals()
            entries = [statistics(model, totals) for model in models]
            return {"model_stats": [stats for entry in entries for stats in entry["model_stats"]]}
        if ask is Ask.TRACE:
            return TRACE_OFF
        return server_metadata(models, has_regions=self._service.regions is not None)

    def _describe_model(self, route: Route) -> HttpResponse:
        index = self._service.index_of(route.model, route.version)
        versions = self._service.versions_of(route.model)
        model = self._gateway.models[index]
        if route.ask is Ask.MODEL_READY:
            return _readiness({"name": model.public_name}, is_ready=self._gateway.is_ready(index))
        if route.ask is Ask.MODEL_CONFIG:
            return json_response(model_config(model, versions))
        if route.ask is Ask.MODEL_STATS:
            return json_response(statistics(model, self._gateway.metrics.totals()))
        if route.ask is Ask.TRACE:
            return json_response(TRACE_OFF)
        return json_response(model_metadata(model, versions))


def _page(path: str) -> HttpResponse:
    """A file of the live page; :class:`ProtocolError` 404 if it has no such file."""
    found = dashboard_file(path)
    if found is None:
        raise ProtocolError(404, f"no such path: {path[:200]}")
    return HttpResponse(200, (found[0],), found[1], tuple(HEADERS.items()))


def _is_infer(head: HttpHead, route: Route | None) -> bool:
    """Whether ``head`` asks for an inference, also if it was refused before its path was understood."""
    if route is not None:
        return route.ask is Ask.INFER
    return head.method == "POST" and head.target.partition("?")[0].endswith("/infer")


async def _encoded(response: InferResponse, request: InferRequest, put: Callable[[Tensor], bool]) -> Message:
    elements = sum(t.array.size for t in response.outputs if not request.wants_binary(t.name))
    if elements > INLINE_ELEMENTS:
        return await asyncio.to_thread(encode_response, response, request.wants_binary, put)
    return encode_response(response, request.wants_binary, put)


def _header_length(head: HttpHead) -> int | None:
    text = head.headers.get(_HEADER)
    if text is None:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise malformed(f"{HEADER_LENGTH} (={text[:40]!r}) must be a whole number of bytes.")
    return int(text)


def _readiness(document: dict[str, object], *, is_ready: bool) -> HttpResponse:
    return json_response(document | {"ready": is_ready}, 200 if is_ready else 503)
