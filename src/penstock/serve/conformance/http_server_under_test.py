"""A server as the checks of HTTP see it: requests of any form, one connection each unless they say otherwise."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final
from urllib.parse import quote, urlsplit

from penstock.errors import BadInputError
from penstock.serve.conformance.framework import NotConformingError
from penstock.serve.conformance.subject import Subject, subject_of
from penstock.serve.load.access import NO_SECRETS, Access
from penstock.serve.protocol.infer import (
    HEADER_LENGTH,
    InferRequest,
    InferResponse,
    decode_response,
    encode_request,
)

TIMEOUT_S = 30.0


@final
@dataclass(frozen=True)
class Answer:
    """A response; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON, or :class:`NotConformingError`."""
        try:
            return json.loads(self.body)
        except ValueError:
            raise NotConformingError(
                f"status {self.status} with a body that is not JSON: {self.body[:80]!r}"
            ) from None

    def result(self) -> InferResponse:
        """The body as a result, or :class:`NotConformingError`."""
        if self.status != 200:
            raise NotConformingError(f"status {self.status}: {self.body[:120]!r}")
        length = self.headers.get(HEADER_LENGTH.lower())
        return decode_response(self.body, None if length is None else int(length))


@final
class HttpServerUnderTest:
    """``url`` is ``http://HOST:PORT`` or https."""

    def __init__(self, url: str, access: Access = NO_SECRETS) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise BadInputError(f"{url!r} must be http://HOST:PORT or https://HOST:PORT.")
        self._host = parts.hostname
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._tls: ssl.SSLContext | None = None
        if parts.scheme == "https":
            self._tls = access.tls()
        self._base = parts.path.rstrip("/")
        self._access = access
        self.extensions: frozenset[str] = frozenset()
        self.subject = Subject("", (), (), ())

    def connect(self) -> http.client.HTTPConnection:
        """A new connection."""
        if self._tls is None:
            return http.client.HTTPConnection(self._host, self._port, timeout=TIMEOUT_S)
        return http.client.HTTPSConnection(self._host, self._port, timeout=TIMEOUT_S, context=self._tls)

    def raw(self) -> socket.socket:
        """A socket to the server."""
        plain = socket.create_connection((self._host, self._port), timeout=TIMEOUT_S)
        return plain if self._tls is None else self._tls.wrap_socket(plain, server_hostname=self._host)

    def headers(self, given: Mapping[str, str] | None = None) -> dict[str, str]:
        """``given``, and the token."""
        return {**self._access.headers, **(given or {})}

    def path(self, path: str) -> str:
        """``path`` below the base of the URL."""
        return self._base + path

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """One request on a connection of its own."""
        connection = self.connect()
        try:
            return exchange(self, connection, method, path, body, headers)
        finally:
            connection.close()

    def get(self, path: str) -> Any:
        """The JSON document at ``path``, which must be answered with 200."""
        answer = self.ask("GET", path)
        if answer.status != 200:
            raise NotConformingError(f"GET {path} gives {answer.status}")
        return answer.json()

    def model(self, suffix: str = "", version: str = "") -> str:
        """The path of the model under test."""
        middle = f"/versions/{quote(version, safe='')}" if version else ""
        return f"/v2/models/{quote(self.subject.name, safe='')}{middle}{suffix}"

    def infer(
        self,
        request: InferRequest,
        *,
        binary: bool = False,
        headers: Mapping[str, str] | None = None,
        version: str = "",
    ) -> Answer:
        """Send a request for the model under test."""
        message = encode_request(request, binary=binary)
        given = {"Content-Type": "application/octet-stream" if binary else "application/json"}
        if message.header_length is not None:
            given[HEADER_LENGTH] = str(message.header_length)
        return self.ask("POST", self.model("/infer", version), message.body(), given | dict(headers or {}))

    def choose_model(self, name: str | None) -> None:
        """Read the server's metadata and that of model ``name``, or of the only one.

        Raises :class:`BadInputError` if there is none, or the server does not answer.
        """
        try:
            self.extensions = frozenset(self.get("/v2").get("extensions", ()))
            if name is None:
                index = self.ask("POST", "/v2/repository/index", b"{}").json()
                ready = [one["name"] for one in index if one.get("state") == "READY"]
                if not ready:
                    raise BadInputError("the server lists no model that is ready. Name one with --model.")
                name = ready[0]
            document = self.get(f"/v2/models/{quote(name, safe='')}")
            sides = [
                [(str(t["name"]), str(t["datatype"]), list(t["shape"])) for t in document[side]]
                for side in ("inputs", "outputs")
            ]
        except (OSError, NotConformingError, KeyError, TypeError, AttributeError, ValueError) as error:
            raise BadInputError(
                f"the server at {self._host}:{self._port} does not describe a model to test ({error}). "
                "Is it up? Name the model with --model."
            ) from None
        self.subject = subject_of(name, tuple(map(str, document.get("versions") or ())), *sides)


def exchange(
    server: HttpServerUnderTest,
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """One request on ``connection``."""
    try:
        connection.request(method, server.path(path), body, server.headers(headers))
        response = connection.getresponse()
        return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
    except http.client.HTTPException as error:
        raise NotConformingError(
            f"{method} {path}: no HTTP answer ({type(error).__name__}: {error})"
        ) from None
