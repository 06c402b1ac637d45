"""Small models, one for each way in which cutting can go wrong."""

from __future__ import annotations

import numpy as np
import onnx
from graph_builder import parse, random


def branches() -> onnx.ModelProto:
    """Two branches from one tensor, joined again, with a residual connection around what follows."""
    return parse(
        """branches (float[N, 4] x) => (float[N, 8] y) {
            a = Relu(x)
            b = MatMul(a, w)
            c = Sigmoid(a)
            d = Concat<axis = 1>(b, c)
            e = Gemm<transB = 1>(d, v, bias)
            y = Add(d, e)
        }""",
        {"w": random(4, 4), "v": random(8, 8), "bias": random(8)},
    )


def outputs() -> onnx.ModelProto:
    """An output made early and used later, and one that no operator uses."""
    return parse(
        """outputs (float[N, 3] x) => (float[N, 3] last, float[N, 3] early, float[N, 1] total) {
            early = Exp(x)
            b = Neg(early)
            total = ReduceSum<keepdims = 1>(b, axes)
            last = Tanh(b)
        }""",
        {"axes": np.array([1])},
    )


def late_input() -> onnx.ModelProto:
    """An input used again at the end, one used only there, one never used, one without a batch."""
    return parse(
        """late_input (float[N, 3] x, float[N, 3] late, float[N, 2] unused, float[3] scale)
            => (float[N, 3] y) {
            a = Relu(x)
            b = Neg(a)
            c = Add(b, x)
            d = Mul(c, scale)
            y = Sub(d, late)
        }"""
    )


def reshape() -> onnx.ModelProto:
    """Flattening as an exporter writes it: batch and channels read off an early tensor's shape."""
    return parse(
        """reshape (float[N, 2, 4, 4] x) => (float[N, 5] y) {
            early = Relu(x)
            shape = Shape(early)
            n = Gather<axis = 0>(shape, zero)
            c = Gather<axis = 0>(shape, one)
            n1 = Unsqueeze(n, first)
            c1 = Unsqueeze(c, first)
            small = Conv<kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 1, 1]>(early, w)
            tiny = MaxPool<kernel_shape = [2, 2]>(small)
            target = Concat<axis = 0>(n1, c1)
            flat = Reshape(tiny, target)
            y = MatMul(flat, v)
        }""",
        {
            "zero": np.array(0),
            "one": np.array(1),
            "first": np.array([0]),
            "w": random(2, 2, 3, 3),
            "v": random(2, 5),
        },
    )


def class_token() -> onnx.ModelProto:
    """A learned token repeated for every sample: its size depends on the batch, its values depend on no input."""
    return parse(
        """class_token (float[N, 3, 4] x) => (float[N, 4, 4] y) {
            early = Relu(x)
            shape = Shape(early)
            n = Gather<axis = 0>(shape, first)
            target = Concat<axis = 0>(n, rest)
            tokens = Expand(token, target)
            b = Neg(early)
            c = Tanh(b)
            d = Softmax<axis = 2>(c)
            e = Concat<axis = 1>(tokens, d)
            y = Mul(e, e)
        }""",
        {"first": np.array([0]), "rest": np.array([1, 4]), "token": random(1, 1, 4)},
    )


def pyramid() -> onnx.ModelProto:
    """A map enlarged to the size of another, as a feature pyramid does it."""
    return parse(
        """pyramid (float[N, 2, 6, 6] x) => (float[N, 2, 6, 6] y) {
            fine = Relu(x)
            coarse = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(fine)
            shape = Shape(fine)
            size = Slice(shape, two, four)
            coarse_shape = Shape(coarse)
            head = Slice(coarse_shape, zero, two)
            sizes = Concat<axis = 0>(head, size)
            deep = Tanh(coarse)
            large = Resize<mode = "nearest">(deep, , , sizes)
            y = Neg(large)
        }""",
        {"zero": np.array([0]), "two": np.array([2]), "four": np.array([4])},
    )


def heads() -> onnx.ModelProto:
    """Batch and heads merged into one axis, then split; an Expand over the batch that is already there."""
    return parse(
        """heads (float[N, 6, 4] x) => (float[N, 6, 4] y) {
            a = Relu(x)
            shape = Shape(a)
            n = Gather<axis = 0>(shape, zero)
            merged_batch = Mul(n, two)
            merged_shape = Concat<axis = 0>(merged_batch, three, four)
            merged = Reshape(a, merged_shape)
            weights = Softmax<axis = 2>(merged)
            split_shape = Concat<axis = 0>(n, six, minus)
            b = Reshape(weights, split_shape)
            mean = ReduceMean<axes = [1]>(b)
            wide = Expand(mean, shape)
            y = Add(b, wide)
        }""",
        {
            "zero": np.array([0]),
            "two": np.array([2]),
            "three": np.array([3]),
            "four": np.array([4]),
            "six": np.array([6]),
            "minus": np.array([-1]),
        },
    )


def recurrent() -> onnx.ModelProto:
    """Time first, so the batch is the second axis; the initial state is as wide as the batch."""
    return parse(
        """recurrent (float[N, 3, 4] x) => (float[N, 2] y) {
            early = Relu(x)
            timed = Transpose<perm = [1, 0, 2]>(early)
            shape = Shape(timed)
            n = Gather<axis = 0>(shape, one)
            target = Concat<axis = 0>(one, n, two)
            state = ConstantOfShape(target)
            scaled = Tanh(timed)
            all, last = GRU<hidden_size = 2>(scaled, w, r, , , state)
            squeezed = Squeeze(last, zero)
            y = Tanh(squeezed)
        }""",
        {
            "zero": np.array([0]),
            "one": np.array([1]),
            "two": np.array([2]),
            "w": random(1, 6, 4),
            "r": random(1, 6, 2),
        },
    )


def computed_weights() -> onnx.ModelProto:
    """Weights made from weights at the top of the file, and used late, one of them twice."""
    return parse(
        """computed_weights (float[N, 4] x) => (float[N, 4] y) {
            turned = Transpose<perm = [1, 0]>(w)
            wide = DequantizeLinear(q, scale)
            third = Constant<value_float = 0.333>()
            a = Relu(x)
            b = MatMul(a, turned)
            c = MatMul(b, turned)
            d = MatMul(c, wide)
            y = Mul(d, third)
        }""",
        {
            "w": random(4, 4),
            "q": np.arange(16, dtype=np.int8).reshape(4, 4),
            "scale": np.array(0.1, np.float32),
        },
    )


def mask() -> onnx.ModelProto:
    """A causal mask larger than what is folded, made from the length of the input."""
    return parse(
        """mask (float[N, 70, 2] x) => (float[N, 70, 70] y) {
            a = Relu(x)
            shape = Shape(a)
            length = Gather<axis = 0>(shape, one)
            square = Concat<axis = 0>(length, length)
            ones = ConstantOfShape<value = float[1] {-1.0}>(square)
            upper = Trilu<upper = 1>(ones)
            turned = Transpose<perm = [0, 2, 1]>(a)
            scores = MatMul(a, turned)
            y = Add(scores, upper)
        }""",
        {"one": np.array([1])},
    )


SMALL_MODELS = {
    builder.__name__: builder
    for builder in (
        branches,
        outputs,
        late_input,
        reshape,
        class_token,
        pyramid,
        heads,
        recurrent,
        computed_weights,
        mask,
    )
}
