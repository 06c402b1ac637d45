"""One operator of a program that is being built: its attributes, and what is known of its inputs.

A value is on the device (a tensor, known only when the program runs) or on the host (:class:`HostValue`,
known while the program is built: weights, constants, shapes, and what is computed from those alone).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from penstock.errors import BadInputError

Function = Callable[..., Any]
"""Device tensors by position (None for an input left out) to one tensor, or to a tuple of them."""


class UnsupportedOperatorError(BadInputError):
    """The torch executor has no rule for an operator, or not for what the operator asks."""


@dataclass(frozen=True)
class HostValue:
    """A value known before the program runs, as a tensor on the CPU; ``name`` keys its copy on the device."""

    tensor: Tensor
    name: str


Value: TypeAlias = HostValue | Tensor


@dataclass(frozen=True)
class Node:
    """An operator as its lowering sees it. ``opset`` is that of its domain; ``device`` is where the program runs."""

    kind: str
    name: str
    opset: int
    attributes: Mapping[str, Any]
    inputs: Sequence[Value | None]
    n_outputs: int
    device: torch.device
    compute_dtype: torch.dtype

    def attribute(self, name: str, default: Any = None) -> Any:
        """The attribute's value, or ``default``."""
        return self.attributes.get(name, default)

    def has(self, index: int) -> bool:
        """Whether input ``index`` is given."""
        return index < len(self.inputs) and self.inputs[index] is not None

    def shape(self, index: int = 0) -> tuple[int, ...]:
        """The shape of input ``index``."""
        return tuple(self._tensor(index).shape)

    def rank(self, index: int = 0) -> int:
        """The number of dimensions of input ``index``."""
        return int(self._tensor(index).dim())

    def dtype(self, index: int = 0) -> torch.dtype:
        """The element type of input ``index``, as it will be on the device."""
        dtype = self._tensor(index).dtype
        return self.compute_dtype if self.is_known(index) and dtype == torch.float32 else dtype

    def is_known(self, index: int) -> bool:
        """Whether input ``index`` is known before the program runs."""
        return self.has(index) and isinstance(self.inputs[index], HostValue)

    def known(self, index: int) -> Tensor:
        """The CPU tensor of input ``index``; :class:`UnsupportedOperatorError` if it depends on data."""
        value = self.inputs[index]
        if not isinstance(value, HostValue):
            raise self.refusal(f"input {index} depends on the data of the request")
        return value.tensor

    def ints(self, index: int) -> list[int]:
        """Input ``index`` as whole numbers: axes, shapes, repeats."""
        return [int(x) for x in self.known(index).reshape(-1).tolist()]

    def floats(self, index: int) -> list[float]:
        """Input ``index`` as numbers."""
        return [float(x) for x in self.known(index).reshape(-1).tolist()]

    def axes(self, index: int, attribute: str = "axes") -> list[int] | None:
        """Axes from input ``index`` (newer opsets) or the attribute (older ones); None where neither is given."""
        if self.has(index):
            return self.ints(index)
        given = self.attribute(attribute)
        return None if given is None else [int(x) for x in given]

    def refusal(self, reason: str) -> UnsupportedOperatorError:
        """The error that names this operator."""
        return UnsupportedOperatorError(
            f"operator {self.kind} (node {self.name!r}, opset {self.opset}) cannot be run by the torch executor: "
            f"{reason}. Use --executor onnxruntime for this device class, or cut the model so that another "
            f"class runs it."
        )

    def _tensor(self, index: int) -> Tensor:
        if not self.has(index):
            raise self.refusal(f"input {index} is missing")
        value = self.inputs[index]
        return value.tensor if isinstance(value, HostValue) else value


_TORCH_DTYPES = {
    1: torch.float32,
    2: torch.uint8,
    3: torch.int8,
    5: torch.int16,
    6: torch.int32,
    7: torch.int64,
    9: torch.bool,
    10: torch.float16,
    11: torch.float64,
    16: torch.bfloat16,
}


def torch_dtype(node: Node, element_type: int) -> torch.dtype:
    """The torch type of an ONNX element type; float32 becomes the program's compute type."""
    if element_type not in _TORCH_DTYPES:
        raise node.refusal(f"torch has no type for ONNX element type {element_type}")
    found = _TORCH_DTYPES[element_type]
    return node.compute_dtype if found == torch.float32 else found
