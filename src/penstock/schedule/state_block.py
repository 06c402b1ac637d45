"""A policy's state as one array: the address and shape of each of its arrays.

Numba takes every array out of its Python object at every call, and the state has some fifty: 7 us of the 12 that a
decision took. A kernel that takes the block instead reads addresses, and only those it uses. The block does
not keep the arrays alive: whoever holds it holds the state too.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args, get_origin, get_type_hints

import numpy as np
from numba import types
from numba.extending import intrinsic
from numba.np.arrayobj import populate_array

from penstock.schedule.state import PolicyState
from penstock.schedule.table import I64

_BLOCK = types.Array(types.int64, 1, "C")
_WORD_BYTES = 8


def pack(state: PolicyState) -> I64:
    """The block of ``state``: for each array, in the order of the fields, its address and its shape."""
    words = [word for array in _arrays(state) for word in (array.ctypes.data, *array.shape)]
    return np.array(words, np.int64)


def _arrays(part: Any) -> Iterator[I64]:
    if isinstance(part, tuple):
        for each in part:
            yield from _arrays(each)
    else:
        # The address says neither; Facts come from tables that anyone may build.
        assert part.dtype == np.int64 and part.flags.c_contiguous
        yield part


def _numba_type(hint: Any) -> types.Type:
    """The type of a field: ``Annotated[I64, dimensions]``, or a named tuple of such."""
    if get_origin(hint) is None:
        fields = get_type_hints(hint, include_extras=True).values()
        return types.BaseTuple.from_types([_numba_type(field) for field in fields], hint)
    return types.Array(types.int64, get_args(hint)[1], "C")


_STATE = _numba_type(PolicyState)


@intrinsic
def unpack(_typing_context: Any, block: types.Type) -> tuple[Any, Any]:
    """In a kernel: the ``PolicyState`` whose :func:`pack` is ``block``."""

    def build(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        words = _words(context, builder, arguments[0])
        return _value(context, builder, _STATE, words)

    return _STATE(_BLOCK), build


def _words(context: Any, builder: Any, block: Any) -> Iterator[Any]:
    """The block's words, one load at a time; what is not used is not loaded in the end."""
    data = context.make_array(_BLOCK)(context, builder, block).data
    index = 0
    while True:
        yield builder.load(builder.gep(data, [context.get_constant(types.intp, index)]))
        index += 1


def _value(context: Any, builder: Any, kind: types.Type, words: Iterator[Any]) -> Any:
    """The value of a type, from as many words as it needs."""
    if isinstance(kind, types.BaseTuple):
        return context.make_tuple(
            builder, kind, [_value(context, builder, part, words) for part in kind.types]
        )
    array = context.make_array(kind)(context, builder)
    data = builder.inttoptr(next(words), array.data.type)
    shape = [next(words) for _ in range(kind.ndim)]
    item_bytes = context.get_constant(types.intp, _WORD_BYTES)
    # C order: from the last dimension on, each stride spans the dimensions behind it.
    strides = [item_bytes]
    for length in reversed(shape[1:]):
        strides.insert(0, builder.mul(strides[0], length))
    populate_array(array, data=data, shape=shape, strides=strides, itemsize=item_bytes, meminfo=None)
    return array._getvalue()
