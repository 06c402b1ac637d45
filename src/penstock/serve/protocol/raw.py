"""Raw tensors: little-endian elements in row-major order; BYTES as 4-byte length + data for each element."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from penstock.serve.protocol.datatypes import BYTES, numpy_dtype
from penstock.serve.protocol.errors import ProtocolError, malformed

Array = NDArray[np.generic]
_LENGTH = struct.Struct("<I")


MOST_STRINGS = 2**20
"""An element takes 4 bytes of a message, but tens of bytes of memory."""

MAX_RANK = 64
"""Numpy's own limit on dimensions."""


def element_count(shape: Sequence[int]) -> int:
    """The number of elements; :class:`ProtocolError` (400) for a shape that no array can have."""
    if len(shape) > MAX_RANK or any(length < 0 for length in shape):
        raise malformed(f"shape {list(shape[:8])} must be up to {MAX_RANK} lengths, each 0 or more.")
    # Numpy multiplies the lengths even if one of them is 0.
    if math.prod(max(length, 1) for length in shape) >= 2**56:
        raise malformed(f"shape {list(shape[:8])} is larger than any tensor.")
    return math.prod(shape)


def array_from_raw(datatype: str, shape: Sequence[int], data: memoryview) -> Array:
    """The array in ``data``, without a copy if elements have a fixed size (then it is read-only).

    Raises :class:`ProtocolError` (400) if the size does not match ``shape``.
    """
    dtype = numpy_dtype(datatype)
    count = element_count(shape)
    if datatype == BYTES:
        return _strings_from_raw(count, data).reshape(shape)
    if data.nbytes != count * dtype.itemsize:
        wanted = count * dtype.itemsize
        raise malformed(f"{data.nbytes} bytes for {datatype} of shape {list(shape)}, which takes {wanted}.")
    array: Array = np.frombuffer(data, dtype)
    # Any byte but 0 is true. Numpy wants 1: other values would count as true here and as themselves elsewhere.
    if datatype == "BOOL" and array.size and array.view(np.uint8).max() > 1:
        array = array.view(np.uint8) != 0
    return array.reshape(shape)


def raw_from_array(datatype: str, array: Array) -> bytes | memoryview:
    """The raw form of ``array``; a view of its memory if it is contiguous and of the right type."""
    if datatype == BYTES:
        items = array.ravel().tolist()
        return b"".join(part for item in items for part in (_LENGTH.pack(len(item)), item))
    wanted = np.ascontiguousarray(array, numpy_dtype(datatype))
    # An array of size 0 has no byte view.
    return wanted.reshape(-1).view(np.uint8).data if wanted.size else b""


def _strings_from_raw(count: int, data: memoryview) -> Array:
    """``count`` length-prefixed strings that fill ``data`` exactly."""
    if count > MOST_STRINGS:
        raise ProtocolError(413, f"{count} BYTES elements in one tensor; at most {MOST_STRINGS} may be.")
    # Each takes at least its length field. Check this first, so that a false count allocates nothing.
    if count * _LENGTH.size > data.nbytes:
        raise malformed(f"{data.nbytes} bytes cannot hold {count} BYTES elements (4 bytes of length each).")
    items = []
    at = 0
    for _ in range(count):
        start = at + _LENGTH.size
        if start > data.nbytes:
            raise malformed("a BYTES tensor ends inside an element's length.")
        at = start + _LENGTH.unpack_from(data, at)[0]
        if at > data.nbytes:
            raise malformed("a BYTES tensor ends inside an element.")
        items.append(bytes(data[start:at]))
    if at != data.nbytes:
        raise malformed(f"a BYTES tensor has {data.nbytes - at} bytes left over after {count} elements.")
    array = np.empty(count, dtype=object)
    array[:] = items
    return array
