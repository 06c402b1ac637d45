"""Where a request's head and its chunks end, and what they say: llhttp decides, through httptools."""

from __future__ import annotations

from typing import final

import httptools

from penstock.serve.listen.http_message import HttpHead
from penstock.serve.protocol.errors import malformed


@final
class RequestReader:
    """Reads the requests of a connection, one after the other: the head at once, then its body if that is in chunks.

    :attr:`keeps_alive` says whether the connection may be used again; :attr:`chunks` holds the body so far, and
    :attr:`has_ended` tells whether it is complete.
    """

    def __init__(self) -> None:
        self.keeps_alive = True
        self.chunks = bytearray()

    def _begin(self) -> None:
        self.keeps_alive = True
        self.chunks = bytearray()
        self._url = b""
        self._headers: dict[str, str] = {}
        self._begun = self._heads = self._ended = 0
        self._parser = httptools.HttpRequestParser(self)

    @property
    def has_ended(self) -> bool:
        """Whether all of the request is read."""
        return self._ended > 0

    def read_head(self, text: bytes, first_us: int, peer: str) -> HttpHead:
        """The head ``text`` of the next request, whose first bytes had arrived at ``first_us``.

        Raises :class:`~penstock.serve.protocol.errors.ProtocolError` if llhttp refuses it, or would end it elsewhere.
        """
        self._begin()
        parser = self._parser
        try:
            parser.feed_data(text)
        except httptools.HttpParserUpgrade:
            pass  # HTTP/1.1 goes on: a server may ignore an upgrade
        except httptools.HttpParserError as error:
            raise malformed(f"this is not HTTP/1.1: {error or type(error).__name__}.") from None
        if self._heads and parser.get_http_version() not in ("1.0", "1.1"):
            raise malformed(f"HTTP/{parser.get_http_version()} is not spoken here: use HTTP/1.1.")
        headers = self._headers
        length = -1 if "transfer-encoding" in headers else int(headers.get("content-length", "0") or "0")
        if (self._begun, self._heads, self._ended) != (1, 1, int(length == 0)) or self.chunks:
            raise malformed("the headers do not end where their last line does.")
        if length < 0 and "content-length" in headers:
            raise malformed("a request has Content-Length or Transfer-Encoding, not both.")
        self.keeps_alive = self.keeps_alive and length >= 0
        return HttpHead(
            parser.get_method().decode(), self._url.decode("latin-1"), headers, first_us, length, peer
        )

    def feed_chunks(self, data: memoryview) -> None:
        """Read more of a body in chunks; :class:`~penstock.serve.protocol.errors.ProtocolError` if it is wrong."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            raise malformed(f"the chunks of the body are wrong: {error}.") from None

    def release(self) -> None:
        """Forget the body. Its memory is free when whoever handles it has done so."""
        self.chunks = bytearray()

    # -- llhttp's callbacks -------------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """A request starts."""
        self._begun += 1

    def on_url(self, url: bytes) -> None:
        """A piece of the target."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header."""
        key = name.decode("latin-1").lower()
        text = value.decode("latin-1")
        self._headers[key] = f"{self._headers[key]}, {text}" if key in self._headers else text

    def on_headers_complete(self) -> None:
        """The head ends. Later llhttp no longer knows what it said of the connection."""
        self._heads += 1
        self.keeps_alive = self._parser.should_keep_alive()

    def on_body(self, data: bytes) -> None:
        """A piece of a chunked body."""
        self.chunks += data

    def on_message_complete(self) -> None:
        """The request ends."""
        self._ended += 1
