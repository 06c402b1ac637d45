"""What every runtime fuses: batch normalisation into convolutions, quantising and dequantising into neighbours.

A model quantised in the QDQ form has a DequantizeLinear before each operator and a QuantizeLinear after it. Runtimes
replace such a group by one operator on 8-bit numbers (ONNX Runtime, "Quantize ONNX models", QDQ format; TensorRT
Developer Guide, "Explicit quantization"): it reads what the DequantizeLinear read and writes what the
QuantizeLinear writes.
"""

from __future__ import annotations

from typing import final

from penstock.graph.model_graph import ModelGraph, Operator

_TO_INT8, _FROM_INT8 = "QuantizeLinear", "DequantizeLinear"


@final
class Fusion:
    """Which operators of ``graph`` vanish, and which tensors the rest really read and write."""

    def __init__(self, graph: ModelGraph) -> None:
        self._maker = {name: operator for operator in graph.operators for name in operator.outputs}
        self._readers: dict[str, list[Operator]] = {}
        for operator in graph.operators:
            for name in operator.inputs:
                self._readers.setdefault(name, []).append(operator)
        self._returned = frozenset(graph.outputs)

    def is_fused(self, operator: Operator) -> bool:
        """Whether ``operator`` costs nothing of its own."""
        if operator.kind == "BatchNormalization":
            maker = self._maker.get(operator.inputs[0])
            return maker is not None and maker.kind == "Conv"
        if operator.kind == _FROM_INT8:
            return self._is_read_only(operator.outputs[0])
        return operator.kind == _TO_INT8 and self._is_written_in_int8(operator.inputs[0])

    def computes_in_int8(self, operator: Operator) -> bool:
        """Whether all activations that ``operator`` reads were 8-bit numbers until a fused DequantizeLinear."""
        if operator.kind in (_TO_INT8, _FROM_INT8) or not operator.inputs:
            return False
        makers = [self._maker.get(name) for name in operator.inputs]
        return all(
            maker is not None and maker.kind == _FROM_INT8 and self.is_fused(maker) for maker in makers
        )

    def read_as(self, name: str) -> str:
        """The tensor that is read in the place of ``name``."""
        maker = self._maker.get(name)
        if maker is not None and maker.kind == _FROM_INT8 and self.is_fused(maker):
            return maker.inputs[0]
        return name

    def written_as(self, name: str) -> str:
        """The tensor that is written in the place of ``name``."""
        return self._readers[name][0].outputs[0] if self._is_written_in_int8(name) else name

    def _is_read_only(self, name: str) -> bool:
        """Whether some operator reads it and it is not an output of the model."""
        return name in self._readers and name not in self._returned

    def _is_written_in_int8(self, name: str) -> bool:
        """Whether the operator that makes it can quantise it at once: there is one, and nothing else reads the
        unquantised tensor."""
        return (
            name in self._maker
            and self._is_read_only(name)
            and all(reader.kind == _TO_INT8 for reader in self._readers[name])
        )
