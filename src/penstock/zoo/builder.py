"""A small builder of ONNX graphs for convolutional networks.

Each method adds one operator and returns the tensor that it makes, with a known shape. So architectures
look like the tables of their papers. Invariants: every tensor is float32 ``[batch, ...]`` with a symbolic
batch; an operator is named after its output tensor; every shape is recorded in the graph, so the size of a cut
is known without shape inference. Names are similar to torchvision's modules.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import onnx
from onnx import TensorProto, helper

from penstock.zoo.parameters import ParameterStore

# Every onnxruntime since 1.12 (2022) loads opset 17 with IR 8.
OPSET = 17
IR_VERSION = 8

Pair = int | tuple[int, int]
"""One number for both directions, or (vertical, horizontal)."""


@dataclass(frozen=True)
class Tensor:
    """A named tensor. ``shape`` is that of one sample: (channels, height, width) or (features,)."""

    name: str
    shape: tuple[int, ...]

    @property
    def channels(self) -> int:
        """The first axis after the batch."""
        return self.shape[0]


class NetworkBuilder:
    """Builds one graph, operator by operator. :meth:`model` ends it."""

    def __init__(self, name: str, seed: int) -> None:
        self._name = name
        self._seed = seed
        self._parameters = ParameterStore(seed)
        self._nodes: list[onnx.NodeProto] = []
        self._inputs: list[Tensor] = []
        self._tensors: dict[str, Tensor] = {}

    def image(self, size: int) -> Tensor:
        """The input: a colour image of ``size`` by ``size`` pixels, normalised to values near one."""
        image = Tensor("input", (3, size, size))
        self._inputs.append(image)
        return image

    def conv(
        self,
        x: Tensor,
        channels: int,
        kernel: Pair,
        *,
        name: str,
        stride: int = 1,
        padding: Pair = 0,
        groups: int = 1,
        bias: bool = False,
        gain: float = 2.0,
        parameters: str | None = None,
    ) -> Tensor:
        """A convolution. ``gain`` is 2 before a rectifier, because that halves the signal, and 1 elsewhere.

        ``parameters`` names the weights if the name is not ``name``. Convolutions with the same name share weights.
        """
        owner = parameters or name
        rows, columns = _pair(kernel)
        operands = [
            x.name,
            self._parameters.weight(f"{owner}.weight", (channels, x.channels // groups, rows, columns), gain),
        ]
        if bias:
            operands.append(self._parameters.bias(f"{owner}.bias", channels))
        window = _window(kernel, stride, padding)
        shape = (channels, *_slide(x, kernel, stride, padding))
        return self._append("Conv", operands, name, shape, group=groups, **window)

    def batch_norm(self, x: Tensor, *, name: str, epsilon: float = 1e-5, scale: float = 1.0) -> Tensor:
        """Batch normalisation as at inference, with running statistics of a nearly normal signal.

        ``scale`` is the mean of the learned scale: 1, or less at the end of a residual branch.
        """
        statistics = self._parameters.batch_norm(name, x.channels, scale)
        return self._append("BatchNormalization", [x.name, *statistics], name, x.shape, epsilon=epsilon)

    def relu(self, x: Tensor) -> Tensor:
        """The rectifier."""
        return self._append("Relu", [x.name], f"{x.name}.relu", x.shape)

    def relu6(self, x: Tensor) -> Tensor:
        """The rectifier with a maximum of 6."""
        bounds = [self._parameters.constant("relu6.min", 0.0), self._parameters.constant("relu6.max", 6.0)]
        return self._append("Clip", [x.name, *bounds], f"{x.name}.relu6", x.shape)

    def max_pool(
        self, x: Tensor, kernel: int, stride: int, *, name: str, padding: int = 0, ceil: bool = False
    ) -> Tensor:
        """Maximum over windows. ``ceil`` lets the last window extend beyond the edge."""
        shape = (x.channels, *_slide(x, kernel, stride, padding, ceil=ceil))
        window = _window(kernel, stride, padding)
        return self._append("MaxPool", [x.name], name, shape, ceil_mode=int(ceil), **window)

    def average_pool(self, x: Tensor, kernel: int, stride: int, *, name: str, padding: int = 0) -> Tensor:
        """Mean over windows. Padding counts as zeros, as in the reference implementations."""
        shape = (x.channels, *_slide(x, kernel, stride, padding))
        window = _window(kernel, stride, padding)
        return self._append("AveragePool", [x.name], name, shape, count_include_pad=1, **window)

    def global_average_pool(self, x: Tensor, *, name: str = "avgpool") -> Tensor:
        """Mean over the whole map: (channels, 1, 1)."""
        return self._append("GlobalAveragePool", [x.name], name, (x.channels, 1, 1))

    def flatten(self, x: Tensor, *, name: str = "flatten") -> Tensor:
        """All axes except the batch, merged into one."""
        return self._append("Flatten", [x.name], name, (math.prod(x.shape),), axis=1)

    def linear(self, x: Tensor, features: int, *, name: str, parameters: str | None = None) -> Tensor:
        """A fully connected layer with bias. ``parameters`` as in :meth:`conv`."""
        owner = parameters or name
        weight = self._parameters.weight(f"{owner}.weight", (features, x.channels), 1.0)
        bias = self._parameters.bias(f"{owner}.bias", features)
        return self._append("Gemm", [x.name, weight, bias], name, (features,), transB=1)

    def add(self, x: Tensor, y: Tensor, *, name: str) -> Tensor:
        """The sum of two tensors of one shape."""
        assert x.shape == y.shape, f"{name}: {x} + {y}"
        return self._append("Add", [x.name, y.name], name, x.shape)

    def concat(self, parts: Sequence[Tensor], *, name: str) -> Tensor:
        """Maps of one size, joined along the channels."""
        assert len({part.shape[1:] for part in parts}) == 1, f"{name}: {parts}"
        shape = (sum(part.channels for part in parts), *parts[0].shape[1:])
        return self._append("Concat", [part.name for part in parts], name, shape, axis=1)

    def double(self, x: Tensor, *, name: str) -> Tensor:
        """Twice the height and width, each value repeated (nearest neighbour)."""
        factors = self._parameters.constant("double.scales", [1.0, 1.0, 2.0, 2.0])
        shape = (x.channels, 2 * x.shape[1], 2 * x.shape[2])
        nearest = {
            "mode": "nearest",
            "coordinate_transformation_mode": "asymmetric",
            "nearest_mode": "floor",
        }
        return self._append("Resize", [x.name, "", factors], name, shape, **nearest)

    def classifier(self, x: Tensor, classes: int, *, parameters: str) -> tuple[Tensor]:
        """The usual end: the mean over the map, then one fully connected layer that gives ``logits``."""
        features = self.flatten(self.global_average_pool(x))
        return (self.linear(features, classes, name="logits", parameters=parameters),)

    def model(self, outputs: Sequence[Tensor]) -> onnx.ModelProto:
        """The finished model, with ``outputs`` in this order."""
        names = {tensor.name for tensor in outputs}
        graph = helper.make_graph(
            self._nodes,
            self._name,
            [_value_info(tensor) for tensor in self._inputs],
            [_value_info(tensor) for tensor in outputs],
            initializer=self._parameters.initializers,
            value_info=[_value_info(each) for each in self._tensors.values() if each.name not in names],
        )
        return helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="penstock",
            doc_string=f"{self._name} with random weights, seed {self._seed}",
        )

    def _append(
        self, operator: str, operands: list[str], name: str, shape: tuple[int, ...], **attributes: Any
    ) -> Tensor:
        self._nodes.append(helper.make_node(operator, operands, [name], name=name, **attributes))
        return self._record(Tensor(name, shape))

    def _record(self, tensor: Tensor) -> Tensor:
        assert tensor.name not in self._tensors, f"two tensors named {tensor.name}"
        self._tensors[tensor.name] = tensor
        return tensor


def _pair(value: Pair) -> tuple[int, int]:
    return value if isinstance(value, tuple) else (value, value)


def _window(kernel: Pair, stride: int, padding: Pair) -> dict[str, list[int]]:
    """The attributes of a sliding window. Pads are (top, left, bottom, right)."""
    return {
        "kernel_shape": [*_pair(kernel)],
        "strides": [stride, stride],
        "pads": [*_pair(padding), *_pair(padding)],
    }


def _slide(x: Tensor, kernel: Pair, stride: int, padding: Pair, *, ceil: bool = False) -> tuple[int, int]:
    """Height and width of the result of a sliding window over ``x``."""
    rounded = math.ceil if ceil else math.floor
    height, width = (
        rounded((extent + 2 * pad - reach) / stride) + 1
        for extent, reach, pad in zip(x.shape[1:], _pair(kernel), _pair(padding), strict=True)
    )
    return height, width


def _value_info(tensor: Tensor) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(tensor.name, TensorProto.FLOAT, ["batch", *tensor.shape])
