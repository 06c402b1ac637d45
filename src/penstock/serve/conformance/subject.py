"""A request that a model takes, made from its metadata: one sample, of small random numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from penstock.errors import BadInputError
from penstock.serve.conformance.framework import NotApplicableError
from penstock.serve.protocol.datatypes import BYTES, RAW_ONLY, numpy_dtype
from penstock.serve.protocol.infer import Tensor
from penstock.serve.protocol.raw import Array


@final
@dataclass(frozen=True)
class Subject:
    """The model under test: ``(name, datatype, shape)`` of inputs and outputs."""

    name: str
    versions: tuple[str, ...]
    inputs: tuple[tuple[str, str, tuple[int, ...]], ...]
    outputs: tuple[tuple[str, str, tuple[int, ...]], ...]

    @property
    def is_batched(self) -> bool:
        """Whether every tensor leaves its first length open."""
        return all(shape[:1] == (-1,) for _, _, shape in (*self.inputs, *self.outputs))

    @property
    def has_json(self) -> bool:
        """Whether every tensor has a form in JSON."""
        return all(kind not in RAW_ONLY for _, kind, _ in (*self.inputs, *self.outputs))

    def needs_json(self) -> None:
        """Skip a check unless the model can be asked in JSON."""
        if not self.has_json:
            raise NotApplicableError("the model has FP16 or BF16 tensors, which have no form in JSON")

    def needs_batch(self) -> None:
        """Skip a check unless the model takes several samples."""
        if not self.is_batched:
            raise NotApplicableError("the model takes one sample only")

    def tensors(self, samples: int = 1, seed: int = 0) -> tuple[Tensor, ...]:
        """Inputs; open lengths are 1, but for the first, which is ``samples``."""
        rng = np.random.default_rng(seed)
        return tuple(
            Tensor(name, kind, _values(kind, _closed(shape, samples), rng))
            for name, kind, shape in self.inputs
        )


def subject_of(
    name: str,
    versions: Sequence[str],
    inputs: Sequence[tuple[str, str, Sequence[int]]],
    outputs: Sequence[tuple[str, str, Sequence[int]]],
) -> Subject:
    """Check the metadata and keep it; :class:`BadInputError` if a request cannot be made from it."""
    if not inputs or not outputs:
        raise BadInputError(
            f"model {name!r} has {len(inputs)} inputs and {len(outputs)} outputs: choose another with --model."
        )
    both = [tuple((n, k, tuple(int(x) for x in s)) for n, k, s in side) for side in (inputs, outputs)]
    return Subject(name, tuple(versions), *both)


def _closed(shape: Sequence[int], samples: int) -> tuple[int, ...]:
    return tuple((samples if at == 0 else 1) if length < 0 else length for at, length in enumerate(shape))


def _values(kind: str, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    if kind == BYTES:
        return np.full(shape, b"0", dtype=object)
    dtype = numpy_dtype(kind)
    if kind == "BF16":
        return np.zeros(shape, dtype)
    if dtype.kind == "f":
        return rng.uniform(0.0, 1.0, shape).astype(dtype)
    return rng.integers(0, 2, shape).astype(dtype)
