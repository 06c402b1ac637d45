"""Matrix products."""

from __future__ import annotations

import functools

import torch
from torch import Tensor
from torch.nn import functional

from penstock.runtime.lowering.node import Function, Node
from penstock.runtime.lowering.registry import lowers


@lowers("MatMul")
def _matmul(node: Node) -> Function:
    function: Function = torch.matmul
    return function


@lowers("Gemm")
def _gemm(node: Node) -> Function:
    alpha, beta = node.attribute("alpha", 1.0), node.attribute("beta", 1.0)
    first, second = node.attribute("transA", 0), node.attribute("transB", 0)
    if alpha == 1.0 and beta == 1.0 and not first and second and (not node.has(2) or node.rank(2) == 1):
        linear: Function = functional.linear
        return linear

    def run(a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
        product = torch.matmul(a.t() if first else a, b.t() if second else b)
        product = product if alpha == 1.0 else product * alpha
        return product if c is None else product + (c if beta == 1.0 else c * beta)

    return run


@lowers("Einsum")
def _einsum(node: Node) -> Function:
    return functools.partial(torch.einsum, node.attribute("equation"))


_ATTENTION_TAKES = frozenset({"is_causal", "kv_num_heads", "q_num_heads", "scale"})


@lowers("Attention")
def _attention(node: Node) -> Function:
    """Attention of opset 23 without a cache; 3-dimensional inputs are split into heads."""
    if node.n_outputs > 1 or any(node.has(index) for index in range(4, len(node.inputs))):
        raise node.refusal("only Q, K, V and a mask are taken, and only Y is made, without past keys")
    unknown = {name for name, value in node.attributes.items() if name not in _ATTENTION_TAKES and value}
    if unknown or (node.has(3) and node.rank(3) < 2):
        raise node.refusal(f"attributes {sorted(unknown)} or a mask of one dimension are not taken")
    scale, causal = node.attribute("scale"), bool(node.attribute("is_causal", 0))
    heads = node.attribute("q_num_heads"), node.attribute("kv_num_heads"), node.attribute("kv_num_heads")
    folded = node.rank() == 3
    if folded and None in heads:
        raise node.refusal("3-dimensional inputs need q_num_heads and kv_num_heads")

    def run(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
        if folded:
            q, k, v = (x.unflatten(2, (n, -1)).transpose(1, 2) for x, n in zip((q, k, v), heads, strict=True))
        grouped = q.shape[1] != k.shape[1]
        made = functional.scaled_dot_product_attention(
            q, k, v, attn_mask=mask, is_causal=causal, scale=scale, enable_gqa=grouped
        )
        return made.transpose(1, 2).flatten(2) if folded else made

    return run
