"""The table of operators that the torch executor runs: (domain, kind) to the function that lowers a node."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from penstock.runtime.lowering.node import Function, Node, UnsupportedOperatorError

Lowering = Callable[[Node], Function]
_TABLE: dict[tuple[str, str], Lowering] = {}
_FAMILIES = (
    "convolution_ops",
    "elementwise_ops",
    "indexing_ops",
    "matrix_ops",
    "normalization_ops",
    "pooling_ops",
    "recurrent_ops",
    "reduction_ops",
    "resize_ops",
    "shape_ops",
)


def lowers(*kinds: str, domain: str = "") -> Callable[[Lowering], Lowering]:
    """Register a function as the lowering of ``kinds``."""

    def register(function: Lowering) -> Lowering:
        for kind in kinds:
            assert (domain, kind) not in _TABLE, kind
            _TABLE[domain, kind] = function
        return function

    return register


def lower(node: Node, domain: str) -> Function:
    """The torch function of ``node``; :class:`UnsupportedOperatorError` names an operator without a rule."""
    table = lowerings()
    key = ("" if domain == "ai.onnx" else domain, node.kind)
    if key not in table:
        raise node.refusal("it has no rule for this operator" + (f" of domain {domain!r}" if domain else ""))
    return table[key](node)


def lowerings() -> dict[tuple[str, str], Lowering]:
    """The whole table."""
    for family in _FAMILIES:
        import_module(f"penstock.runtime.lowering.{family}")
    return _TABLE


__all__ = ["Lowering", "UnsupportedOperatorError", "lower", "lowerings", "lowers"]
