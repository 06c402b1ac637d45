"""The outputs of a request: cut from the batches that it ran in, and joined in the order of its samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from penstock.serve.gateway.waiting import Outputs
from penstock.serve.protocol.infer import Tensor
from penstock.serve.spec import TensorSpec
from penstock.serve.transport import Group


def places_in(groups: Sequence[Group]) -> list[tuple[Group, int]]:
    """The group of each sample of the batch, and its place there."""
    return [(group, place) for group in groups for place in range(group.size)]


def piece_of(group: Group, first: int, samples: int, specs: Mapping[str, TensorSpec]) -> list[Tensor] | str:
    """The outputs of ``samples`` samples of ``group`` from ``first``, or what is wrong with them."""
    piece = []
    for tensor in group.tensors:
        spec = specs.get(tensor.name) or TensorSpec(
            tensor.name, tensor.datatype, (-1, *tensor.array.shape[1:])
        )
        found = tensor.array.shape
        if found != spec.shape_of(group.size):
            return (
                f"output {tensor.name!r} has shape {list(found)} for {group.size} samples, but must have "
                f"{list(spec.shape_of(group.size))}."
            )
        piece.append(Tensor(tensor.name, tensor.datatype, spec.part(tensor.array, first, samples)))
    return piece


def assembled(pieces: Mapping[int, Sequence[Tensor]], specs: Mapping[str, TensorSpec]) -> Outputs:
    """The outputs in the order of the request's samples."""
    ordered = [pieces[offset] for offset in sorted(pieces)]
    if len(ordered) == 1:
        return tuple(ordered[0])
    return tuple(_joined(column, specs.get(column[0].name)) for column in zip(*ordered, strict=True))


def _joined(column: Sequence[Tensor], spec: TensorSpec | None) -> Tensor:
    """The parts of an output; one without a batch is the same in all of them."""
    first = column[0]
    axis = 0 if spec is None else spec.axis
    if axis is None:
        return first
    return Tensor(first.name, first.datatype, np.concatenate([tensor.array for tensor in column], axis))
