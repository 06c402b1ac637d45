"""Convolutions, with ONNX's paddings: begin and end may differ, or follow from ``auto_pad``."""

from __future__ import annotations

from collections.abc import Sequence

from torch.nn import functional

from penstock.runtime.lowering.node import Function, Node
from penstock.runtime.lowering.registry import lowers

_CONVOLUTIONS = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
_TRANSPOSED = {1: functional.conv_transpose1d, 2: functional.conv_transpose2d, 3: functional.conv_transpose3d}


def window_pads(
    node: Node, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> tuple[list[int], list[int]]:
    """Padding at the begin and the end of each spatial axis."""
    rank = len(kernel)
    mode = node.attribute("auto_pad", "NOTSET")
    if mode == "NOTSET":
        pads = node.attribute("pads", [0] * 2 * rank)
        return list(pads[:rank]), list(pads[rank:])
    if mode == "VALID":
        return [0] * rank, [0] * rank
    begins, ends = [], []
    for size, window, stride, dilation in zip(node.shape()[2:], kernel, strides, dilations, strict=True):
        total = max((-(-size // stride) - 1) * stride + (window - 1) * dilation + 1 - size, 0)
        less, more = total // 2, total - total // 2
        begins.append(less if mode == "SAME_UPPER" else more)
        ends.append(more if mode == "SAME_UPPER" else less)
    return begins, ends


def torch_pad(begins: Sequence[int], ends: Sequence[int]) -> list[int]:
    """Paddings in the order of :func:`torch.nn.functional.pad`: the last axis first."""
    return [size for pair in zip(reversed(list(begins)), reversed(list(ends)), strict=True) for size in pair]


@lowers("Conv")
def _conv(node: Node) -> Function:
    kernel = node.shape(1)[2:]
    if len(kernel) not in _CONVOLUTIONS:
        raise node.refusal(f"{len(kernel)} spatial dimensions")
    convolve = _CONVOLUTIONS[len(kernel)]
    strides = node.attribute("strides", [1] * len(kernel))
    dilations = node.attribute("dilations", [1] * len(kernel))
    group = node.attribute("group", 1)
    begins, ends = window_pads(node, kernel, strides, dilations)
    if begins == ends:
        return lambda x, w, b=None: convolve(x, w, b, strides, begins, dilations, group)
    extra = torch_pad(begins, ends)
    return lambda x, w, b=None: convolve(functional.pad(x, extra), w, b, strides, 0, dilations, group)


@lowers("ConvTranspose")
def _conv_transpose(node: Node) -> Function:
    kernel = node.shape(1)[2:]
    if len(kernel) not in _TRANSPOSED:
        raise node.refusal(f"{len(kernel)} spatial dimensions")
    if node.attribute("auto_pad", "NOTSET") not in ("NOTSET", "VALID") or node.attribute("output_shape"):
        raise node.refusal("auto_pad and output_shape are not taken; give pads")
    convolve = _TRANSPOSED[len(kernel)]
    strides = node.attribute("strides", [1] * len(kernel))
    dilations = node.attribute("dilations", [1] * len(kernel))
    group = node.attribute("group", 1)
    output_padding = node.attribute("output_padding", [0] * len(kernel))
    pads = node.attribute("pads", [0] * 2 * len(kernel))
    begins, ends = list(pads[: len(kernel)]), list(pads[len(kernel) :])
    if begins == ends:
        return lambda x, w, b=None: convolve(x, w, b, strides, begins, output_padding, group, dilations)
    # Padding of a transposed convolution crops its output.
    crop = torch_pad([-size for size in begins], [-size for size in ends])
    return lambda x, w, b=None: functional.pad(
        convolve(x, w, b, strides, 0, output_padding, group, dilations), crop
    )
