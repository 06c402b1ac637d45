"""Sizes of ONNX's element types, by their numbers in :class:`onnx.TensorProto`."""

from __future__ import annotations

import math
from collections.abc import Sequence

import onnx
from onnx import TensorProto, helper

# Elements of less than a byte are packed; numpy has no type for them and would count a byte each.
_PACKED_BITS = {"INT4": 4, "UINT4": 4, "FLOAT4E2M1": 4, "INT2": 2, "UINT2": 2}


def has_known_size(element_type: int) -> bool:
    """Whether elements are numbers: not strings, nor of a type that the installed onnx does not know."""
    return element_type in helper.get_all_tensor_dtypes() and element_type != TensorProto.STRING


def dtype_name(element_type: int) -> str:
    """Numpy's name of an element type of known size."""
    return str(helper.tensor_dtype_to_np_dtype(element_type).name)


def size_bytes(shape: Sequence[int], element_type: int) -> int:
    """Bytes of a tensor of an element type of known size, rounded up to whole ones."""
    packed = _PACKED_BITS.get(TensorProto.DataType.Name(element_type))
    bits = packed or 8 * int(helper.tensor_dtype_to_np_dtype(element_type).itemsize)
    return -(-math.prod(shape) * bits // 8)


def weight_bytes(weight: onnx.TensorProto) -> int:
    """Bytes of an initializer in memory."""
    return size_bytes(weight.dims, weight.data_type)
