"""Strings between the protocol, whose elements are bytes, and onnxruntime, whose elements are Unicode text."""

from __future__ import annotations

import numpy as np

from penstock.errors import BadInputError
from penstock.runtime.runner import Array


def text_of(name: str, array: Array) -> Array:
    """``array`` with text for bytes. Raises :class:`BadInputError` if tensor ``name`` holds bytes that are no UTF-8."""
    try:
        items = [item.decode() if isinstance(item, bytes) else str(item) for item in array.ravel().tolist()]
    except UnicodeDecodeError as error:
        raise BadInputError(
            f"tensor {name!r} holds bytes that are not UTF-8 text ({error}), but the model takes strings. Send text."
        ) from None
    made = np.empty(len(items), dtype=object)
    made[:] = items
    return made.reshape(array.shape)


def bytes_of(array: Array) -> Array:
    """``array`` with bytes for text."""
    items = [item if isinstance(item, bytes) else str(item).encode() for item in array.ravel().tolist()]
    made = np.empty(len(items), dtype=object)
    made[:] = items
    return made.reshape(array.shape)
