"""The tensors that cross each cut of a served model, and the sub-models between the cuts.

If the profile names an ONNX file, they are the tensors of its graph. If not (an imported profile, which can only be
emulated), there is one UINT8 tensor at each boundary, with the profile's bytes per sample: ``input``, ``boundary_3``,
``output``.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from penstock.errors import BadInputError
from penstock.profile.table import Profile
from penstock.serve.spec import TensorSpec

if TYPE_CHECKING:
    from penstock.graph.model_graph import Tensor
    from penstock.graph.reading.onnx_reader import OnnxModel

DATATYPES = {
    "bool": "BOOL",
    "uint8": "UINT8",
    "uint16": "UINT16",
    "uint32": "UINT32",
    "uint64": "UINT64",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "float16": "FP16",
    "float32": "FP32",
    "float64": "FP64",
    "bfloat16": "BF16",
    "object": "BYTES",
}


class Boundaries(Protocol):
    """The tensors that cross the cuts of one model; blocks are numbered as in its profile.

    ``inputs`` and ``outputs`` are the model's own, as clients see them.
    """

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """What a request brings."""
        ...

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """What an answer holds."""
        ...

    def crossing(self, boundary: int) -> tuple[TensorSpec, ...]:
        """The tensors before block ``boundary``; at 0 the inputs, at the last the outputs."""
        ...

    def forwarded(self, start: int, stop: int) -> frozenset[str]:
        """The names that enter at ``start`` and are still needed behind ``stop``."""
        ...

    def write_stage(self, start: int, stop: int, path: Path) -> None:
        """Write blocks ``[start, stop)`` as an ONNX file."""
        ...


def boundaries_of(profile: Profile) -> Boundaries:
    """The boundaries of ``profile``'s model.

    Raises :class:`BadInputError` if the ONNX file is not the one that was profiled, or has inputs or
    outputs that cannot be cut into samples.
    """
    return BytesBoundaries(profile) if profile.model_file is None else OnnxBoundaries(profile)


class BytesBoundaries:
    """Boundaries of a model if only the sizes of its tensors are known."""

    def __init__(self, profile: Profile) -> None:
        self._bytes = profile.boundary_bytes
        self._model = profile.model
        self.inputs = self.crossing(0)
        self.outputs = self.crossing(len(self._bytes) - 1)

    def crossing(self, boundary: int) -> tuple[TensorSpec, ...]:
        """One UINT8 tensor."""
        last = len(self._bytes) - 1
        name = {0: "input", last: "output"}.get(boundary, f"boundary_{boundary}")
        return (TensorSpec(name, "UINT8", (-1, max(self._bytes[boundary], 1))),)

    def forwarded(self, start: int, stop: int) -> frozenset[str]:
        """None: what passes through counts in the bytes of the next boundary."""
        return frozenset()

    def write_stage(self, start: int, stop: int, path: Path) -> None:
        """Refused, because there is no model to run."""
        raise BadInputError(
            f"the profile of {self._model!r} names no ONNX file, so nothing can run it. "
            f"Serve it with --executor emulated, or profile the model with penstock profile."
        )


class OnnxBoundaries:
    """Boundaries of a model with its graph."""

    def __init__(self, profile: Profile) -> None:
        from penstock.graph.cuts import boundary_tensors

        self._model = _read_checked(profile)
        graph = self._model.graph
        self._starts = [0, *accumulate(len(block.operators) for block in profile.blocks)]
        if self._starts[-1] != len(graph.operators):
            raise BadInputError(
                f"{profile.model_file}: has {len(graph.operators)} operators, but the profile of "
                f"{profile.model!r} covers {self._starts[-1]}. Profile the model again."
            )
        crossing = boundary_tensors(graph)
        self._crossing = [tensor_specs(crossing[start], graph.tensors) for start in self._starts]
        self.inputs, self.outputs = edge_specs(self._crossing[0], self._crossing[-1])

    def crossing(self, boundary: int) -> tuple[TensorSpec, ...]:
        """The tensors of the graph there."""
        return self._crossing[boundary]

    def forwarded(self, start: int, stop: int) -> frozenset[str]:
        """The skip connections over the whole span."""
        after = {spec.name for spec in self._crossing[stop]}
        return frozenset(spec.name for spec in self._crossing[start] if spec.name in after)

    def write_stage(self, start: int, stop: int, path: Path) -> None:
        """The sub-model of these blocks. Its weights get a file of their own, because one file may not pass 2 GiB."""
        from penstock.graph.split import save_submodel, submodel

        save_submodel(submodel(self._model, self._starts[start], self._starts[stop]), path)


def edge_specs(
    inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]
) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Inputs and outputs as clients see them: a model of a fixed batch of 1 takes n samples as n runs.

    That holds if every input and output of a model without a batch has a first axis of length 1. Else a request is one
    run, whatever its tensors hold.
    """
    ends = (*inputs, *outputs)
    if any(spec.axis is not None for spec in ends) or not all(spec.shape[:1] == (1,) for spec in ends):
        return inputs, outputs

    def free(specs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
        return tuple(TensorSpec(one.name, one.datatype, (-1, *one.shape[1:])) for one in specs)

    return free(inputs), free(outputs)


def _read_checked(profile: Profile) -> OnnxModel:
    """The profiled ONNX file; :class:`BadInputError` if it was changed since."""
    from penstock.graph.reading.onnx_reader import read_onnx

    path = Path(profile.model_file or "")
    model = read_onnx(path, profile.reading)
    if profile.model_sha256 is not None and model.sha256 != profile.model_sha256:
        raise BadInputError(
            f"{path}: is not the file that was profiled (its SHA-256 differs). Restore it, or profile again."
        )
    return model


def tensor_specs(names: tuple[str, ...], tensors: Mapping[str, Tensor]) -> tuple[TensorSpec, ...]:
    """``names`` of a graph's ``tensors``, as a server describes them."""
    found = [tensors[name] for name in names]
    return tuple(TensorSpec(t.name, DATATYPES[t.dtype], t.shape, t.rows_per_sample) for t in found)
