"""Tensors as JSON: a flat list in row-major order, or lists nested as the shape is."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import chain
from typing import Any

import msgspec
import numpy as np

from penstock.serve.protocol.datatypes import BYTES, FLOATS, RAW_ONLY, numpy_dtype
from penstock.serve.protocol.errors import malformed
from penstock.serve.protocol.raw import Array, element_count

PIECE = 16_384
"""Elements that are written in one go, about a millisecond."""

_encoder = msgspec.json.Encoder()


def array_from_json(datatype: str, shape: Sequence[int], data: msgspec.Raw) -> Array:
    """The array written in ``data``; :class:`ProtocolError` (400) if it does not fit type or shape."""
    dtype = numpy_dtype(datatype)
    if datatype in RAW_ONLY:
        raise malformed(f"{datatype} has no JSON form: send it as binary data.")
    count = element_count(shape)
    items = _flat_items(_element(datatype), shape, data)
    if len(items) != count:
        raise malformed(f"{len(items)} elements for shape {list(shape)}, which takes {count}.")
    if datatype == BYTES:
        array = np.empty(len(items), dtype=object)
        array[:] = [item.encode() for item in items]
        return array.reshape(shape)
    try:
        with np.errstate(over="raise"):
            return np.array(items, dtype=dtype).reshape(shape)
    except (OverflowError, FloatingPointError):
        raise malformed(f"an element is outside the range of {datatype}.") from None


def json_problem(name: str, datatype: str, array: Array) -> str | None:
    """Why JSON cannot carry ``array``, or None."""
    if datatype in RAW_ONLY:
        return f"output {name!r} is {datatype}, which has no JSON form: ask for binary_data."
    if datatype in FLOATS and not np.isfinite(array).all():
        return f"output {name!r} holds NaN or infinity, which JSON cannot carry: ask for binary_data."
    if datatype == BYTES:
        try:
            for item in array.ravel().tolist():
                item.decode()
        except UnicodeDecodeError:
            return f"output {name!r} holds bytes that are not UTF-8: ask for binary_data."
    return None


def json_text(name: str, datatype: str, array: Array) -> bytes:
    """The elements of ``array`` as a flat list in JSON; :class:`ProtocolError` (400) if JSON cannot carry them.

    It is made in pieces: a thread that makes a large one leaves Python's lock to others between them.
    """
    problem = json_problem(name, datatype, array)
    if problem is not None:
        raise malformed(problem)
    flat = array.reshape(-1)
    pieces = []
    for at in range(0, len(flat), PIECE):
        items: list[Any] = flat[at : at + PIECE].tolist()
        pieces.append(
            _encoder.encode([item.decode() for item in items] if datatype == BYTES else items)[1:-1]
        )
    return b"[" + b",".join(pieces) + b"]"


def _flat_items(element: type, shape: Sequence[int], data: msgspec.Raw) -> list[Any]:
    """The elements in row-major order, from a flat list or from lists nested exactly as ``shape``."""
    try:
        flat: list[Any] = _decoder(element, 1).decode(data)
        return flat
    except msgspec.ValidationError as error:
        if len(shape) < 2:  # the flat form is the only one
            raise malformed(f"data: {error}.") from None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise malformed(f"data is not JSON: {error}.") from None
    try:
        rows = _decoder(element, len(shape)).decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise malformed(f"data is neither a flat list nor nested as shape {list(shape)}: {error}.") from None
    for length in shape[1:]:
        if any(len(row) != length for row in rows):
            raise malformed(f"data is not nested as shape {list(shape)}.")
        rows = list(chain.from_iterable(rows))
    return list(rows)


def _element(datatype: str) -> type:
    if datatype == BYTES:
        return str
    if datatype == "BOOL":
        return bool
    return float if datatype in FLOATS else int


@lru_cache(maxsize=256)
def _decoder(element: type, depth: int) -> msgspec.json.Decoder[Any]:
    nested: Any = element
    for _ in range(depth):
        nested = list[nested]
    return msgspec.json.Decoder(nested)


def no_number(text: bytes) -> str:
    """What to say of JSON with numbers that JSON does not have; some clients write them."""
    if re.search(rb"[\[,:]\s*-?(NaN|Infinity)\b", text) is None:
        return ""
    return " JSON has no NaN and no Infinity: send the tensor as raw data (binary_data_size)."
