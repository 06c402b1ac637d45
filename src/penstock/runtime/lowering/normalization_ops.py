"""Normalisations and softmax. In 16 bits torch accumulates their statistics in float32."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from penstock.runtime.lowering.node import Function, Node
from penstock.runtime.lowering.registry import lowers


@lowers("BatchNormalization")
def _batch_normalization(node: Node) -> Function:
    if node.n_outputs > 1 or node.attribute("training_mode", 0):
        raise node.refusal("training mode")
    epsilon = node.attribute("epsilon", 1e-5)
    return lambda x, scale, bias, mean, variance: functional.batch_norm(
        x, mean, variance, scale, bias, False, 0.0, epsilon
    )


@lowers("InstanceNormalization")
def _instance_normalization(node: Node) -> Function:
    epsilon = node.attribute("epsilon", 1e-5)
    return lambda x, scale, bias: functional.instance_norm(x, weight=scale, bias=bias, eps=epsilon)


@lowers("LayerNormalization")
def _layer_normalization(node: Node) -> Function:
    if node.n_outputs > 1:
        raise node.refusal("its mean or deviation is used")
    axis = node.attribute("axis", -1) % node.rank()
    normalized = node.shape()[axis:]
    epsilon = node.attribute("epsilon", 1e-5)
    if node.shape(1) != normalized or (node.has(2) and node.shape(2) != normalized):
        # A scale of fewer dimensions broadcasts.
        return lambda x, scale, bias=None: (
            functional.layer_norm(x, normalized, eps=epsilon) * scale + (0 if bias is None else bias)
        )
    return lambda x, scale, bias=None: functional.layer_norm(x, normalized, scale, bias, epsilon)


@lowers("RMSNormalization", "SimplifiedLayerNormalization")
def _rms_normalization(node: Node) -> Function:
    axis = node.attribute("axis", -1) % node.rank()
    normalized = list(node.shape()[axis:])
    epsilon = node.attribute("epsilon", 1e-5)
    return lambda x, scale: functional.rms_norm(x, normalized, eps=epsilon) * scale


@lowers("SkipLayerNormalization", domain="com.microsoft")
def _skip_layer_normalization(node: Node) -> Function:
    if node.n_outputs > 1:
        raise node.refusal("more outputs than the first are used")
    epsilon = node.attribute("epsilon", 1e-12)

    def run(
        x: Tensor, skip: Tensor, gamma: Tensor, beta: Tensor | None = None, bias: Tensor | None = None
    ) -> Tensor:
        total = x + skip if bias is None else x + skip + bias
        return functional.layer_norm(total, total.shape[-1:], gamma, beta, epsilon)

    return run


@lowers("GroupNormalization")
def _group_normalization(node: Node) -> Function:
    if node.opset < 21:
        raise node.refusal("before opset 21 its scale is by group, not by channel")
    groups, epsilon = node.attribute("num_groups"), node.attribute("epsilon", 1e-5)
    return lambda x, scale, bias: functional.group_norm(x, groups, scale, bias, epsilon)


@lowers("LRN")
def _local_response_normalization(node: Node) -> Function:
    size, bias = node.attribute("size"), node.attribute("bias", 1.0)
    alpha, beta = node.attribute("alpha", 1e-4), node.attribute("beta", 0.75)
    if size % 2 == 0:
        raise node.refusal(f"size (={size}) is even: torch pads the window on the other side")
    return lambda x: functional.local_response_norm(x, size, alpha, beta, bias)


@lowers("LpNormalization")
def _lp_normalization(node: Node) -> Function:
    axis, p = node.attribute("axis", -1), node.attribute("p", 2)
    return lambda x: functional.normalize(x, p=p, dim=axis, eps=1e-38)


@lowers("Softmax", "LogSoftmax")
def _softmax(node: Node) -> Function:
    function = functional.softmax if node.kind == "Softmax" else functional.log_softmax
    if node.opset >= 13:
        axis = node.attribute("axis", -1)
        return lambda x: function(x, dim=axis)
    # Before opset 13 all axes from ``axis`` on are one.
    axis = node.attribute("axis", 1) % node.rank()
    shape = node.shape()
    return lambda x: function(x.flatten(axis), dim=axis).reshape(shape)
