"""An HTTP request as read, and a response as written: plain values, no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import msgspec

from penstock.serve.protocol.errors import ProtocolError

JSON = "application/json"
BINARY = "application/octet-stream"
Part = bytes | memoryview


@dataclass(frozen=True, slots=True)
class HttpHead:
    """A request line with its headers. Names are in lower case; a header that comes twice is joined by commas.

    ``arrival_us``: when the first bytes of the request had arrived. ``length``: the body's, -1 if it is chunked.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    arrival_us: int
    length: int = 0
    peer: str = ""


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """A response; its body is sent part by part, without being joined."""

    status: int = 200
    parts: tuple[Part, ...] = ()
    content_type: str = JSON
    headers: tuple[tuple[str, str], ...] = field(default=())

    @property
    def length(self) -> int:
        """Bytes of the body."""
        return sum(memoryview(part).nbytes for part in self.parts)


def json_response(
    document: Any, status: int = 200, headers: tuple[tuple[str, str], ...] = ()
) -> HttpResponse:
    """``document`` as JSON."""
    return HttpResponse(status, (msgspec.json.encode(document),), headers=headers)


def error_response(error: ProtocolError) -> HttpResponse:
    """``{"error": ...}`` with the headers that go with the status."""
    headers = [("Allow", error.allow)] if error.allow else []
    if error.retry_after_s is not None:
        headers.append(("Retry-After", str(error.retry_after_s)))
    if error.http_status == 401:
        headers.append(("WWW-Authenticate", "Bearer"))
    return json_response({"error": str(error)}, error.http_status, tuple(headers))


_REASONS = {status.value: status.phrase for status in HTTPStatus}


def response_head(response: HttpResponse, date: str, *, closes: bool) -> bytes:
    """The status line and headers, up to the body."""
    lines = [
        f"HTTP/1.1 {response.status} {_REASONS.get(response.status, 'Unknown')}",
        f"Date: {date}",
        "Server: penstock",
        f"Content-Type: {response.content_type}",
        f"Content-Length: {response.length}",
    ]
    lines += [f"{name}: {value}" for name, value in response.headers]
    if closes:
        lines.append("Connection: close")
    return "\r\n".join([*lines, "", ""]).encode("latin-1", "replace")
