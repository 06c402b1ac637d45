"""Reductions over axes, and what ranks or accumulates along one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from penstock.runtime.lowering.node import Function, Node
from penstock.runtime.lowering.registry import lowers


def _product(x: Tensor, axes: list[int], keepdim: bool) -> Tensor:
    for axis in sorted((axis % x.dim() for axis in axes), reverse=True):
        x = torch.prod(x, axis, keepdim=keepdim)
    return x


_REDUCTIONS: dict[str, Callable[[Tensor, list[int], bool], Any]] = {
    "ReduceL1": lambda x, axes, keep: torch.sum(torch.abs(x), axes, keepdim=keep),
    "ReduceL2": lambda x, axes, keep: torch.linalg.vector_norm(x, 2, axes, keepdim=keep),
    "ReduceLogSum": lambda x, axes, keep: torch.log(torch.sum(x, axes, keepdim=keep)),
    "ReduceLogSumExp": lambda x, axes, keep: torch.logsumexp(x, axes, keepdim=keep),
    "ReduceMax": lambda x, axes, keep: torch.amax(x, axes, keepdim=keep),
    "ReduceMean": lambda x, axes, keep: torch.mean(x, axes, keepdim=keep),
    "ReduceMin": lambda x, axes, keep: torch.amin(x, axes, keepdim=keep),
    "ReduceProd": _product,
    "ReduceSum": lambda x, axes, keep: torch.sum(x, axes, keepdim=keep, dtype=x.dtype),
    "ReduceSumSquare": lambda x, axes, keep: torch.sum(x * x, axes, keepdim=keep, dtype=x.dtype),
}


@lowers(*_REDUCTIONS)
def _reduce(node: Node) -> Function:
    reduce, keep = _REDUCTIONS[node.kind], bool(node.attribute("keepdims", 1))
    axes = node.axes(1)
    if not axes:
        if node.attribute("noop_with_empty_axes", 0):
            return lambda x, *_: x
        axes = list(range(node.rank()))
    chosen = axes
    return lambda x, *_: reduce(x, chosen, keep)


@lowers("ArgMax", "ArgMin")
def _arg_extreme(node: Node) -> Function:
    if node.attribute("select_last_index", 0):
        raise node.refusal("select_last_index")
    find = torch.argmax if node.kind == "ArgMax" else torch.argmin
    axis, keep = node.attribute("axis", 0), bool(node.attribute("keepdims", 1))
    return lambda x: find(x, axis, keepdim=keep)


@lowers("TopK")
def _top_k(node: Node) -> Function:
    count = node.ints(1)[0]
    axis, largest = node.attribute("axis", -1), bool(node.attribute("largest", 1))
    return lambda x, _: tuple(torch.topk(x, count, axis, largest, True))


@lowers("CumSum")
def _cumulative_sum(node: Node) -> Function:
    if node.attribute("exclusive", 0) or node.attribute("reverse", 0):
        raise node.refusal("exclusive and reverse are not taken")
    axis = node.ints(1)[0]
    return lambda x, _: torch.cumsum(x, axis, dtype=x.dtype)
