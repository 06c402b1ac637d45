"""Pooling."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.nn import functional

from penstock.runtime.lowering.convolution_ops import torch_pad, window_pads
from penstock.runtime.lowering.node import Function, Node
from penstock.runtime.lowering.registry import lowers

_MAX = {1: functional.max_pool1d, 2: functional.max_pool2d, 3: functional.max_pool3d}
_MEAN: dict[int, Any] = {1: functional.avg_pool1d, 2: functional.avg_pool2d, 3: functional.avg_pool3d}


@lowers("MaxPool")
def _max_pool(node: Node) -> Function:
    if node.n_outputs > 1 or node.attribute("storage_order", 0):
        raise node.refusal("its indices are used")
    kernel = node.attribute("kernel_shape")
    pool = _MAX[len(kernel)]
    strides = node.attribute("strides", [1] * len(kernel))
    dilations = node.attribute("dilations", [1] * len(kernel))
    ceil_mode = bool(node.attribute("ceil_mode", 0))
    begins, ends = window_pads(node, kernel, strides, dilations)
    # torch pads at most half a window, and equally at both ends.
    if begins == ends and all(2 * pad <= window for pad, window in zip(begins, kernel, strict=True)):
        return lambda x: pool(x, kernel, strides, begins, dilations, ceil_mode)
    extra = torch_pad(begins, ends)
    return lambda x: pool(functional.pad(x, extra, value=-math.inf), kernel, strides, 0, dilations, ceil_mode)


@lowers("AveragePool")
def _average_pool(node: Node) -> Function:
    kernel = node.attribute("kernel_shape")
    pool = _MEAN[len(kernel)]
    strides = node.attribute("strides", [1] * len(kernel))
    dilations = node.attribute("dilations", [1] * len(kernel))
    if any(dilation != 1 for dilation in dilations):
        raise node.refusal("dilations of an average pool are not taken")
    ceil_mode = bool(node.attribute("ceil_mode", 0))
    counts_pads = bool(node.attribute("count_include_pad", 0))
    begins, ends = window_pads(node, kernel, strides, dilations)
    if begins == ends and all(2 * pad <= window for pad, window in zip(begins, kernel, strict=True)):
        return lambda x: pool(x, kernel, strides, begins, ceil_mode, counts_pads)
    extra = torch_pad(begins, ends)
    if counts_pads:
        return lambda x: pool(functional.pad(x, extra), kernel, strides, 0, ceil_mode)
    ones = torch.ones((1, 1, *node.shape()[2:]), dtype=node.dtype(), device=node.device)
    inside = pool(functional.pad(ones, extra), kernel, strides, 0, ceil_mode)
    return lambda x: pool(functional.pad(x, extra), kernel, strides, 0, ceil_mode) / inside


@lowers("GlobalAveragePool", "GlobalMaxPool")
def _global_pool(node: Node) -> Function:
    axes = list(range(2, node.rank()))
    reduce: Any = torch.mean if node.kind == "GlobalAveragePool" else torch.amax
    return lambda x: reduce(x, axes, keepdim=True)
