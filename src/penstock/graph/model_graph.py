"""A model as a graph: operators in a topological order, and the tensors between them.

Boundary ``p`` of a graph of ``n`` operators lies before operator ``p``; boundary 0 is the model's input and
boundary ``n`` its output. Everything is per sample, so no figure depends on the batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from penstock.errors import BadInputError


@dataclass(frozen=True)
class Tensor:
    """What flows along an edge.

    ``dtype`` is numpy's name. ``shape`` has -1 where a length grows with the batch: the first axis in
    nearly all models, but another in, say, a recurrent network that wants time first. ``batched`` says
    whether there is such an axis. ``bytes_per_sample`` is the size of one sample's part, or of the whole
    tensor where it is not batched. ``rows_per_sample`` is what a sample adds to the -1 axis: 1, but for a
    batch merged with another axis (batch times heads, say).
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    batched: bool
    bytes_per_sample: int
    rows_per_sample: int = 1

    def shape_at(self, samples: int) -> tuple[int, ...]:
        """The shape for a batch of ``samples``."""
        return tuple(samples * self.rows_per_sample if length == -1 else length for length in self.shape)


@dataclass(frozen=True)
class Operator:
    """A node: what it reads and writes, and what it costs.

    ``inputs`` and ``outputs`` name activations only, never weights or constants. ``flops`` are for one
    sample, a multiply-add counted as 2. ``parameter_bytes`` is the size of the weights it reads;
    ``parameters`` names them, so that weights read by several operators are known as such.
    """

    name: str
    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    flops: int
    parameter_bytes: int
    parameters: tuple[str, ...] = ()


@dataclass(frozen=True)
class ModelGraph:
    """The whole model. ``parameters``: bytes of each weight that operators name.

    Raises :class:`BadInputError` unless operator names are unique, each tensor has one maker, and each is
    made before it is used.
    """

    name: str
    operators: tuple[Operator, ...]
    tensors: Mapping[str, Tensor]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    parameters: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        made = set(self.inputs)
        names: set[str] = set()
        for operator in self.operators:
            if operator.name in names:
                raise BadInputError(f"{self.name}: two operators are named {operator.name!r}. Rename one.")
            names.add(operator.name)
            self._check_made(operator.inputs, made, f"operator {operator.name!r} reads")
            for output in operator.outputs:
                if output in made:
                    raise BadInputError(f"{self.name}: tensor {output!r} is made twice. Rename one.")
                made.add(output)
        self._check_made(self.outputs, made, "the model returns")
        if missing := sorted(made - set(self.tensors)):
            raise BadInputError(f"{self.name}: tensor {missing[0]!r} has no entry in tensors. Describe it.")

    def _check_made(self, names: tuple[str, ...], made: set[str], who: str) -> None:
        for name in names:
            if name not in made:
                raise BadInputError(
                    f"{self.name}: {who} tensor {name!r}, which no earlier operator makes. "
                    f"List the operators in topological order."
                )
