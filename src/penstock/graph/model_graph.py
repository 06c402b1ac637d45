"""A model as a graph: operators in a topological order, and the tensors between them.

Boundary ``p`` of a graph of ``n`` operators is before operator ``p``. Boundary 0 is the model's input, and
boundary ``n`` is its output. All values are per sample, so none depends on the batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from penstock.errors import BadInputError


@dataclass(frozen=True)
class Tensor:
    """The data along an edge.

    ``dtype`` is numpy's name. ``shape`` has -1 for a length that grows with the batch. This is the first axis in
    nearly all models, but another one in, for example, a recurrent network whose first axis is time. ``batched`` says
    whether there is such an axis. ``bytes_per_sample`` is the size of one sample's part, or of the whole
    tensor if it is not batched. ``rows_per_sample`` is how much a sample adds to the -1 axis. It is 1, unless the
    batch is merged with another axis (batch times heads, for example).
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

    ``inputs`` and ``outputs`` name only activations, never weights or constants. ``flops`` are for one
    sample. A multiply-add counts as 2. ``parameter_bytes`` is the size of the weights it reads.
    ``parameters`` names them, so that weights read by several operators can be recognised. ``steps`` is how many
    runs follow one another (a recurrence). ``step_bytes`` are the weights that it reads again in each step.
    ``groups`` is the number of groups of a convolution.
    """

    name: str
    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    flops: int
    parameter_bytes: int
    parameters: tuple[str, ...] = ()
    steps: int = 1
    step_bytes: int = 0
    groups: int = 1


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

    @property
    def is_batched(self) -> bool:
        """Whether several samples can run at once: some input has a batch."""
        return any(self.tensors[name].batched for name in self.inputs)

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
