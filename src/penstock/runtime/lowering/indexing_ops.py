"""Operators that take or place values by index. An index may be negative; only the host's are checked."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from penstock.runtime.lowering.node import Function, Node, torch_dtype
from penstock.runtime.lowering.registry import lowers


def _from_the_start(indices: Tensor, size: int) -> Tensor:
    indices = indices.long()
    return torch.where(indices < 0, indices + size, indices)


@lowers("Gather")
def _gather(node: Node) -> Function:
    axis = node.attribute("axis", 0) % node.rank()
    size, shape = node.shape()[axis], node.shape()
    if node.is_known(1) and node.rank(1) == 0:
        at = node.ints(1)[0]
        return lambda x, _: x.select(axis, at)
    out = [*shape[:axis], *node.shape(1), *shape[axis + 1 :]]
    if axis == 0 and node.rank() == 2 and node.dtype().is_floating_point:
        return lambda x, at: functional.embedding(_from_the_start(at, size), x)
    return lambda x, at: x.index_select(axis, _from_the_start(at, size).reshape(-1)).reshape(out)


@lowers("GatherElements")
def _gather_elements(node: Node) -> Function:
    axis = node.attribute("axis", 0)
    size = node.shape()[axis]
    return lambda x, at: torch.gather(x, axis, _from_the_start(at, size))


@lowers("GatherND")
def _gather_nd(node: Node) -> Function:
    if node.attribute("batch_dims", 0):
        raise node.refusal("batch_dims")
    sizes, depth = node.shape(), node.shape(1)[-1]
    return lambda x, at: x[tuple(_from_the_start(at[..., axis], sizes[axis]) for axis in range(depth))]


@lowers("ScatterElements")
def _scatter_elements(node: Node) -> Function:
    if node.attribute("reduction", "none") != "none":
        raise node.refusal("reduction")
    axis = node.attribute("axis", 0)
    size = node.shape()[axis]
    return lambda x, at, new: torch.scatter(x, axis, _from_the_start(at, size), new)


@lowers("ScatterND")
def _scatter_nd(node: Node) -> Function:
    if node.attribute("reduction", "none") != "none":
        raise node.refusal("reduction")
    sizes, depth = node.shape(), node.shape(1)[-1]

    def run(x: Tensor, at: Tensor, new: Tensor) -> Tensor:
        places = tuple(_from_the_start(at[..., axis], sizes[axis]) for axis in range(depth))
        return x.index_put(places, new)

    return run


@lowers("Slice")
def _slice(node: Node) -> Function:
    shape = node.shape()
    if node.has(1):
        starts, stops = node.ints(1), node.ints(2)
    else:
        starts, stops = list(node.attribute("starts")), list(node.attribute("ends"))
    axes = node.axes(3) or list(range(len(starts)))
    steps = node.ints(4) if node.has(4) else [1] * len(starts)
    takes = []
    for start, stop, axis, step in zip(starts, stops, axes, steps, strict=True):
        # Python's slices count and clamp as ONNX's do, but for a stop far below the start going backwards.
        size = shape[axis]
        end = None if step < 0 and stop < -size else stop
        takes.append((axis % len(shape), range(*slice(start, end, step).indices(size))))
    forward = [(axis, taken) for axis, taken in takes if taken.step > 0]
    backward = [
        (axis, torch.tensor(list(taken), dtype=torch.int64)) for axis, taken in takes if taken.step < 0
    ]
    index = [slice(None)] * len(shape)
    for axis, taken in forward:
        index[axis] = slice(taken.start, max(taken.start, taken.stop), taken.step)
    view = tuple(index)
    if not backward:
        return lambda x, *_: x[view]
    placed = [(axis, order.to(node.device)) for axis, order in backward]

    def run(x: Tensor, *_: Tensor) -> Tensor:
        x = x[view]
        for axis, order in placed:
            x = x.index_select(axis, order.to(x.device))
        return x

    return run


@lowers("OneHot")
def _one_hot(node: Node) -> Function:
    depth, axis = node.ints(1)[0], node.attribute("axis", -1)
    off, on = node.known(2).reshape(-1).tolist()
    dtype = node.known(2).dtype if node.known(2).dtype != torch.float32 else torch_dtype(node, 1)

    def run(at: Tensor, *_: Tensor) -> Tensor:
        places = torch.arange(depth, device=at.device)
        hot = _from_the_start(at, depth).unsqueeze(-1) == places
        return torch.where(hot, on, off).to(dtype).movedim(-1, axis)

    return run
