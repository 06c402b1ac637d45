"""Look at an inference request of gRPC before it is parsed: how many pieces it has.

A parser makes an object of each. 64 MB may be one tensor, which is parsed in milliseconds, or thirty million empty
ones, which take gigabytes and stop everything else. So the pieces are counted first, on the wire format
(protobuf.dev, "Encoding"), and refused if they are more than any honest request has.
"""

from __future__ import annotations

from collections.abc import Iterator

from penstock.serve.protocol.errors import ProtocolError, malformed

SMALL_MESSAGE = 65_536
"""Messages up to this size are parsed as they are."""

MOST_FIELDS = 131_072
"""Tensors, elements of BYTES, parameters: of all kinds together."""

FEW_FIELDS = 1_024
"""So many are counted in about a millisecond."""

MOST_SMALL_BYTES = 131_072
"""Everything but the elements of tensors."""

# Field numbers of ModelInferRequest, and of its inputs.
_INPUTS, _RAW, _CONTENTS = 5, 7, 5
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def has_few_pieces(data: bytes | memoryview) -> bool:
    """Whether ``data`` has at most :data:`FEW_FIELDS` pieces, so that looking at it and parsing it take no time.

    A message that is broken has few: whoever parses it will say so.
    """
    if len(data) <= SMALL_MESSAGE:
        return True
    try:
        return all(count <= FEW_FIELDS for count, _ in enumerate(_every_piece(memoryview(data)), 1))
    except ProtocolError:
        return True


def refuse_many_pieces(data: bytes | memoryview, small_message: int = SMALL_MESSAGE) -> None:
    """:class:`ProtocolError` 413 for more pieces than are allowed, 400 if the wire format is broken.

    A message of at most ``small_message`` bytes is not looked at.
    """
    if len(data) <= small_message:
        return
    small = 0
    for count, size in enumerate(_every_piece(memoryview(data)), 1):
        small += size
        if count > MOST_FIELDS:
            raise ProtocolError(
                413, f"more than {MOST_FIELDS} pieces in one message. Send tensors as raw_input_contents."
            )
        if small > MOST_SMALL_BYTES:
            raise ProtocolError(
                413, f"more than {MOST_SMALL_BYTES} bytes of names and parameters in one message."
            )


def _every_piece(view: memoryview) -> Iterator[int]:
    """The size of each piece that is not made of smaller ones; 0 if it is the elements of a tensor."""
    for number, piece in _pieces(view):
        if number != _INPUTS or piece is None:
            yield 0 if number == _RAW or piece is None else len(piece)
            continue
        yield 0
        for inner, content in _pieces(piece):
            if inner != _CONTENTS or content is None:
                yield 0 if content is None else len(content)
                continue
            yield 0
            for _ in _pieces(content):
                yield 0


def _pieces(view: memoryview) -> Iterator[tuple[int, memoryview | None]]:
    """(field number, content if it has a length) of each field."""
    at, end = 0, len(view)
    while at < end:
        key, at = _varint(view, at)
        number, kind = key >> 3, key & 7
        piece = None
        if kind == _VARINT:
            _, at = _varint(view, at)
        elif kind == _BYTES:
            length, at = _varint(view, at)
            piece = view[at : at + length]
            at += length
        elif kind in (_FIXED64, _FIXED32):
            at += 8 if kind == _FIXED64 else 4
        else:
            raise malformed(f"the message has a field of the unknown wire type {kind}.")
        if number == 0:
            raise malformed("the message has a field with the number 0, which no field has.")
        if at > end:
            raise malformed("the message ends inside a field.")
        yield number, piece


def _varint(view: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(view) and shift < 70:
        byte = view[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise malformed("the message has a number that does not end.")
