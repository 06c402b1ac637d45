"""Resize and Upsample: separable, with the source index of every output index computed beforehand.

The formulas are those of the ONNX specification of Resize, for all coordinate modes but ``tf_crop_and_resize``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from penstock.arrays import F64
from penstock.runtime.lowering.node import Function, Node
from penstock.runtime.lowering.registry import lowers


@dataclass(frozen=True)
class _Axis:
    axis: int
    before: int
    after: int
    scale: float


def _axes_of(node: Node) -> list[_Axis]:
    shape = node.shape()
    chosen = [int(axis) % len(shape) for axis in node.attribute("axes", range(len(shape)))]
    scales_at = 1 if node.kind == "Upsample" or node.opset < 11 else 2
    if node.attribute("scales") is not None:  # Upsample of opset 7
        scales = [float(scale) for scale in node.attribute("scales")]
    elif node.has(3):
        sizes = node.ints(3)
        return [
            _Axis(axis, shape[axis], after, after / shape[axis])
            for axis, after in zip(chosen, sizes, strict=True)
            if after != shape[axis]
        ]
    else:
        scales = node.floats(scales_at)
    return [
        _Axis(axis, shape[axis], math.floor(shape[axis] * scale), scale)
        for axis, scale in zip(chosen, scales, strict=True)
        if scale != 1.0
    ]


def _source(node: Node, one: _Axis) -> F64:
    """The real source coordinate of every output index."""
    asymmetric = node.kind == "Upsample" or node.opset < 11
    mode = node.attribute("coordinate_transformation_mode", "asymmetric" if asymmetric else "half_pixel")
    at = np.arange(one.after, dtype=np.float64)
    if mode == "asymmetric":
        return at / one.scale
    if mode == "align_corners":
        return at * ((one.before - 1) / (one.after - 1)) if one.after > 1 else np.zeros(one.after)
    if mode == "pytorch_half_pixel" and one.after == 1:
        return np.zeros(1)
    if mode in ("half_pixel", "pytorch_half_pixel"):
        return (at + 0.5) / one.scale - 0.5
    if mode == "half_pixel_symmetric":
        adjusted = one.after / (one.scale * one.before)
        return one.before / 2 * (1 - adjusted) + (at + 0.5) / one.scale - 0.5
    raise node.refusal(f"coordinate_transformation_mode {mode!r}")


def _nearest(node: Node, source: F64, size: int) -> NDArray[np.int64]:
    old = node.kind == "Upsample" or node.opset < 11
    mode = node.attribute("nearest_mode", "floor" if old else "round_prefer_floor")
    rounded = {
        "floor": np.floor(source),
        "ceil": np.ceil(source),
        "round_prefer_floor": np.ceil(source - 0.5),
        "round_prefer_ceil": np.floor(source + 0.5),
    }[mode]
    return np.clip(rounded, 0, size - 1).astype(np.int64)


@lowers("Resize", "Upsample")
def _resize(node: Node) -> Function:
    mode = node.attribute("mode", "nearest")
    if mode not in ("nearest", "linear"):
        raise node.refusal(f"mode {mode!r}")
    if node.attribute("antialias", 0):
        raise node.refusal("antialias")
    parts = []
    for one in _axes_of(node):
        source = _source(node, one)
        if mode == "nearest":
            parts.append((one.axis, _index(node, _nearest(node, source, one.before)), None, None))
            continue
        source = np.clip(source, 0, one.before - 1)
        low = np.floor(source).astype(np.int64)
        high = np.minimum(low + 1, one.before - 1)
        shape = [-1 if axis == one.axis else 1 for axis in range(node.rank())]
        weight = torch.tensor(source - low, dtype=node.dtype()).reshape(shape).to(node.device)
        parts.append((one.axis, _index(node, low), _index(node, high), weight))

    def run(x: Tensor, *_: Tensor) -> Tensor:
        for axis, low, high, weight in parts:
            first = x.index_select(axis, low)
            x = first if high is None else torch.lerp(first, x.index_select(axis, high), weight)
        return x

    return run


def _index(node: Node, index: NDArray[np.int64]) -> Tensor:
    return torch.from_numpy(index).to(node.device)
