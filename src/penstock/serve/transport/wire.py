"""The form of a message: a head, and raw frames if tensors follow.

The head is the name and the version of this form, then one msgpack document. So a process of another version is refused
with both versions named, however it was reached. Frames are the bytes of tensors, little-endian and row-major
(:mod:`penstock.serve.protocol.raw`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeVar

import msgspec
import numpy as np

from penstock.errors import BadInputError
from penstock.serve.messages import BatchHeader, TensorHeader
from penstock.serve.protocol.infer import Tensor
from penstock.serve.protocol.raw import Array, array_from_raw, raw_from_array

Buffer = bytes | memoryview
M = TypeVar("M")

WIRE_VERSION = 4
"""Raise it with every change of a message that an older process would misread. 1 was the form without a version; 2
had other packets within a host; 3 had no pieces."""
NAME = b"pst"
_PREAMBLE = NAME + bytes([WIRE_VERSION])
_encoder = msgspec.msgpack.Encoder()


def encoded(message: msgspec.Struct) -> bytes:
    """The head of ``message``."""
    return _PREAMBLE + _encoder.encode(message)


def decoded(decoder: msgspec.msgpack.Decoder[M], head: Buffer) -> M:
    """The message in ``head``.

    Raises :class:`BadInputError` if it is of another version, or none of those that ``decoder`` expects.
    """
    check_version(head)
    try:
        return decoder.decode(memoryview(head)[len(_PREAMBLE) :])
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise BadInputError(f"a message cannot be read ({error}). Is the sender another version?") from None


def check_version(head: Buffer) -> None:
    """Raise :class:`BadInputError` if ``head`` is not of this version."""
    found = bytes(head[: len(_PREAMBLE)])
    if found == _PREAMBLE:
        return
    if found[: len(NAME)] != NAME or len(found) < len(_PREAMBLE):
        raise BadInputError(
            f"a message begins with {found!r} (must be {_PREAMBLE!r}): it is not from a penstock server. "
            f"Is another program connected to this address?"
        )
    raise BadInputError(
        f"a message has wire version {found[-1]}, and this process reads version {WIRE_VERSION} only. "
        f"Run the same release of penstock in all processes and on all hosts."
    )


class Group(NamedTuple):
    """Samples of a batch that run together, and their tensors."""

    size: int
    tensors: Sequence[Tensor]


Axes = Mapping[str, int | None]
"""By tensor, along which axis its parts are joined; None if all parts share it. 0 for tensors that are not named."""

NO_AXES: Axes = {}


def tensor_headers(parts: Sequence[Sequence[Tensor]], axes: Axes = NO_AXES) -> tuple[TensorHeader, ...]:
    """Headers of a group gathered from ``parts``, each with the same tensors in the same order."""
    return tuple(
        _joined_header([part[column] for part in parts], axes.get(tensor.name, 0))
        for column, tensor in enumerate(parts[0])
    )


def _joined_header(tensors: Sequence[Tensor], axis: int | None) -> TensorHeader:
    first = tensors[0]
    shape = first.array.shape
    if axis is None or len(tensors) == 1:
        return TensorHeader(first.name, first.datatype, shape, -1 if axis is None else axis)
    length = sum(tensor.array.shape[axis] for tensor in tensors)
    return TensorHeader(first.name, first.datatype, (*shape[:axis], length, *shape[axis + 1 :]), axis)


def tensor_frames(parts: Sequence[Sequence[Tensor]]) -> list[Buffer]:
    """The raw frames of a group, in the order of :class:`BatchHeader`."""
    columns = range(len(parts[0]))
    return [raw_from_array(part[c].datatype, part[c].array) for c in columns for part in parts]


Place = Callable[[str, int], Array | None]
"""From a tensor's name and the batch's size to where its parts are to be put together; None: to new memory."""


def read_groups(
    header: BatchHeader, frames: Sequence[memoryview], place: Place = lambda name, size: None
) -> list[Group]:
    """The groups of a batch; tensors are views of ``frames`` if each came in one part, else joined.

    They are joined where ``place`` says if there is one group: the place of a second one would be the same.
    Raises :class:`BadInputError` if there are more or fewer frames than ``header`` announces.
    """
    counts = header.groups or (len(header.parts),)
    n_tensors = len(header.tensors) // len(counts)
    if min(counts) < 1 or sum(counts) != len(header.parts) or len(frames) != n_tensors * len(header.parts):
        raise BadInputError(
            f"batch {header.batch} came with {len(frames)} frames (={len(header.parts)} parts of {n_tensors} tensors "
            f"were announced, in {len(counts)} groups): the message is not whole."
        )
    groups = []
    part = frame = 0
    for number, count in enumerate(counts):
        parts = header.parts[part : part + count]
        part += count
        tensors = []
        for tensor in header.tensors[number * n_tensors : (number + 1) * n_tensors]:
            pieces = frames[frame : frame + count]
            frame += count
            there = place(tensor.name, header.size) if len(counts) == 1 and count > 1 else None
            tensors.append(Tensor(tensor.name, tensor.datatype, _joined(tensor, parts, pieces, there)))
        groups.append(Group(sum(parts), tensors))
    return groups


def read_tensors(
    header: BatchHeader, frames: Sequence[memoryview], place: Place = lambda name, size: None
) -> Sequence[Tensor]:
    """The tensors of a batch of one group. Raises :class:`BadInputError` as :func:`read_groups`, and for several."""
    groups = read_groups(header, frames, place)
    if len(groups) != 1:
        raise BadInputError(
            f"batch {header.batch} came in {len(groups)} groups, but this worker runs one at a time."
        )
    return groups[0].tensors


def _joined(
    tensor: TensorHeader, parts: Sequence[int], pieces: Sequence[memoryview], there: Array | None
) -> Array:
    if len(pieces) == 1 or tensor.axis == -1:
        return array_from_raw(tensor.datatype, tensor.shape, pieces[0])
    axis = tensor.axis
    before, after = tensor.shape[:axis], tensor.shape[axis + 1 :]
    rows = tensor.shape[axis] // sum(parts)
    arrays = [
        array_from_raw(tensor.datatype, (*before, samples * rows, *after), piece)
        for samples, piece in zip(parts, pieces, strict=True)
    ]
    if there is not None and there.shape == tensor.shape and there.dtype == arrays[0].dtype:
        return np.concatenate(arrays, axis, out=there)
    return np.concatenate(arrays, axis)
