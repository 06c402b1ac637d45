"""The datatypes of the protocol, and the numpy type of each.

BF16 has no numpy type, so its 16 bits are kept as uint16. BYTES elements may have any length, so they are an object
array of :class:`bytes`.
"""

from __future__ import annotations

import numpy as np

from penstock.serve.protocol.errors import malformed

BYTES = "BYTES"
RAW_ONLY = frozenset({"FP16", "BF16"})
"""JSON has no numbers of these types: the protocol carries them as raw tensors only."""

NUMPY: dict[str, np.dtype[np.generic]] = {
    name: np.dtype(code)
    for name, code in {
        "BOOL": "?",
        "UINT8": "<u1",
        "UINT16": "<u2",
        "UINT32": "<u4",
        "UINT64": "<u8",
        "INT8": "<i1",
        "INT16": "<i2",
        "INT32": "<i4",
        "INT64": "<i8",
        "FP16": "<f2",
        "FP32": "<f4",
        "FP64": "<f8",
        "BF16": "<u2",
        BYTES: "O",
    }.items()
}

# Raw tensors can carry NaN and infinity, but JSON cannot.
FLOATS = frozenset({"FP32", "FP64"})


def numpy_dtype(datatype: str) -> np.dtype[np.generic]:
    """The numpy type that carries ``datatype``; :class:`ProtocolError` (400) for an unknown name."""
    try:
        return NUMPY[datatype]
    except KeyError:
        raise malformed(f"datatype {datatype!r} is not one of {', '.join(NUMPY)}.") from None
