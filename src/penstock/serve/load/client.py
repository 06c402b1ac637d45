"""What the load generator needs of a protocol, and HTTP."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, Protocol, Self, final
from urllib.parse import quote

import aiohttp

from penstock.errors import BadInputError
from penstock.serve.load.access import NO_SECRETS, Access
from penstock.serve.load.sample_request import Body, http_body
from penstock.serve.protocol.infer import Tensor

NO_ANSWER = 0
"""In place of an HTTP status: the connection broke, or nothing came in time."""


class Client(AbstractAsyncContextManager["Client"], Protocol):
    """Connections to one server. Statuses are those of HTTP, whatever the protocol."""

    async def server(self) -> Any:
        """The server's metadata. Raises :class:`BadInputError` if it cannot be had, as do the next two."""
        ...

    async def model(self, name: str) -> Any:
        """A model's metadata."""
        ...

    async def config(self, name: str) -> Any:
        """A model's configuration."""
        ...

    def body(self, model: str, tensors: tuple[Tensor, ...]) -> Body:
        """A request in the form of this protocol."""
        ...

    async def open_connections(self, count: int) -> None:
        """Have ``count`` connections ready: opening one takes longer than a request on one."""
        ...

    async def infer(self, model: str, body: Body) -> int:
        """Send a request and read its answer; returns the status, or :data:`NO_ANSWER`."""
        ...


@final
class LoadClient:
    """Keep-alive HTTP connections to one server, as many as are needed; never waits for a free one."""

    def __init__(self, url: str, timeout_s: float, access: Access = NO_SECRETS) -> None:
        self._url = url.rstrip("/")
        self._timeout_s = timeout_s
        self._headers = access.headers
        self._tls = access.tls() if self._url.startswith("https://") else True

    async def __aenter__(self) -> Self:
        """Open the session."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=600.0, ssl=self._tls),
            headers=self._headers,
            timeout=aiohttp.ClientTimeout(total=self._timeout_s),
            auto_decompress=False,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close every connection."""
        await self._session.close()

    async def server(self) -> Any:
        """The server's metadata."""
        return await self.ask("/v2")

    async def model(self, name: str) -> Any:
        """A model's metadata."""
        return await self.ask(f"/v2/models/{quote(name, safe='')}")

    async def config(self, name: str) -> Any:
        """A model's configuration."""
        return await self.ask(f"/v2/models/{quote(name, safe='')}/config")

    def body(self, model: str, tensors: tuple[Tensor, ...]) -> Body:
        """A binary request."""
        return http_body(model, tensors)

    async def ask(self, path: str) -> Any:
        """The JSON document at ``path``; :class:`BadInputError` if the server does not give it."""
        try:
            async with self._session.get(self._url + path) as response:
                if response.status != 200:
                    text = (await response.text())[:200]
                    raise BadInputError(f"{self._url}{path} answered {response.status}: {text}")
                return await response.json(content_type=None)
        except (aiohttp.ClientError, OSError, ValueError, TimeoutError) as error:
            reason = str(error) or type(error).__name__
            raise BadInputError(
                f"{self._url}{path}: {reason}. Is the server up, and its URL right (http://HOST:PORT)?"
            ) from None

    async def open_connections(self, count: int) -> None:
        """Have ``count`` connections ready: opening one takes longer than a request on one."""
        await asyncio.gather(*(self._ping() for _ in range(count)))

    async def infer(self, model: str, body: Body) -> int:
        """Send a request and read its answer; returns the HTTP status, or :data:`NO_ANSWER`."""
        url = f"{self._url}/v2/models/{quote(model, safe='')}/infer"
        try:
            async with self._session.post(url, data=body.data, headers=body.headers) as response:
                await response.read()
                return response.status
        except (aiohttp.ClientError, OSError, TimeoutError):
            return NO_ANSWER

    async def _ping(self) -> None:
        try:
            async with self._session.get(f"{self._url}/v2/health/live") as response:
                await response.read()
        except (aiohttp.ClientError, OSError, TimeoutError):
            return
