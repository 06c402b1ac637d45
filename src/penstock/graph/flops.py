"""Arithmetic of an operator from the shapes of its operands; a multiply-add counts as 2.

The table covers what dominates convolutional and attention networks. Data movement counts nothing, and any
other operator one operation for each element it makes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Operands:
    """What a rule sees: shapes of inputs (None where an optional one is absent) and outputs, attributes."""

    inputs: Sequence[Shape | None]
    outputs: Sequence[Shape]
    attributes: Mapping[str, Any]

    def shape(self, position: int) -> Shape:
        """The shape of a required input."""
        shape = self.inputs[position]
        assert shape is not None, f"required operand {position} is absent"
        return shape

    @property
    def made(self) -> int:
        """Elements of the first output."""
        return math.prod(self.outputs[0])

    @property
    def read(self) -> int:
        """Elements of the first input."""
        return math.prod(self.shape(0))


def flops(kind: str, operands: Operands) -> int:
    """Operations of one run of an operator called ``kind`` in ONNX."""
    return _RULES.get(kind, _per_element(1))(operands)


def _per_element(count: int) -> Callable[[Operands], int]:
    return lambda operands: count * operands.made


def _per_input_element(count: int) -> Callable[[Operands], int]:
    return lambda operands: count * operands.read


def _convolution(weight: int) -> Callable[[Operands], int]:
    """Each output element sums over (channels / group) x kernel, the weight's axes after the first."""
    return lambda operands: 2 * operands.made * math.prod(operands.shape(weight)[1:])


def _transposed_convolution(operands: Operands) -> int:
    """Each *input* element is spread over (outputs / group) x kernel."""
    return 2 * operands.read * math.prod(operands.shape(1)[1:])


def _product(operands: Operands) -> int:
    """A matrix product of any rank: each output element sums over the left operand's last axis."""
    return 2 * operands.made * operands.shape(0)[-1]


def _general_product(operands: Operands) -> int:
    left = operands.shape(0)
    return 2 * operands.made * left[0 if operands.attributes.get("transA") else 1]


def _window(operands: Operands) -> int:
    kernel: Sequence[int] = operands.attributes["kernel_shape"]
    return operands.made * math.prod(kernel)


def _recurrent(operands: Operands) -> int:
    """Products with W [directions, gates x hidden, inputs] and R [directions, gates x hidden, hidden].

    X is [time, batch, inputs], or [batch, time, inputs] with layout 1: either way time x batch rows.
    """
    rows = math.prod(operands.shape(0)[:2])
    return 2 * rows * (math.prod(operands.shape(1)) + math.prod(operands.shape(2)))


def _einsum(operands: Operands) -> int:
    """One multiply-add for each combination of indices; an ellipsis is read off the output."""
    equation = operands.attributes["equation"].decode().replace(" ", "")
    lengths: dict[str, int] = {}
    ellipsis: Shape = ()
    for term, shape in zip(equation.partition("->")[0].split(","), operands.inputs, strict=True):
        assert shape is not None
        before, dots, after = term.partition("...")
        middle = shape[len(before) : len(shape) - len(after)] if dots else ()
        ellipsis = max(ellipsis, middle, key=math.prod)
        ends = (*shape[: len(before)], *shape[len(shape) - len(after) :]) if dots else shape
        for letter, length in zip(before + after, ends, strict=True):
            lengths[letter] = max(length, lengths.get(letter, 1))
    return 2 * math.prod(lengths.values()) * math.prod(ellipsis)


_MOVES_DATA = (
    "Cast Compress Concat DepthToSpace Dropout Expand Flatten Gather GatherElements GatherND Identity Pad "
    "Reshape ScatterElements ScatterND Shape Size Slice SpaceToDepth Split Squeeze Tile Transpose Unsqueeze"
)

_RULES: Mapping[str, Callable[[Operands], int]] = {
    **dict.fromkeys(_MOVES_DATA.split(), _per_element(0)),
    "Conv": _convolution(1),
    "ConvInteger": _convolution(1),
    "QLinearConv": _convolution(3),
    "ConvTranspose": _transposed_convolution,
    "Gemm": _general_product,
    "MatMul": _product,
    "MatMulInteger": _product,
    "QLinearMatMul": _product,
    "Einsum": _einsum,
    **dict.fromkeys(("RNN", "GRU", "LSTM"), _recurrent),
    **dict.fromkeys(("MaxPool", "AveragePool", "LpPool"), _window),
    **dict.fromkeys(("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"), _per_input_element(1)),
    **dict.fromkeys(("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin"), _per_input_element(1)),
    **dict.fromkeys(("ReduceProd", "ArgMax", "ArgMin", "TopK"), _per_input_element(1)),
    **dict.fromkeys(("ReduceL1", "ReduceL2", "ReduceSumSquare"), _per_input_element(2)),
    # Statistics are known: one scale and one shift.
    "BatchNormalization": _per_element(2),
    # Mean, difference, variance (2), division, scale, shift.
    **dict.fromkeys(
        ("LayerNormalization", "InstanceNormalization", "GroupNormalization"), _per_input_element(7)
    ),
    # Mean square (2), division, scale.
    "RMSNormalization": _per_input_element(4),
    # Maximum, difference, exponential, sum, division.
    **dict.fromkeys(("Softmax", "LogSoftmax"), _per_element(5)),
    # Negation, exponential, sum, division.
    "Sigmoid": _per_element(4),
}
