"""Seeded parameters of a network. One generator draws them once, in the order of the graph.

Scales are chosen so that signals stay finite and near one through the deepest model, without any
training. Weights are those of He et al., "Delving Deep into Rectifiers" (arXiv:1502.01852), section 2.2.
Batch-normalisation statistics are near those of a normalised signal.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

Values = NDArray[np.float32]

# Operand positions that hold learned values. A batch normalisation's running mean and variance
# (3 and 4) are measured, not learned, so published counts leave them out.
_LEARNED = {"Conv": (1, 2), "Gemm": (1, 2), "BatchNormalization": (1, 2)}


class ParameterStore:
    """The initializers of one graph, by name.

    A second request for a name gives the same values. In this way layers share weights. If the second request
    has another shape, that is an error of the caller.
    """

    def __init__(self, seed: int) -> None:
        self._generator = np.random.default_rng(seed)
        self._shapes: dict[str, tuple[int, ...]] = {}
        self.initializers: list[onnx.TensorProto] = []

    def weight(self, name: str, shape: tuple[int, ...], gain: float) -> str:
        """Normal values of variance ``gain / fan-in``. The fan-in is the product of all but ``shape[0]``."""
        deviation = np.float32(np.sqrt(gain / np.prod(shape[1:])))
        return self._once(name, shape, lambda: self._normal(shape) * deviation)

    def bias(self, name: str, size: int) -> str:
        """Small normal values around 0."""
        return self._once(name, (size,), lambda: self._normal((size,)) * np.float32(0.01))

    def batch_norm(self, name: str, size: int, scale: float) -> tuple[str, str, str, str]:
        """Scale (around ``scale``), shift, running mean and running variance, each of ``size`` channels."""
        return (
            self._once(f"{name}.weight", (size,), lambda: self._uniform(size, 0.9, 1.1) * np.float32(scale)),
            self._once(f"{name}.bias", (size,), lambda: self._normal((size,)) * np.float32(0.1 * scale)),
            self._once(f"{name}.running_mean", (size,), lambda: self._normal((size,)) * np.float32(0.1)),
            self._once(f"{name}.running_var", (size,), lambda: self._uniform(size, 0.8, 1.25)),
        )

    def constant(self, name: str, values: float | list[float]) -> str:
        """A fixed float32 operand (bounds of a clip, factors of a resize)."""
        array = np.asarray(values, dtype=np.float32)
        return self._once(name, array.shape, lambda: array)

    def _once(self, name: str, shape: tuple[int, ...], draw: Callable[[], Values]) -> str:
        if name not in self._shapes:
            self._shapes[name] = shape
            self.initializers.append(numpy_helper.from_array(draw(), name))
        assert self._shapes[name] == shape, f"{name}: shared as {self._shapes[name]} and {shape}"
        return name

    def _normal(self, shape: tuple[int, ...]) -> Values:
        return self._generator.standard_normal(shape, dtype=np.float32)

    def _uniform(self, size: int, low: float, high: float) -> Values:
        return self._generator.uniform(low, high, size).astype(np.float32)


def parameter_count(model: onnx.ModelProto) -> int:
    """Learned values in ``model``: weights and biases of Conv, Gemm and BatchNormalization.

    Shared values count once. Running statistics and constants do not count.
    """
    sizes = {each.name: int(np.prod(each.dims, dtype=np.int64)) for each in model.graph.initializer}
    learned = {
        node.input[position]
        for node in model.graph.node
        for position in _LEARNED.get(node.op_type, ())
        if position < len(node.input)
    }
    return sum(sizes[name] for name in learned if name in sizes)
