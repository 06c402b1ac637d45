"""Does a request fit the model it is for?"""

from __future__ import annotations

from penstock.serve.protocol.errors import malformed
from penstock.serve.protocol.infer import InferRequest, Tensor
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
    counts = {_samples(spec, given[spec.name]) for spec in model.inputs}
    if len(counts) != 1:
        raise malformed(f"the inputs differ in their number of samples: {sorted(counts)}.")
    return counts.pop()


def _samples(spec: TensorSpec, tensor: Tensor) -> int:
    if tensor.datatype != spec.datatype:
        raise malformed(f"input {spec.name!r} is {spec.datatype}, got {tensor.datatype}.")
    shape = tensor.array.shape
    if len(shape) != len(spec.shape) or shape[1:] != spec.shape[1:] or shape[0] < 1:
        raise malformed(
            f"input {spec.name!r} has shape {list(spec.shape)} (-1: 1 sample or more), got {list(shape)}."
        )
    return int(shape[0])
