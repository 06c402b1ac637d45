"""Operators that treat each element alike: arithmetic, comparison, activation, casts."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from penstock.runtime.lowering.node import Function, Node, torch_dtype
from penstock.runtime.lowering.registry import lowers

_UNARY: dict[str, Callable[[Tensor], Tensor]] = {
    "Abs": torch.abs,
    "Acos": torch.acos,
    "Asin": torch.asin,
    "Atan": torch.atan,
    "Ceil": torch.ceil,
    "Cos": torch.cos,
    "Cosh": torch.cosh,
    "Erf": torch.erf,
    "Exp": torch.exp,
    "Floor": torch.floor,
    "HardSwish": functional.hardswish,
    "IsNaN": torch.isnan,
    "Log": torch.log,
    "Mish": functional.mish,
    "Neg": torch.neg,
    "Not": torch.logical_not,
    "Reciprocal": torch.reciprocal,
    "Relu": torch.relu,
    "Round": torch.round,  # both round halves to even
    "Sigmoid": torch.sigmoid,
    "Sign": torch.sign,
    "Sin": torch.sin,
    "Sinh": torch.sinh,
    "Softplus": functional.softplus,
    "Softsign": functional.softsign,
    "Sqrt": torch.sqrt,
    "Tan": torch.tan,
    "Tanh": torch.tanh,
}

_BINARY: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "Add": torch.add,
    "And": torch.logical_and,
    "Equal": torch.eq,
    "Greater": torch.gt,
    "GreaterOrEqual": torch.ge,
    "Less": torch.lt,
    "LessOrEqual": torch.le,
    "Mul": torch.mul,
    "Or": torch.logical_or,
    "Sub": torch.sub,
    "Xor": torch.logical_xor,
}


@lowers(*_UNARY)
def _unary(node: Node) -> Function:
    return _UNARY[node.kind]


@lowers(*_BINARY)
def _binary(node: Node) -> Function:
    return _BINARY[node.kind]


@lowers("Identity", "Dropout")
def _identity(node: Node) -> Function:
    if node.n_outputs > 1:
        raise node.refusal("its mask output is used")
    if node.kind == "Dropout" and node.has(2) and bool(node.known(2)) and not _drops_nothing(node):
        raise node.refusal("training mode makes it random")
    return lambda x, *_: x


def _drops_nothing(node: Node) -> bool:
    return node.has(1) and float(node.known(1)) == 0.0


@lowers("Div")
def _div(node: Node) -> Function:
    if node.dtype().is_floating_point:
        return functools.partial(torch.div)
    # ONNX divides whole numbers as C does: towards zero.
    return functools.partial(torch.div, rounding_mode="trunc")


@lowers("Mod")
def _mod(node: Node) -> Function:
    function: Function = torch.fmod if node.attribute("fmod", 0) else torch.remainder
    return function


@lowers("Pow")
def _pow(node: Node) -> Function:
    if node.is_known(1) and node.known(1).numel() == 1:
        exponent = float(node.known(1).reshape(()))
        return lambda x, _: torch.pow(x, exponent).to(x.dtype)
    return lambda x, y: torch.pow(x, y).to(x.dtype)


@lowers("Max", "Min", "Sum", "Mean")
def _variadic(node: Node) -> Function:
    pairwise: Callable[[Any, Any], Any] = {"Max": torch.maximum, "Min": torch.minimum}.get(
        node.kind, operator.add
    )
    scale = 1.0 / len(node.inputs) if node.kind == "Mean" else None

    def run(*tensors: Tensor) -> Any:
        total = functools.reduce(pairwise, tensors)
        return total if scale is None else total * scale

    return run


@lowers("Where")
def _where(node: Node) -> Function:
    function: Function = torch.where
    return function


@lowers("Cast")
def _cast(node: Node) -> Function:
    dtype = torch_dtype(node, node.attribute("to"))
    return lambda x: x.to(dtype)


@lowers("CastLike")
def _cast_like(node: Node) -> Function:
    dtype = node.dtype(1)
    return lambda x, _: x.to(dtype)


@lowers("Clip")
def _clip(node: Node) -> Function:
    low, high = (_bound(node, 1, "min"), _bound(node, 2, "max"))
    if low is None and high is None:
        return lambda x, *_: x
    return lambda x, *_: torch.clamp(x, low, high)


def _bound(node: Node, index: int, attribute: str) -> float | int | None:
    if not node.has(index):
        bound: float | int | None = node.attribute(attribute)
        return bound
    value: float | int = node.known(index).reshape(()).item()
    return value


@lowers("LeakyRelu")
def _leaky_relu(node: Node) -> Function:
    return functools.partial(functional.leaky_relu, negative_slope=node.attribute("alpha", 0.01))


@lowers("PRelu")
def _prelu(node: Node) -> Function:
    return lambda x, slope: torch.where(x < 0, x * slope, x)


@lowers("Elu")
def _elu(node: Node) -> Function:
    return functools.partial(functional.elu, alpha=node.attribute("alpha", 1.0))


@lowers("Selu")
def _selu(node: Node) -> Function:
    alpha = node.attribute("alpha", 1.6732632423543772)
    gamma = node.attribute("gamma", 1.0507009873554805)
    return lambda x: gamma * torch.where(x > 0, x, alpha * torch.expm1(x))


@lowers("HardSigmoid")
def _hard_sigmoid(node: Node) -> Function:
    alpha, beta = node.attribute("alpha", 0.2), node.attribute("beta", 0.5)
    return lambda x: torch.clamp(alpha * x + beta, 0, 1)


@lowers("Gelu")
def _gelu(node: Node) -> Function:
    return functools.partial(functional.gelu, approximate=node.attribute("approximate", "none"))


@lowers("Gelu", domain="com.microsoft")
def _microsoft_gelu(node: Node) -> Function:
    function: Function = functional.gelu
    return function


@lowers("FastGelu", domain="com.microsoft")
def _fast_gelu(node: Node) -> Function:
    return lambda x, bias=None: functional.gelu(x if bias is None else x + bias, approximate="tanh")


@lowers("BiasGelu", domain="com.microsoft")
def _bias_gelu(node: Node) -> Function:
    return lambda x, bias: functional.gelu(x + bias)


@lowers("QuickGelu", domain="com.microsoft")
def _quick_gelu(node: Node) -> Function:
    alpha = node.attribute("alpha", 1.702)
    return lambda x: x * torch.sigmoid(alpha * x)


@lowers("IsInf")
def _is_inf(node: Node) -> Function:
    negative, positive = node.attribute("detect_negative", 1), node.attribute("detect_positive", 1)
    return lambda x: ((x == math.inf) & bool(positive)) | ((x == -math.inf) & bool(negative))
