"""The state of a policy as one array: the address and the shape of each of its arrays.

Numba takes every array out of its Python object at every call. The state has some fifty, and this took 7 of the 12 us
of a decision. A kernel that gets the addresses instead reads only those that it uses. The addresses do not keep the
arrays alive: whoever keeps them must keep the state too.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Iterator
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

import numpy as np
from numba import config, types
from numba.extending import intrinsic
from numba.np.arrayobj import populate_array

from penstock.arrays import I64
from penstock.schedule.state.arrays import PolicyState, SplitStages, WholeStages

BLOCK, SPLIT_BLOCK = types.Array(types.int64, 1, "C"), types.Array(types.int64, 2, "C")
"""The types of addresses, without and with split stages."""

_WORD_BYTES = 8


def addresses_of(state: PolicyState) -> I64:
    """The address and the shape of each array of ``state``, in the order of the fields: (words,).

    If the state has split stages, the words are a row of an array of two dimensions, (1, words). So its type says for
    which kind of fleet a kernel is to be compiled (:mod:`penstock.schedule.state.split_choice`).
    """
    words = np.array(
        [word for array in _arrays(state) for word in (array.ctypes.data, *array.shape)], np.int64
    )
    return words[None, :] if isinstance(state.facts.split, SplitStages) else words


def _arrays(part: Any) -> Iterator[I64]:
    if isinstance(part, tuple):
        for each in part:
            yield from _arrays(each)
    else:
        # An address says neither the type nor the layout of what is there.
        assert part.dtype == np.int64 and part.flags.c_contiguous
        yield part


def _numba_type(hint: Any, *, split: bool) -> types.Type:
    """The type of a field: ``Annotated[I64, dimensions]``, or a named tuple of such."""
    hint = _of_kind(hint, split)
    if get_origin(hint) is None:
        fields = get_type_hints(hint, include_extras=True).values()
        return types.BaseTuple.from_types([_numba_type(field, split=split) for field in fields], hint)
    return types.Array(types.int64, get_args(hint)[1], "C")


def _of_kind(hint: Any, split: bool) -> Any:
    """``hint``, or of the two kinds of fleets that the field of a state may be for the one that is meant."""
    if isinstance(hint, UnionType):
        return SplitStages if split else WholeStages
    return hint


_STATES = {block: _numba_type(PolicyState, split=block is SPLIT_BLOCK) for block in (BLOCK, SPLIT_BLOCK)}


@intrinsic
def _compiled_state_at(_typing_context: Any, block: types.Type) -> tuple[Any, Any]:
    """The code that makes a state of its block."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        words = _words(context, builder, signature.args[0], arguments[0])
        return _value(context, builder, signature.return_type, words)

    return _STATES[block](block), build


def _plain_state_at(block: I64) -> PolicyState:
    """As the compiled one: arrays over the same memory, from their addresses and shapes."""
    state: PolicyState = _plain_value(PolicyState, iter(block.ravel().tolist()), split=block.ndim == 2)
    return state


def _plain_value(hint: Any, words: Iterator[int], *, split: bool) -> Any:
    hint = _of_kind(hint, split)
    if get_origin(hint) is None:
        fields = get_type_hints(hint, include_extras=True).values()
        return hint(*[_plain_value(field, words, split=split) for field in fields])
    address = next(words)
    shape = tuple(next(words) for _ in range(get_args(hint)[1]))
    if not math.prod(shape):
        return np.zeros(shape, np.int64)
    memory = (ctypes.c_int64 * math.prod(shape)).from_address(address)
    return np.ctypeslib.as_array(memory).reshape(shape)


state_at = _plain_state_at if config.DISABLE_JIT else _compiled_state_at
"""In a kernel: the ``PolicyState`` whose :func:`addresses_of` is the argument.

With NUMBA_DISABLE_JIT kernels run as plain Python, so that a coverage tool can count their lines.
"""


def _words(context: Any, builder: Any, kind: types.Type, block: Any) -> Iterator[Any]:
    """The words of the block, one load each. The compiler removes the loads that are not used."""
    data = context.make_array(kind)(context, builder, block).data
    index = 0
    while True:
        yield builder.load(builder.gep(data, [context.get_constant(types.intp, index)]))
        index += 1


def _value(context: Any, builder: Any, kind: types.Type, words: Iterator[Any]) -> Any:
    """A value of the type ``kind``, made of as many words as it needs."""
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
