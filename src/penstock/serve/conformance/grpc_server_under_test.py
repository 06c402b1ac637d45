"""A server as the checks of gRPC see it: calls with messages, or with bytes that are none."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, final
from urllib.parse import urlsplit

import grpc

from penstock.errors import BadInputError
from penstock.serve.conformance.framework import NotConformingError
from penstock.serve.conformance.subject import Subject, subject_of
from penstock.serve.load.access import NO_SECRETS, Access
from penstock.serve.protocol.grpc_interface import SERVICE, message_class, methods

TIMEOUT_S = 30.0


@final
class GrpcServerUnderTest:
    """``url`` is ``grpc://HOST:PORT`` or ``grpcs://HOST:PORT``."""

    def __init__(self, url: str, access: Access = NO_SECRETS) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("grpc", "grpcs") or not parts.hostname or parts.port is None:
            raise BadInputError(f"{url!r} must be grpc://HOST:PORT or grpcs://HOST:PORT.")
        options = (("grpc.max_receive_message_length", -1), ("grpc.enable_retries", 0))
        self._channel = access.channel(grpc, grpc, f"{parts.scheme}://{parts.netloc}", options)
        self._metadata = access.metadata
        self._url = url
        self.extensions: frozenset[str] = frozenset()
        self.subject = Subject("", (), (), ())

    def close(self) -> None:
        """End the channel."""
        self._channel.close()

    def ask(self, method: str, message: Any, service: str = SERVICE) -> Any:
        """The answer to ``message``; :class:`NotConformingError` with the code if there is none."""
        code, answer = self.code(method, message, service)
        if code is not grpc.StatusCode.OK:
            raise NotConformingError(f"{method} gives {code.name}: {answer}")
        return answer

    def code(self, method: str, message: Any, service: str = SERVICE) -> tuple[grpc.StatusCode, Any]:
        """(OK, the answer) or (the code, what was said)."""
        kind = methods(service)[method][1]
        call = self._channel.unary_unary(f"/{service}/{method}", _bytes, kind.FromString)
        try:
            return grpc.StatusCode.OK, call(message, timeout=TIMEOUT_S, metadata=self._metadata)
        except grpc.RpcError as error:
            return error.code(), error.details()

    def stream(self, messages: Sequence[Any]) -> list[Any]:
        """The answers of a stream of inference."""
        kind = methods(SERVICE)["ModelStreamInfer"][1]
        call = self._channel.stream_stream(f"/{SERVICE}/ModelStreamInfer", _bytes, kind.FromString)
        try:
            answers: Iterable[Any] = call(iter(messages), timeout=TIMEOUT_S, metadata=self._metadata)
            return list(answers)
        except grpc.RpcError as error:
            raise NotConformingError(
                f"the stream ended with {error.code().name}: {error.details()}"
            ) from None

    def choose_model(self, name: str | None) -> None:
        """Read the server's metadata and that of model ``name``, or of the only one.

        Raises :class:`BadInputError` if there is none, or the server does not answer.
        """
        try:
            metadata = self.ask("ServerMetadata", message_class("ServerMetadataRequest")())
            self.extensions = frozenset(metadata.extensions)
            if name is None:
                index = self.ask("RepositoryIndex", message_class("RepositoryIndexRequest")())
                ready = [one.name for one in index.models if one.state == "READY"]
                if not ready:
                    raise BadInputError("the server lists no model that is ready. Name one with --model.")
                name = str(ready[0])
            model = self.ask("ModelMetadata", message_class("ModelMetadataRequest")(name=name))
        except NotConformingError as error:
            raise BadInputError(
                f"the server at {self._url} does not describe a model to test ({error}). Is it up? "
                "Name the model with --model."
            ) from None
        sides = [
            [(t.name, t.datatype, list(t.shape)) for t in side] for side in (model.inputs, model.outputs)
        ]
        self.subject = subject_of(name, tuple(model.versions), *sides)


def _bytes(message: Any) -> bytes:
    return message if isinstance(message, bytes) else bytes(message.SerializeToString())
