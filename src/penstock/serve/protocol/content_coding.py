"""Bodies compressed as gzip or deflate (RFC 9110, section 8.4.1), with a bound on what they inflate to."""

from __future__ import annotations

import zlib
from collections.abc import Iterable

from penstock.serve.protocol.errors import ProtocolError, malformed

# zlib's number for its own format (which HTTP calls deflate), and 16 more for gzip's.
_WINDOW = {"gzip": 31, "x-gzip": 31, "deflate": 15}
CODINGS = ("gzip", "deflate")

MOST_MEMBERS = 16

_LEVEL = 1
"""Tensors compress little at any level, and the higher ones take many times longer."""


def checked_coding(header: str) -> str:
    """The coding that ``Content-Encoding`` names, empty for none; :class:`ProtocolError` 415 if it is not known."""
    coding = header.strip().lower()
    if coding in ("", "identity"):
        return ""
    if coding not in _WINDOW:
        raise ProtocolError(
            415, f"Content-Encoding {header[:80]!r} is not known: use {', '.join(CODINGS)} or none."
        )
    return coding


def inflated(body: bytes | memoryview, coding: str, limit_bytes: int) -> bytes:
    """``body`` without its ``coding``; :class:`ProtocolError` 413 over ``limit_bytes``, 400 if it is damaged.

    zlib leaves Python's lock to others, so this can run in a thread.
    """
    parts = []
    room = limit_bytes
    data: bytes | memoryview = body
    # gzip allows several members, one after the other. Each copies what follows, so they are few.
    for _ in range(MOST_MEMBERS):
        stream = zlib.decompressobj(_WINDOW[coding])
        try:
            # One byte more than there is room for shows that there is more.
            part = stream.decompress(data, room + 1)
        except zlib.error as error:
            raise malformed(f"the body is not {coding}: {error}.") from None
        if len(part) > room:
            raise ProtocolError(413, f"the body inflates to more than the limit of {limit_bytes} bytes.")
        if not stream.eof:
            raise malformed(f"the body ends inside its {coding} data.")
        parts.append(part)
        room -= len(part)
        data = stream.unused_data
        if not data:
            return part if len(parts) == 1 else b"".join(parts)
        if coding == "deflate":
            break
    raise malformed(f"{len(data)} bytes follow the {coding} data.")


def deflated(parts: Iterable[bytes | memoryview], coding: str) -> bytes:
    """``parts`` as one body in ``coding``."""
    stream = zlib.compressobj(_LEVEL, zlib.DEFLATED, _WINDOW[coding])
    return b"".join([*map(stream.compress, parts), stream.flush()])


def accepted_codings(header: str) -> tuple[str, ...]:
    """The codings of ours that ``Accept-Encoding`` names, in its order, without those of weight 0."""
    items = [item.partition(";") for item in header.lower().split(",")]
    return tuple(name.strip() for name, _, weight in items if name.strip() in CODINGS and _weight(weight) > 0)


def _weight(text: str) -> float:
    try:
        return float(text.strip().removeprefix("q="))
    except ValueError:
        return 1.0
