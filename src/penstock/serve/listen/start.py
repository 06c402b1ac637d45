"""Everything in a process that listens for clients: HTTP on a socket that is bound already, and gRPC if asked for."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import TYPE_CHECKING, final

from penstock.serve.gateway.backend import Backend
from penstock.serve.gateway.http import HttpGateway
from penstock.serve.listen.http_server import HttpServer
from penstock.serve.listen.options import ListenOptions
from penstock.serve.listen.request_log import RequestLog
from penstock.serve.listen.security import Tokens, server_tls
from penstock.serve.listen.service import InferenceService
from penstock.serve.protocol.regions import Regions

if TYPE_CHECKING:
    from penstock.serve.listen.grpc_server import GrpcServer


@final
class Listening:
    """What :func:`start_listeners` started."""

    def __init__(self, service: InferenceService, handler: HttpGateway, http: HttpServer) -> None:
        self.service = service
        self.http = http
        self.grpc: GrpcServer | None = None
        self.grpc_port = 0
        self._handler = handler

    async def close(self) -> None:
        """Accept nothing more, and let what is being answered be sent."""
        if self.grpc is not None:
            await self.grpc.close()
        await self.http.close()
        self._handler.close()


async def start_listeners(
    backend: Backend,
    listener: socket.socket,
    options: ListenOptions,
    *,
    grpc: str | None = None,
    regions: Regions | None = None,
) -> Listening:
    """Serve ``backend`` over HTTP on ``listener``, and over gRPC on the address ``grpc``, if it is given.

    ``regions``: of shared memory, if clients may use it.

    Raises :class:`BadInputError` if tokens, certificate or key cannot be used, or the address of gRPC is taken.
    """
    tokens = None if options.token_file is None else Tokens.read(Path(options.token_file))
    tls = None
    if options.tls_certificate is not None and options.tls_key is not None:
        tls = server_tls(Path(options.tls_certificate), Path(options.tls_key))
    log = RequestLog() if options.access_log else None
    service = InferenceService(backend, regions)
    handler = HttpGateway(backend, service, tokens, log)
    http = HttpServer(handler, options.limits, backend.limits.body_bytes, backend.now_us)
    await handler.start()
    await http.listen(listener, tls)
    listening = Listening(service, handler, http)
    if grpc is not None:
        from penstock.serve.listen.grpc_server import GrpcServer

        listening.grpc = GrpcServer(service, options, grpc, tokens, log)
        listening.grpc_port = await listening.grpc.start()
    return listening
