"""One tensor of a group of a batch, joined of all its parts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import islice
from typing import final

import msgspec
import numpy as np

from penstock.serve.messages import BatchHeader, TensorHeader
from penstock.serve.protocol.datatypes import BYTES, numpy_dtype
from penstock.serve.protocol.infer import Tensor
from penstock.serve.protocol.raw import raw_from_array
from penstock.serve.transport.interface import Parts
from penstock.serve.transport.shared.memory_file import Memory
from penstock.serve.transport.wire import Buffer


def columns_of(header: BatchHeader, groups: Sequence[Parts]) -> list[Column]:
    """The tensors of a batch, group after group."""
    if len(groups) == 1 and len(groups[0]) == 1:  # the usual batch: one part
        return [Column(whole, (own,)) for whole, own in zip(header.tensors, groups[0][0], strict=True)]
    tensors = (column for parts in groups for column in zip(*parts, strict=True))
    return [Column(whole, parts) for whole, parts in zip(header.tensors, tensors, strict=True)]


def with_joined_parts(header: BatchHeader) -> BatchHeader:
    """``header`` of the same batch with one part a group."""
    counts = header.groups or (len(header.parts),)
    if len(counts) == len(header.parts):
        return header
    parts = iter(header.parts)
    sizes = tuple(sum(islice(parts, count)) for count in counts)
    return msgspec.structs.replace(header, parts=sizes, groups=(1,) * len(sizes) if len(sizes) > 1 else ())


@final
class Column:
    """A tensor of a group; ``whole`` describes it, ``parts`` are what it is joined of."""

    def __init__(self, whole: TensorHeader, parts: Sequence[Tensor]) -> None:
        self._whole = whole
        self._arrays = [tensor.array for tensor in (parts if whole.axis >= 0 else parts[:1])]
        self._strings: Buffer | None = None
        if whole.datatype == BYTES:
            self._strings = self.raw()
            self.n_bytes = len(self._strings)
        else:
            self._dtype = numpy_dtype(whole.datatype)
            self.n_bytes = math.prod(whole.shape) * self._dtype.itemsize

    def raw(self) -> Buffer:
        """The bytes of it; a view if it came in one part."""
        if self._strings is not None:
            return self._strings
        arrays = self._arrays
        joined = arrays[0] if len(arrays) == 1 else np.concatenate(arrays, max(self._whole.axis, 0))
        return raw_from_array(self._whole.datatype, joined)

    def write(self, memory: Memory) -> None:
        """Put it into ``memory``, which is as long as it."""
        if self._strings is not None:
            memory[:] = np.frombuffer(self._strings, np.uint8)
            return
        there = memory.view(self._dtype).reshape(self._whole.shape)
        if len(self._arrays) == 1:
            there[...] = self._arrays[0]
            return
        axis = self._whole.axis
        start = 0
        for array in self._arrays:
            stop = start + array.shape[axis]
            there[(slice(None),) * axis + (slice(start, stop),)] = array
            start = stop
