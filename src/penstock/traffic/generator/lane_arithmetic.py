"""Arithmetic for the kernel of the default generator: exponentials, gates and products of LANES streams in step.

Vector units work across the lanes, so each stream's sums are taken in one order whatever its neighbours are. Arrays
of a step are (units, LANES).
"""

# mypy: disable-error-code="no-any-return"

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from penstock.kernels import compiled

F32 = NDArray[np.float32]

LANES = 64
"""Streams in step: enough vectors to hide their latency, and the state of 96 units (24 kB) stays in the first cache."""

TERMS = 4
"""Rows and products taken together, so that a loaded value is used several times. The hidden units are a multiple."""


@intrinsic
def _nearest(typing: Any, x: Any) -> Any:
    """The whole number nearest to a float32 above -128, as float32. In 32 bits, or the loop takes half the lanes."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        shifted = builder.fadd(arguments[0], ir.Constant(ir.FloatType(), 128.5))
        whole = builder.sub(builder.fptosi(shifted, ir.IntType(32)), ir.Constant(ir.IntType(32), 128))
        return builder.sitofp(whole, ir.FloatType())

    return types.float32(types.float32), generate


@intrinsic
def _power_of_two(typing: Any, whole: Any) -> Any:
    """2 to a whole number from -126 to 127, both float32: the number goes into the bits of the exponent."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        exponent = builder.add(builder.fptosi(arguments[0], ir.IntType(32)), ir.Constant(ir.IntType(32), 127))
        return builder.bitcast(builder.shl(exponent, ir.Constant(ir.IntType(32), 23)), ir.FloatType())

    return types.float32(types.float32), generate


_LOG2_E = np.float32(1.4426950408889634)
_LN2_HIGH = np.float32(0.693359375)
_LN2_LOW = np.float32(-2.12194440e-4)
_ONE = np.float32(1.0)
_TWO = np.float32(2.0)
_SMALLEST = np.float32(-87.0)
_LARGEST = np.float32(87.0)


@compiled(inline="always", error_model="numpy", fastmath={"contract"})
def exp32(x: np.float32) -> np.float32:
    """exp(x) for x <= 88, within 2e-7: the polynomial of Cephes (expf), free of branches, so that lanes go together."""
    x = max(x, _SMALLEST)
    power = _nearest(x * _LOG2_E)
    r = x - power * _LN2_HIGH - power * _LN2_LOW
    p = np.float32(1.9875691500e-4)
    p = p * r + np.float32(1.3981999507e-3)
    p = p * r + np.float32(8.3334519073e-3)
    p = p * r + np.float32(4.1665795894e-2)
    p = p * r + np.float32(1.6666665459e-1)
    p = p * r + np.float32(5.0000001201e-1)
    p = p * r * r + r + _ONE
    return p * _power_of_two(power)


@compiled(error_model="numpy", fastmath={"contract"})
def multiply(weight: F32, x: F32, out: F32) -> None:
    """``out += weight @ x`` for (rows, units) and (units, LANES); units is a multiple of TERMS."""
    rows, units = weight.shape
    for row in range(0, rows - rows % TERMS, TERMS):
        for k in range(0, units, TERMS):
            a0, a1, a2, a3 = weight[row, k], weight[row, k + 1], weight[row, k + 2], weight[row, k + 3]
            b0, b1, b2, b3 = (
                weight[row + 1, k],
                weight[row + 1, k + 1],
                weight[row + 1, k + 2],
                weight[row + 1, k + 3],
            )
            c0, c1, c2, c3 = (
                weight[row + 2, k],
                weight[row + 2, k + 1],
                weight[row + 2, k + 2],
                weight[row + 2, k + 3],
            )
            d0, d1, d2, d3 = (
                weight[row + 3, k],
                weight[row + 3, k + 1],
                weight[row + 3, k + 2],
                weight[row + 3, k + 3],
            )
            for lane in range(LANES):
                x0, x1, x2, x3 = x[k, lane], x[k + 1, lane], x[k + 2, lane], x[k + 3, lane]
                out[row, lane] += a0 * x0 + a1 * x1 + a2 * x2 + a3 * x3
                out[row + 1, lane] += b0 * x0 + b1 * x1 + b2 * x2 + b3 * x3
                out[row + 2, lane] += c0 * x0 + c1 * x1 + c2 * x2 + c3 * x3
                out[row + 3, lane] += d0 * x0 + d1 * x1 + d2 * x2 + d3 * x3
    for row in range(rows - rows % TERMS, rows):
        for k in range(units):
            a0 = weight[row, k]
            for lane in range(LANES):
                out[row, lane] += a0 * x[k, lane]


@compiled(error_model="numpy", fastmath={"contract"})
def sigmoid_of_sum(x: F32, y: F32) -> None:
    """``x = 1 / (1 + exp(-(x + y)))``, of rows one after another."""
    for at in range(len(x)):
        x[at] = _ONE / (_ONE + exp32(min(-(x[at] + y[at]), _LARGEST)))


@compiled(error_model="numpy", fastmath={"contract"})
def move_state(state: F32, reset: F32, update: F32, new: F32, recurrent: F32) -> None:
    """``state = (1 - update) * tanh(new + reset * recurrent) + update * state``."""
    for at in range(len(state)):
        raw = new[at] + reset[at] * recurrent[at]
        # tanh by the exponential, whose argument is kept from overflow.
        proposed = _TWO / (_ONE + exp32(min(-_TWO * raw, _LARGEST))) - _ONE
        state[at] = proposed + update[at] * (state[at] - proposed)


@compiled(error_model="numpy", fastmath={"contract"})
def exp_of_all(scores: F32) -> None:
    """``scores = exp(scores)``."""
    for at in range(len(scores)):
        scores[at] = exp32(scores[at])
