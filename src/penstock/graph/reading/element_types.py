"""Sizes of ONNX's element types, by their numbers in :class:`onnx.TensorProto`."""

from __future__ import annotations

import math
from collections.abc import Sequence

import onnx
from onnx import TensorProto, helper

# Elements smaller than a byte are packed. numpy has no type for them and would count a whole byte for each.
_PACKED_BITS = {"INT4": 4, "UINT4": 4, "FLOAT4E2M1": 4, "INT2": 2, "UINT2": 2}


STRING_BYTES = 32
"""What a string counts in the sizes of tensors. Its real length is known only when it comes."""


def is_sized(element_type: int) -> bool:
    """Whether elements are numbers or strings of a type that the installed onnx knows."""
    return element_type in helper.get_all_tensor_dtypes()


def dtype_name(element_type: int) -> str:
    """Numpy's name of an element type; ``object`` for strings."""
    return str(helper.tensor_dtype_to_np_dtype(element_type).name)


def size_bytes(shape: Sequence[int], element_type: int) -> int:
    """Bytes of a tensor, rounded up to whole bytes. A string counts :data:`STRING_BYTES`."""
    if element_type == TensorProto.STRING:
        return math.prod(shape) * STRING_BYTES
    packed = _PACKED_BITS.get(TensorProto.DataType.Name(element_type))
    bits = packed or 8 * int(helper.tensor_dtype_to_np_dtype(element_type).itemsize)
    return -(-math.prod(shape) * bits // 8)


def weight_bytes(weight: onnx.TensorProto) -> int:
    """Bytes of an initializer in memory."""
    return size_bytes(weight.dims, weight.data_type)
