"""Operators that move or reshape values, and those that make them from shapes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from penstock.runtime.lowering.convolution_ops import torch_pad
from penstock.runtime.lowering.node import Function, Node, torch_dtype
from penstock.runtime.lowering.registry import lowers


@lowers("Shape")
def _shape(node: Node) -> Function:
    shape = node.shape()[slice(node.attribute("start", 0), node.attribute("end"))]
    return lambda _: torch.tensor(shape, dtype=torch.int64)


@lowers("Size")
def _size(node: Node) -> Function:
    size = math.prod(node.shape())
    return lambda _: torch.tensor(size, dtype=torch.int64)


@lowers("Constant")
def _constant(node: Node) -> Function:
    if node.attribute("value") is not None:
        value = node.attribute("value")
    elif node.attribute("value_float") is not None:
        value = torch.tensor(node.attribute("value_float"), dtype=torch.float32)
    elif node.attribute("value_int") is not None:
        value = torch.tensor(node.attribute("value_int"), dtype=torch.int64)
    elif node.attribute("value_floats") is not None:
        value = torch.tensor(node.attribute("value_floats"), dtype=torch.float32)
    elif node.attribute("value_ints") is not None:
        value = torch.tensor(node.attribute("value_ints"), dtype=torch.int64)
    else:
        raise node.refusal("a constant of this kind (text, sparse)")
    return lambda: value


@lowers("ConstantOfShape")
def _constant_of_shape(node: Node) -> Function:
    shape = node.ints(0)
    value = node.attribute("value")
    filled = torch.zeros(shape) if value is None else value.reshape(()).expand(shape).contiguous()
    return lambda _: filled


@lowers("Range")
def _range(node: Node) -> Function:
    start, stop, step = (node.known(index).reshape(()).item() for index in range(3))
    made = torch.arange(start, stop, step, dtype=node.known(0).dtype)
    return lambda *_: made


@lowers("Reshape")
def _reshape(node: Node) -> Function:
    asked = node.ints(1)
    if not node.attribute("allowzero", 0):
        asked = [node.shape()[axis] if size == 0 else size for axis, size in enumerate(asked)]
    return lambda x, _: x.reshape(asked)


@lowers("Flatten")
def _flatten(node: Node) -> Function:
    axis = node.attribute("axis", 1)
    axis = axis + node.rank() if axis < 0 else axis
    rows = math.prod(node.shape()[:axis])
    return lambda x: x.reshape(rows, -1)


@lowers("Transpose")
def _transpose(node: Node) -> Function:
    order = node.attribute("perm") or list(range(node.rank()))[::-1]
    return lambda x: x.permute(order)


@lowers("Squeeze")
def _squeeze(node: Node) -> Function:
    shape, axes = node.shape(), node.axes(1)
    gone = (
        {axis for axis, size in enumerate(shape) if size == 1}
        if axes is None
        else {axis % len(shape) for axis in axes}
    )
    kept = [size for axis, size in enumerate(shape) if axis not in gone]
    return lambda x, *_: x.reshape(kept)


@lowers("Unsqueeze")
def _unsqueeze(node: Node) -> Function:
    axes = node.axes(1) or []
    rank = node.rank() + len(axes)
    sizes = iter(node.shape())
    added = {axis % rank for axis in axes}
    shape = [1 if axis in added else next(sizes) for axis in range(rank)]
    return lambda x, *_: x.reshape(shape)


@lowers("Concat")
def _concat(node: Node) -> Function:
    axis = node.attribute("axis")
    return lambda *tensors: torch.cat(tensors, axis)


@lowers("Split")
def _split(node: Node) -> Function:
    axis = node.attribute("axis", 0)
    size = node.shape()[axis]
    sizes = node.axes(1, "split")
    if sizes is None:
        each = -(-size // node.n_outputs)
        sizes = [min(each, size - start) for start in range(0, size, each)]
    chosen = sizes
    return lambda x, *_: torch.split(x, chosen, axis)


@lowers("Expand")
def _expand(node: Node) -> Function:
    shape = np.broadcast_shapes(node.shape(), tuple(node.ints(1)))
    return lambda x, _: x.expand(shape)


@lowers("Tile")
def _tile(node: Node) -> Function:
    repeats = node.ints(1)
    return lambda x, _: x.repeat(repeats)


@lowers("Pad")
def _pad(node: Node) -> Function:
    rank = node.rank()
    given = node.ints(1) if node.has(1) else list(node.attribute("pads", node.attribute("paddings")))
    axes = node.ints(3) if node.has(3) else list(range(rank))
    begins, ends = [0] * rank, [0] * rank
    for position, axis in enumerate(axes):
        begins[axis], ends[axis] = given[position], given[position + len(axes)]
    pads = torch_pad(begins, ends)
    mode = node.attribute("mode", "constant")
    if mode == "constant":
        value = node.known(2).reshape(()).item() if node.has(2) else node.attribute("value", 0.0)
        return lambda x, *_: functional.pad(x, pads, value=value)
    if mode not in ("reflect", "edge") or any(begins[:2] + ends[:2]) or min(pads) < 0:
        raise node.refusal(f"mode {mode!r} with pads {given}")
    name = {"reflect": "reflect", "edge": "replicate"}[mode]
    spatial = pads[: 2 * (rank - 2)]
    return lambda x, *_: functional.pad(x, spatial, mode=name)


@lowers("DepthToSpace")
def _depth_to_space(node: Node) -> Function:
    n, channels, height, width = node.shape()
    block = node.attribute("blocksize")
    if node.attribute("mode", "DCR") == "CRD":
        return lambda x: functional.pixel_shuffle(x, block)
    inner = (n, block, block, channels // block**2, height, width)
    outer = (n, channels // block**2, height * block, width * block)
    return lambda x: x.reshape(inner).permute(0, 3, 4, 1, 5, 2).reshape(outer)


@lowers("SpaceToDepth")
def _space_to_depth(node: Node) -> Function:
    if node.attribute("mode", "DCR") != "DCR":
        raise node.refusal(f"mode {node.attribute('mode')!r}")
    n, channels, height, width = node.shape()
    block = node.attribute("blocksize")
    inner = (n, channels, height // block, block, width // block, block)
    outer = (n, channels * block**2, height // block, width // block)
    return lambda x: x.reshape(inner).permute(0, 3, 5, 1, 2, 4).reshape(outer)


@lowers("Trilu")
def _trilu(node: Node) -> Function:
    diagonal = node.ints(1)[0] if node.has(1) else 0
    cut: Any = torch.triu if node.attribute("upper", 1) else torch.tril
    return lambda x, *_: cut(x, diagonal)


@lowers("EyeLike")
def _eye_like(node: Node) -> Function:
    rows, columns = node.shape()
    element_type = node.attribute("dtype")
    dtype = node.dtype() if element_type is None else torch_dtype(node, element_type)
    offset = node.attribute("k", 0)
    made = torch.diag(torch.ones(max(rows, columns) + abs(offset)), offset)[:rows, :columns].to(dtype)
    return lambda _: made.to(node.device)
