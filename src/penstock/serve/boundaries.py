"""The tensors that cross each cut of a served model, and the sub-models between the cuts.

With an ONNX file they are the graph's own; without one (an imported profile, to be emulated) there is one
UINT8 tensor of the profile's bytes per sample at each boundary: ``input``, ``boundary_3``, ``output``.
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
    from penstock.graph.onnx_reader import OnnxModel

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
    """What crosses the cuts of one model; blocks are counted as in its profile."""

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

    Raises :class:`BadInputError` where the ONNX file is not the one that was profiled, or has inputs or
    outputs that cannot be cut into samples.
    """
    return BytesBoundaries(profile) if profile.model_file is None else OnnxBoundaries(profile)


class BytesBoundaries:
    """Boundaries of a model of which only sizes are known."""

    def __init__(self, profile: Profile) -> None:
        self._bytes = profile.boundary_bytes
        self._model = profile.model

    def crossing(self, boundary: int) -> tuple[TensorSpec, ...]:
        """One UINT8 tensor."""
        last = len(self._bytes) - 1
        name = {0: "input", last: "output"}.get(boundary, f"boundary_{boundary}")
        return (TensorSpec(name, "UINT8", (-1, max(self._bytes[boundary], 1))),)

    def forwarded(self, start: int, stop: int) -> frozenset[str]:
        """None: what passes through is part of the next boundary's bytes."""
        return frozenset()

    def write_stage(self, start: int, stop: int, path: Path) -> None:
        """There is nothing to run."""
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
        self._crossing = [_specs(crossing[start], graph.tensors) for start in self._starts]
        for spec in (*self._crossing[0], *self._crossing[-1]):
            if not spec.is_batched:
                raise BadInputError(
                    f"{profile.model_file}: tensor {spec.name!r} has shape {list(spec.shape)}: inputs and "
                    f"outputs need the batch as first dimension. Export the model with a dynamic batch."
                )

    def crossing(self, boundary: int) -> tuple[TensorSpec, ...]:
        """The graph's tensors there."""
        return self._crossing[boundary]

    def forwarded(self, start: int, stop: int) -> frozenset[str]:
        """Skip connections over the whole span."""
        after = {spec.name for spec in self._crossing[stop]}
        return frozenset(spec.name for spec in self._crossing[start] if spec.name in after)

    def write_stage(self, start: int, stop: int, path: Path) -> None:
        """The sub-model of these blocks; weights beside it, as one file may not pass 2 GiB."""
        import onnx

        from penstock.graph.split import submodel

        part = submodel(self._model, self._starts[start], self._starts[stop])
        weights = f"{path.name}.weights"
        onnx.save(part.proto, path, save_as_external_data=True, location=weights, size_threshold=2**20)


def _read_checked(profile: Profile) -> OnnxModel:
    """The profiled ONNX file; :class:`BadInputError` if it was changed since."""
    from penstock.graph.onnx_reader import read_onnx

    path = Path(profile.model_file or "")
    model = read_onnx(path)
    if profile.model_sha256 is not None and model.sha256 != profile.model_sha256:
        raise BadInputError(
            f"{path}: is not the file that was profiled (its SHA-256 differs). Restore it, or profile again."
        )
    return model


def _specs(names: tuple[str, ...], tensors: Mapping[str, Tensor]) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(name, DATATYPES[tensors[name].dtype], tensors[name].shape) for name in names)
