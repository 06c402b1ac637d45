"""Check that a request fits its model."""

from __future__ import annotations

from penstock.serve.protocol.errors import malformed
from penstock.serve.protocol.infer import InferRequest, Tensor
from penstock.serve.protocol.raw import raw_from_array
from penstock.serve.spec import ModelSpec, TensorSpec


def checked_samples(model: ModelSpec, request: InferRequest) -> int:
    """The number of samples in ``request``; :class:`ProtocolError` (400) says what does not fit ``model``."""
    given = {tensor.name: tensor for tensor in request.inputs}
    wanted = {spec.name for spec in model.inputs}
    if given.keys() != wanted:
        raise malformed(f"model {model.name!r} takes the inputs {sorted(wanted)}, got {sorted(given)[:16]}.")
    known = {spec.name for spec in model.outputs}
    for output in request.outputs or ():
        if output.name not in known:
            raise malformed(f"model {model.name!r} has the outputs {sorted(known)}, not {output.name!r}.")
    counts = {_samples(spec, given[spec.name]) for spec in model.inputs} - {None}
    if len(counts) > 1:
        raise malformed(f"the inputs differ in their number of samples: {sorted(filter(None, counts))}.")
    # Without a batch a request is one run.
    return counts.pop() or 1 if counts else 1


def shared_value(model: ModelSpec, request: InferRequest) -> bytes:
    """The inputs of ``request`` that have no batch, as bytes: only requests with the same value may run together."""
    given = {tensor.name: tensor for tensor in request.inputs}
    shared = [given[spec.name] for spec in model.inputs if spec.axis is None]
    return b"".join(bytes(raw_from_array(tensor.datatype, tensor.array)) for tensor in shared)


def _samples(spec: TensorSpec, tensor: Tensor) -> int | None:
    """The samples in ``tensor``, None if it has no batch."""
    if tensor.datatype != spec.datatype:
        raise malformed(f"input {spec.name!r} is {spec.datatype}, got {tensor.datatype}.")
    shape, axis = tensor.array.shape, spec.axis
    if axis is None:
        if shape != spec.shape:
            raise malformed(f"input {spec.name!r} has shape {list(spec.shape)}, got {list(shape)}.")
        return None
    rest = (*shape[:axis], *shape[axis + 1 :])
    if (
        len(shape) != len(spec.shape)
        or rest != (*spec.shape[:axis], *spec.shape[axis + 1 :])
        or shape[axis] < 1
    ):
        raise malformed(
            f"input {spec.name!r} has shape {list(spec.shape)} (-1: 1 sample or more), got {list(shape)}."
        )
    return int(shape[axis])
