"""The gRPC server: the calls of the protocol, and gRPC's own health service, in the loop of the gateway.

Messages come as bytes and are parsed here, because the library would answer a message that it cannot parse with an
internal fault. Every error is one of the protocol's, under the code that goes with its HTTP status.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, final

import grpc

from penstock.errors import BadInputError
from penstock.serve.listen.arrival import arrived_us
from penstock.serve.listen.grpc_documents import GrpcDocuments
from penstock.serve.listen.http_connection import CLIENT_GONE
from penstock.serve.listen.options import ListenOptions
from penstock.serve.listen.request_log import RequestLog
from penstock.serve.listen.security import Tokens
from penstock.serve.listen.service import InferenceService
from penstock.serve.observe.traces import TRACEPARENT
from penstock.serve.protocol.errors import ProtocolError
from penstock.serve.protocol.grpc_bounds import SMALL_MESSAGE, has_few_pieces
from penstock.serve.protocol.grpc_infer import decode_message, encode_message, parse_request
from penstock.serve.protocol.grpc_interface import HEALTH, SERVICE, message_class, methods, parsed
from penstock.serve.protocol.infer import put_in

CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    404: grpc.StatusCode.NOT_FOUND,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}
"""The code for each status of :class:`ProtocolError`; INTERNAL for others."""

INFERENCES = frozenset({"ModelInfer", "ModelStreamInfer"})

MOST_OF_A_STREAM = 32
"""Requests of one stream that may be in flight. When so many are, the next is read once the first is answered."""

WATCH_S = 1.0
"""How often a client that watches the health is told of changes."""

END_S = 2.0
_log = logging.getLogger("penstock.grpc")
_StreamResponse = message_class("ModelStreamInferResponse")
_Health = message_class("grpc.health.v1.HealthCheckResponse")

Unary = Callable[[bytes, Any], Awaitable[Any]]


@final
class GrpcServer:
    """Create it and :meth:`start` it inside the running loop."""

    def __init__(
        self,
        service: InferenceService,
        options: ListenOptions,
        address: str,
        tokens: Tokens | None = None,
        log: RequestLog | None = None,
    ) -> None:
        self._service = service
        self._options = options
        self._address = address
        self._tokens = tokens
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._documents = GrpcDocuments(service)
        self._is_closing = False
        limits = options.limits
        room = service.backend.limits.body_bytes + SMALL_MESSAGE
        self._server = grpc.aio.server(
            options=(
                ("grpc.max_receive_message_length", room),
                ("grpc.max_send_message_length", -1),
                ("grpc.so_reuseport", 1),
                ("grpc.max_connection_idle_ms", int(limits.idle_s * 1_000)),
                ("grpc.server_handshake_timeout_ms", int(limits.head_s * 1_000)),
                ("grpc.max_metadata_size", limits.head_bytes),
                ("grpc.absolute_max_metadata_size", limits.head_bytes),
            ),
            maximum_concurrent_rpcs=limits.connections,
        )
        self._server.add_generic_rpc_handlers((self._inference_handlers(), self._health_handlers()))

    async def start(self) -> int:
        """Listen; returns the port. :class:`BadInputError` if the address is taken."""
        options = self._options
        address = self._address
        try:
            if options.tls_certificate is not None and options.tls_key is not None:
                pair = (Path(options.tls_key).read_bytes(), Path(options.tls_certificate).read_bytes())
                port = self._server.add_secure_port(address, grpc.ssl_server_credentials([pair]))
            else:
                port = self._server.add_insecure_port(address)
        except RuntimeError as error:
            raise BadInputError(
                f"cannot listen on {address} for gRPC ({error}). Stop what uses that port, or choose another."
            ) from None
        await self._server.start()
        return int(port)

    async def close(self) -> None:
        """Accept nothing more; calls that run may end within :data:`END_S`."""
        self._is_closing = True
        await self._server.stop(END_S)

    # -- the calls ----------------------------------------------------------------------------------------------------

    def _inference_handlers(self) -> grpc.GenericRpcHandler:
        handlers: dict[str, grpc.RpcMethodHandler] = {
            "ModelInfer": self._unary(self._infer, "ModelInfer"),
            "ModelStreamInfer": grpc.stream_stream_rpc_method_handler(
                self._stream, response_serializer=_StreamResponse.SerializeToString
            ),
        }
        for name, (kind, _) in methods(SERVICE).items():
            if name not in handlers:
                handlers[name] = self._unary(self._describe(name, kind), name)
        return grpc.method_handlers_generic_handler(SERVICE, handlers)

    def _health_handlers(self) -> grpc.GenericRpcHandler:
        kind = message_class("grpc.health.v1.HealthCheckRequest")

        async def check(data: bytes, call: _Call) -> Any:
            return self._health(_small(kind, data).service)

        async def watch(data: bytes, context: Any) -> AsyncIterator[Any]:
            service = _small(kind, data).service
            told = None
            while not self._is_closing:
                try:
                    answer = self._health(service)
                except ProtocolError:
                    answer = _Health(status="SERVICE_UNKNOWN")
                if answer != told:
                    told = answer
                    yield answer
                await asyncio.sleep(WATCH_S)

        return grpc.method_handlers_generic_handler(
            HEALTH,
            {
                "Check": self._unary(check, "Check", is_open=True),
                "Watch": grpc.unary_stream_rpc_method_handler(
                    watch, response_serializer=_Health.SerializeToString
                ),
            },
        )

    def _health(self, service: str) -> Any:
        if service not in ("", SERVICE):
            raise ProtocolError(404, f"no service {service[:100]!r} here; there is {SERVICE}.")
        return _Health(status="SERVING" if self._service.is_ready() else "NOT_SERVING")

    def _unary(
        self, answer: Callable[[bytes, _Call], Awaitable[Any]], name: str, *, is_open: bool = False
    ) -> grpc.RpcMethodHandler:
        async def handler(data: bytes, context: Any) -> bytes:
            call = self._call(name, context)
            try:
                if not is_open:
                    self._check(context)
                response: bytes = (await answer(data, call)).SerializeToString()
            except ProtocolError as error:
                await self._abort(call, context, error)
            except asyncio.CancelledError:
                self._done(call, CLIENT_GONE, 0)
                raise
            except Exception:
                _log.exception("a fault in the server, while it handled %s", name)
                await self._abort(
                    call, context, ProtocolError(500, "internal fault; the server's log has more.")
                )
            self._done(call, 200, len(response))
            return response

        return grpc.unary_unary_rpc_method_handler(handler)

    def _describe(self, name: str, kind: Any) -> Callable[[bytes, _Call], Awaitable[Any]]:
        answer = self._documents.of(name)

        async def described(data: bytes, call: _Call) -> Any:
            return await answer(_small(kind, data))

        return described

    async def _infer(self, data: bytes, call: _Call) -> Any:
        message = await _parsed_request(data)
        index = self._service.index_of(message.model_name, message.model_version)
        call.model, call.version = message.model_name, message.model_version
        self._service.shed(index, call.arrival_us)
        is_large = len(data) > SMALL_MESSAGE and not message.raw_input_contents
        regions = self._service.regions
        if is_large:
            request = await asyncio.to_thread(decode_message, message, regions)
        else:
            request = decode_message(message, regions)
        request = request.within(call.left_us)
        call.is_queued = True
        outputs, version = await self._service.infer(call.model, request, call.arrival_us, call.version)
        # Inputs in shared memory have no contents at all; clients that put them there read raw ones.
        raw = not any(one.HasField("contents") for one in message.inputs)
        put = put_in(regions, request)
        return encode_message(message.model_name, request.id, outputs, raw=raw, version=version, put=put)

    async def _stream(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[Any]:
        """Answers in the order of the requests; a request that fails is answered in its place, and the stream goes
        on."""
        try:
            self._check(context)
        except ProtocolError as error:
            await self._abort(self._call("ModelStreamInfer", context), context, error)
        waiting: asyncio.Queue[asyncio.Task[Any] | None] = asyncio.Queue(MOST_OF_A_STREAM)
        reader = asyncio.create_task(self._read_stream(requests, context, waiting))
        try:
            while (task := await waiting.get()) is not None:
                yield await task
        finally:
            reader.cancel()
            while not waiting.empty():
                if (task := waiting.get_nowait()) is not None:
                    task.cancel()

    async def _read_stream(
        self, requests: AsyncIterator[bytes], context: Any, waiting: asyncio.Queue[asyncio.Task[Any] | None]
    ) -> None:
        try:
            async for data in requests:
                call = self._call("ModelStreamInfer", context)
                await waiting.put(asyncio.create_task(self._streamed(data, call)))
        finally:
            await waiting.put(None)

    async def _streamed(self, data: bytes, call: _Call) -> Any:
        try:
            response = await self._infer(data, call)
        except ProtocolError as error:
            self._done(call, error.http_status, 0)
            answer = _StreamResponse(error_message=str(error))
            answer.infer_response.id = _id_of(data)
            return answer
        except asyncio.CancelledError:
            self._done(call, CLIENT_GONE, 0)
            raise
        except Exception:
            _log.exception("a fault in the server, while it handled a request of a stream")
            self._done(call, 500, 0)
            return _StreamResponse(error_message="internal fault; the server's log has more.")
        self._done(call, 200, response.ByteSize())
        return _StreamResponse(infer_response=response)

    # -- around a call ------------------------------------------------------------------------------------------------

    def _call(self, name: str, context: Any) -> _Call:
        left_s = context.time_remaining()
        left_us = None if left_s is None else max(round(left_s * 1e6), 1)
        peer = context.peer() if self._log is not None else ""
        if self._service.backend.is_traced:
            TRACEPARENT.set(str(dict(context.invocation_metadata() or ()).get("traceparent", "")))
        return _Call(name, arrived_us(self._loop, self._service.backend.now_us), left_us, peer)

    def _check(self, context: Any) -> None:
        if self._tokens is not None:
            given = dict(context.invocation_metadata() or ())
            self._tokens.check(str(given.get("authorization", "")))

    async def _abort(self, call: _Call, context: Any, error: ProtocolError) -> None:
        self._done(call, error.http_status, 0)
        code = CODES.get(error.http_status, grpc.StatusCode.INTERNAL)
        after = () if error.retry_after_s is None else (("retry-after", str(error.retry_after_s)),)
        await context.abort(code, str(error), after)

    def _done(self, call: _Call, status: int, response_bytes: int) -> None:
        is_counted = call.is_queued or call.name not in INFERENCES
        self._service.answered("grpc", call.model, status, is_counted=is_counted, version=call.version)
        if self._log is not None:
            took_us = self._service.backend.now_us() - call.arrival_us
            self._log.write("grpc", call.name, status, response_bytes, took_us, call.peer)


@final
class _Call:
    """One request: when it came, and how long its client waits (None: for ever)."""

    __slots__ = ("arrival_us", "is_queued", "left_us", "model", "name", "peer", "version")

    def __init__(self, name: str, arrival_us: int, left_us: int | None, peer: str) -> None:
        self.name = name
        self.model = ""
        self.version = ""
        self.arrival_us = arrival_us
        self.left_us = left_us
        self.is_queued = False
        self.peer = peer


async def _parsed_request(data: bytes) -> Any:
    return parse_request(data) if has_few_pieces(data) else await asyncio.to_thread(parse_request, data)


def _small(kind: Any, data: bytes) -> Any:
    """A message that has no tensors."""
    if len(data) > SMALL_MESSAGE:
        raise ProtocolError(
            413, f"a {kind.DESCRIPTOR.name} of {len(data)} bytes; at most {SMALL_MESSAGE} may be."
        )
    return parsed(kind, data)


def _id_of(data: bytes) -> str:
    """The id of a request that was refused, if it can be read."""
    try:
        return str(parse_request(data).id)
    except ProtocolError:
        return ""
