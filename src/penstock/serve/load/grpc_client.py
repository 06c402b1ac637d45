"""The load generator over gRPC: bytes that were made in advance, on the asyncio interface of grpcio."""

from __future__ import annotations

import asyncio
from importlib.util import find_spec
from types import TracebackType
from typing import Any, Self, final

from penstock.errors import BadInputError, MissingExtraError
from penstock.serve.load.access import NO_SECRETS, Access
from penstock.serve.load.client import NO_ANSWER
from penstock.serve.load.grpc_wire import (
    infer_request,
    model_config,
    model_metadata,
    name_request,
    server_metadata,
    timeout_parameter,
)
from penstock.serve.load.sample_request import Body
from penstock.serve.protocol.infer import Tensor

SERVICE = "/inference.GRPCInferenceService/"
MOST_CHANNELS = 4
"""Connections: one carries about a hundred requests at once, and a server with several processes spreads them."""

_STATUS = {
    "OK": 200,
    "INVALID_ARGUMENT": 400,
    "UNAUTHENTICATED": 401,
    "NOT_FOUND": 404,
    "RESOURCE_EXHAUSTED": 503,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
    "CANCELLED": NO_ANSWER,
}
"""What each code is over HTTP; others are 500."""


@final
class GrpcLoadClient:
    """Connections to the server at ``url`` (``grpc://HOST:PORT``, or ``grpcs`` for TLS)."""

    def __init__(self, url: str, timeout_s: float, access: Access = NO_SECRETS) -> None:
        if find_spec("grpc") is None:
            raise MissingExtraError("load over gRPC", "grpc")
        self._url = url
        self._access = access
        self._timeout_s = timeout_s
        self._channels: list[Any] = []
        self._infer: list[Any] = []
        self._turn = 0

    async def __aenter__(self) -> Self:
        """Open the first connection."""
        self._open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close every connection."""
        for channel in self._channels:
            await channel.close()

    async def server(self) -> Any:
        """The server's metadata."""
        return server_metadata(await self._ask("ServerMetadata", b""))

    async def model(self, name: str) -> Any:
        """A model's metadata."""
        return model_metadata(await self._ask("ModelMetadata", name_request(name)))

    async def config(self, name: str) -> Any:
        """A model's configuration, of which only the parameters are read."""
        return model_config(await self._ask("ModelConfig", name_request(name)))

    def body(self, model: str, tensors: tuple[Tensor, ...]) -> Body:
        """A request with raw contents."""
        data = infer_request(model, tensors)
        return Body(data, {}, lambda timeout_us: Body(data + timeout_parameter(timeout_us), {}))

    async def open_connections(self, count: int) -> None:
        """Have a few connections ready; each carries many requests at once."""
        while len(self._channels) < min(count, MOST_CHANNELS):
            self._open()
        waits = (asyncio.wait_for(channel.channel_ready(), self._timeout_s) for channel in self._channels)
        await asyncio.gather(*waits)

    async def infer(self, model: str, body: Body) -> int:
        """Send a request and read its answer; returns the status as over HTTP, or :data:`NO_ANSWER`."""
        import grpc

        self._turn = (self._turn + 1) % len(self._infer)
        try:
            call = self._infer[self._turn]
            await call(body.data, timeout=self._timeout_s, metadata=self._access.metadata)
        except grpc.aio.AioRpcError as error:
            return _STATUS.get(error.code().name, 500)
        return 200

    async def _ask(self, method: str, message: bytes) -> bytes:
        import grpc

        try:
            call = self._channels[0].unary_unary(SERVICE + method)
            answer: bytes = await call(
                message, timeout=self._timeout_s, wait_for_ready=False, metadata=self._access.metadata
            )
        except grpc.aio.AioRpcError as error:
            raise BadInputError(
                f"{self._url} {method}: {error.code().name}: {error.details()}. Is the server up, and its URL right "
                f"(grpc://HOST:PORT, or grpcs with its --certificate)?"
            ) from None
        return answer

    def _open(self) -> None:
        import grpc

        options = [
            ("grpc.max_send_message_length", -1),
            ("grpc.max_receive_message_length", -1),
            ("grpc.use_local_subchannel_pool", 1),
        ]
        channel = self._access.channel(grpc, grpc.aio, self._url, options)
        self._channels.append(channel)
        # Without a serializer grpcio sends and returns bytes as they are.
        self._infer.append(channel.unary_unary(f"{SERVICE}ModelInfer"))
