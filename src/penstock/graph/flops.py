"""The number of operations of an operator, from the shapes of its operands. A multiply-add counts as 2.

The table covers the main operators of convolutional, attention and recurrent networks. It includes int8 forms, the
com.microsoft operators that a runtime's optimiser and quantiser make, and the common ones of ai.onnx.ml. Data movement
counts 0. Elementwise operators count one operation for each element they make. Any other operator counts as elementwise
too, and :func:`has_rule` says that this is a guess.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Operands:
    """The input of a rule: shapes of inputs (None if an optional one is absent) and outputs, and attributes."""

    inputs: Sequence[Shape | None]
    outputs: Sequence[Shape]
    attributes: Mapping[str, Any]

    def shape(self, position: int) -> Shape:
        """The shape of a required input."""
        shape = self.inputs[position]
        assert shape is not None, f"required operand {position} is absent"
        return shape

    @property
    def made(self) -> int:
        """Elements of the first output."""
        return math.prod(self.outputs[0])

    @property
    def read(self) -> int:
        """Elements of the first input."""
        return math.prod(self.shape(0))


def flops(kind: str, operands: Operands) -> int:
    """Operations of one run of an operator called ``kind`` in ONNX."""
    return _RULES.get(kind, _per_element(1))(operands)


def has_rule(kind: str) -> bool:
    """Whether :func:`flops` has a rule for an operator called ``kind``. Otherwise its result is a guess."""
    return kind in _RULES or kind in _ELEMENTWISE


def sequential_steps(kind: str, operands: Operands) -> int:
    """How many runs of an operator must follow one another: the steps of a recurrence, otherwise 1.

    X is [time, batch, inputs], or [batch, time, inputs] with layout 1. Two directions run at the same time.
    """
    if kind not in _RECURRENT:
        return 1
    return operands.shape(0)[1 if operands.attributes.get("layout") else 0]


def _per_element(count: int) -> Callable[[Operands], int]:
    return lambda operands: count * operands.made


def _per_input_element(count: int) -> Callable[[Operands], int]:
    return lambda operands: count * operands.read


def _convolution(weight: int) -> Callable[[Operands], int]:
    """Each output element sums over (channels / group) x kernel, the weight's axes after the first."""
    return lambda operands: 2 * operands.made * math.prod(operands.shape(weight)[1:])


def _transposed_convolution(operands: Operands) -> int:
    """Each *input* element contributes to (outputs / group) x kernel output elements."""
    return 2 * operands.read * math.prod(operands.shape(1)[1:])


def _product(operands: Operands) -> int:
    """A matrix product of any rank: each output element sums over the left operand's last axis."""
    return 2 * operands.made * operands.shape(0)[-1]


def _general_product(operands: Operands) -> int:
    left = operands.shape(0)
    return 2 * operands.made * left[0 if operands.attributes.get("transA") else 1]


def _window(operands: Operands) -> int:
    kernel: Sequence[int] = operands.attributes["kernel_shape"]
    return operands.made * math.prod(kernel)


def _recurrent(operands: Operands) -> int:
    """Products with W [directions, gates x hidden, inputs] and R [directions, gates x hidden, hidden].

    X is [time, batch, inputs], or [batch, time, inputs] with layout 1. Both have time x batch rows.
    """
    rows = math.prod(operands.shape(0)[:2])
    return 2 * rows * (math.prod(operands.shape(1)) + math.prod(operands.shape(2)))


def _deformable_convolution(operands: Operands) -> int:
    """A convolution whose inputs are read at shifted positions by bilinear interpolation, about 8 operations each.

    There is one sample for each input channel, kernel position and output position.
    """
    batch, _, *places = operands.outputs[0]
    channels, kernel = operands.shape(0)[1], operands.shape(1)[2:]
    samples = batch * channels * math.prod(kernel) * math.prod(places)
    return _convolution(1)(operands) + 8 * samples


def _fourier_transforms(length: int, count: int) -> int:
    """``count`` transforms of ``length`` by the radix-2 algorithm: 5 n log2 n operations each, by convention.

    M. Frigo, S. Johnson, "The Design and Implementation of FFTW3", Proc. IEEE 93(2), 2005, section 4.
    """
    return round(5 * count * length * math.log2(max(length, 2)))


def _short_time_fourier(operands: Operands) -> int:
    """STFT: the output is [batch, frames, bins, 2]. A frame is as long as the window, or as its bins imply."""
    batch, frames, bins = operands.outputs[0][:3]
    window = operands.inputs[2] if len(operands.inputs) > 2 else None
    onesided = operands.attributes.get("onesided", 1)
    length = window[0] if window else 2 * (bins - 1) if onesided else bins
    return _fourier_transforms(length, batch * frames) + batch * frames * length


def _discrete_fourier(operands: Operands) -> int:
    """DFT along one axis. From opset 20 the axis is an input, unknown here: the last axis but one is assumed."""
    *rest, length, _ = operands.shape(0)
    return _fourier_transforms(length, math.prod(rest))


def _attention(operands: Operands) -> int:
    """Scaled dot products: Attention of opset 23, and com.microsoft's operator of the same name.

    Opset 23: Q is [batch, heads, queries, width] or [batch, queries, heads x width]. K and V are alike, and a past
    makes them longer. Scores need 2 x queries x keys x width per head. Their sum over V needs the same with its
    width. The softmax needs 5 per score. com.microsoft: the input [batch, length, hidden] is first multiplied by
    weights [hidden, 3 x hidden].
    """
    second = operands.shape(1)
    if len(second) == 2:
        batch, length, _ = operands.shape(0)
        hidden = second[1] // 3
        heads = int(operands.attributes.get("num_heads", 1))
        projected = 2 * batch * length * math.prod(second)
        return projected + _dot_products(batch, heads, length, length, hidden, hidden)
    heads, queries, width = _heads(operands.shape(0), operands.attributes.get("q_num_heads"))
    _, keys, _ = _heads(second, operands.attributes.get("kv_num_heads"))
    value_width = _heads(operands.shape(2), operands.attributes.get("kv_num_heads"))[2]
    past = operands.inputs[4] if len(operands.inputs) > 4 else None
    keys += past[-2] if past else 0
    return _dot_products(operands.shape(0)[0], heads, queries, keys, heads * width, heads * value_width)


def _heads(shape: Shape, heads: int | None) -> tuple[int, int, int]:
    """(heads, length, width of a head) of Q, K or V of opset 23."""
    if len(shape) == 4:
        return shape[1], shape[2], shape[3]
    count = int(heads or 1)
    return count, shape[1], shape[2] // count


def _dot_products(batch: int, heads: int, queries: int, keys: int, width: int, value_width: int) -> int:
    """Attention over widths summed over the heads."""
    return batch * queries * keys * (2 * width + 2 * value_width + 5 * heads)


def _microsoft_attention(operands: Operands) -> int:
    """MultiHeadAttention and GroupQueryAttention: a query [batch, queries, hidden], keys beside or packed in it."""
    query = operands.shape(0)
    key = operands.inputs[1] if len(operands.inputs) > 1 else None
    heads = int(operands.attributes.get("num_heads", 1))
    kv_heads = int(operands.attributes.get("kv_num_heads", heads))
    # Packed: [batch, length, heads, 3, width], or [batch, length, (heads + 2 x kv_heads) x width].
    if len(query) == 5:
        hidden = query[2] * query[4]
    elif key is None:
        hidden = query[2] // (heads + 2 * kv_heads) * heads
    else:
        hidden = query[2]
    # 4 axes: [batch, heads, length, width]; else the length is axis 1.
    keys = query[1] if key is None else key[2 if len(key) == 4 else 1]
    past_place = 3 if "kv_num_heads" in operands.attributes else 6
    past = operands.inputs[past_place] if len(operands.inputs) > past_place else None
    keys += past[-2] if past and len(past) == 4 else 0
    return _dot_products(query[0], heads, query[1], keys, hidden, hidden)


def _packed_product(operands: Operands) -> int:
    """MatMulNBits: weights of a few bits in blocks, so their shape is in the attributes ``K`` (inputs) and ``N``."""
    rows = operands.made // int(operands.attributes["N"])
    return 2 * rows * int(operands.attributes["K"]) * int(operands.attributes["N"])


def _linear(operands: Operands) -> int:
    """LinearRegressor and LinearClassifier of ai.onnx.ml: each sample meets every coefficient once."""
    samples = operands.outputs[0][0] if operands.outputs[0] else 1
    return 2 * samples * len(operands.attributes["coefficients"])


def _trees(operands: Operands) -> int:
    """Decision trees: a comparison for each level. The number of levels is that of balanced trees of their size."""
    found = operands.attributes
    roots = found.get("tree_roots")
    trees = len(roots) if roots is not None else len(set(found["nodes_treeids"]))
    modes = found.get("nodes_modes")
    # TreeEnsemble keeps its modes in a tensor. There only inner nodes count as nodes.
    nodes = len(modes) if isinstance(modes, list) else len(found["nodes_truenodeids"])
    samples = operands.shape(0)[0] if operands.shape(0) else 1
    return samples * trees * max(1, math.ceil(math.log2(max(nodes // max(trees, 1), 2))))


def _einsum(operands: Operands) -> int:
    """One multiply-add for each combination of indices. The output gives the axes of an ellipsis."""
    equation = operands.attributes["equation"].decode().replace(" ", "")
    lengths: dict[str, int] = {}
    ellipsis: Shape = ()
    for term, shape in zip(equation.partition("->")[0].split(","), operands.inputs, strict=True):
        assert shape is not None
        before, dots, after = term.partition("...")
        middle = shape[len(before) : len(shape) - len(after)] if dots else ()
        ellipsis = max(ellipsis, middle, key=math.prod)
        ends = (*shape[: len(before)], *shape[len(shape) - len(after) :]) if dots else shape
        for letter, length in zip(before + after, ends, strict=True):
            lengths[letter] = max(length, lengths.get(letter, 1))
    return 2 * math.prod(lengths.values()) * math.prod(ellipsis)


_MOVES_DATA = (
    "Cast Compress Concat DepthToSpace Dropout Expand Flatten Gather GatherElements GatherND Identity Pad "
    "QLinearConcat Reshape ScatterElements ScatterND Shape Size Slice SpaceToDepth Split Squeeze Tile Transpose "
    "Unsqueeze"
)

_ELEMENTWISE_NAMES = """
    Abs Acos Acosh Add And ArrayFeatureExtractor Asin Asinh Atan Atanh BiasAdd BiasGelu Binarizer
    BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor CastLike Ceil Celu Clip ConstantOfShape Cos
    Cosh CumSum DequantizeLinear Div DynamicQuantizeLinear Elu Equal Erf Exp EyeLike FastGelu Floor
    Gelu Greater GreaterOrEqual HardSigmoid HardSwish Imputer IsInf IsNaN LRN LeakyRelu Less
    LessOrEqual Log Max Mean Min Mish Mod Mul Neg Not OneHot Or PRelu Pow QLinearAdd
    QLinearLeakyRelu QLinearMul QLinearSigmoid QLinearWhere QuantizeLinear QuickGelu Range
    Reciprocal Relu Resize Round Scaler Selu Shrink Sign Sin Sinh Softplus Softsign Sqrt Sub Sum
    Swish Tan Tanh ThresholdedRelu Trilu Upsample Where Xor
"""

_ELEMENTWISE = frozenset(_ELEMENTWISE_NAMES.split())
"""One operation per element, for every function. Memory limits their speed, so the constant does not matter."""

_RECURRENT = ("RNN", "GRU", "LSTM", "DynamicQuantizeLSTM")

_RULES: Mapping[str, Callable[[Operands], int]] = {
    **dict.fromkeys(_MOVES_DATA.split(), _per_element(0)),
    "Conv": _convolution(1),
    "ConvInteger": _convolution(1),
    "QLinearConv": _convolution(3),
    "ConvTranspose": _transposed_convolution,
    "Gemm": _general_product,
    "MatMul": _product,
    "MatMulInteger": _product,
    "QLinearMatMul": _product,
    "Einsum": _einsum,
    **dict.fromkeys(("DynamicQuantizeMatMul", "MatMulIntegerToFloat", "TransposeMatMul"), _product),
    "QGemm": _general_product,
    "MatMulNBits": _packed_product,
    "QAttention": _attention,
    **dict.fromkeys(("LinearRegressor", "LinearClassifier"), _linear),
    **dict.fromkeys(("TreeEnsemble", "TreeEnsembleRegressor", "TreeEnsembleClassifier"), _trees),
    "FusedConv": _convolution(1),
    "FusedMatMul": _product,
    "FusedGemm": _general_product,
    "DeformConv": _deformable_convolution,
    "STFT": _short_time_fourier,
    "DFT": _discrete_fourier,
    "Attention": _attention,
    **dict.fromkeys(("MultiHeadAttention", "GroupQueryAttention"), _microsoft_attention),
    **dict.fromkeys(_RECURRENT, _recurrent),
    **dict.fromkeys(("MaxPool", "AveragePool", "LpPool", "QLinearAveragePool"), _window),
    **dict.fromkeys(
        ("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool", "QLinearGlobalAveragePool"),
        _per_input_element(1),
    ),
    **dict.fromkeys(("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin"), _per_input_element(1)),
    **dict.fromkeys(("ReduceProd", "ArgMax", "ArgMin", "TopK"), _per_input_element(1)),
    **dict.fromkeys(
        ("ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSum", "ReduceLogSumExp"), _per_input_element(2)
    ),
    # Statistics are known: one scale and one shift.
    "BatchNormalization": _per_element(2),
    # Mean, difference, variance (2), division, scale, shift.
    **dict.fromkeys(
        ("LayerNormalization", "InstanceNormalization", "GroupNormalization", "GroupNorm"),
        _per_input_element(7),
    ),
    # Mean square (2), division, scale.
    **dict.fromkeys(("RMSNormalization", "SimplifiedLayerNormalization"), _per_input_element(4)),
    # Additionally a residual addition.
    **dict.fromkeys(("SkipLayerNormalization",), _per_input_element(8)),
    **dict.fromkeys(("SkipSimplifiedLayerNormalization",), _per_input_element(5)),
    **dict.fromkeys(("MeanVarianceNormalization", "LpNormalization", "Normalizer"), _per_input_element(5)),
    # Two or three looked-up rows are added, then a layer normalisation.
    "EmbedLayerNormalization": _per_element(9),
    # Two products and an addition for each of a pair.
    "RotaryEmbedding": _per_element(3),
    # Maximum, difference, exponential, sum, division.
    **dict.fromkeys(("Softmax", "LogSoftmax", "QLinearSoftmax"), _per_element(5)),
    # Negation, exponential, sum, division.
    "Sigmoid": _per_element(4),
}
