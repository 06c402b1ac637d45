"""Operations by hand; counts of whole networks are in test_graph_zoo.py."""

from __future__ import annotations

import pytest

from penstock.graph.flops import Operands, flops, has_rule, sequential_steps

IMAGE = (2, 8, 10, 10)  # batch 2: counts are of one run

CASES = {
    # 2 x 16 x 10 x 10 outputs, each of 8 x 3 x 3 multiply-adds.
    "Conv": ("Conv", [IMAGE, (16, 8, 3, 3), (16,)], [(2, 16, 10, 10)], {}, 3200 * 72 * 2),
    # Four groups: each output sees 2 channels.
    "grouped": ("Conv", [IMAGE, (16, 2, 3, 3)], [(2, 16, 10, 10)], {"group": 4}, 3200 * 18 * 2),
    "QLinearConv": (
        "QLinearConv",
        [IMAGE, (), (), (16, 8, 1, 1), (), (), (), ()],
        [(2, 16, 10, 10)],
        {},
        3200 * 8 * 2,
    ),
    # Each of 1600 inputs is spread over 4 channels of 2 x 2.
    "ConvTranspose": ("ConvTranspose", [IMAGE, (8, 4, 2, 2)], [(2, 4, 20, 20)], {}, 1600 * 16 * 2),
    "Gemm": ("Gemm", [(2, 5), (7, 5), (7,)], [(2, 7)], {"transB": 1}, 14 * 5 * 2),
    "Gemm, left turned": ("Gemm", [(5, 2), (5, 7), None], [(2, 7)], {"transA": 1}, 14 * 5 * 2),
    "MatMul of stacks": ("MatMul", [(2, 3, 4, 5), (2, 3, 5, 6)], [(2, 3, 4, 6)], {}, 144 * 5 * 2),
    "MatMul with a vector": ("MatMul", [(4, 5), (5,)], [(4,)], {}, 4 * 5 * 2),
    "Einsum": (
        "Einsum",
        [(2, 3, 4), (2, 5, 4)],
        [(2, 3, 5)],
        {"equation": b"bij, bkj -> bik"},
        2 * 3 * 5 * 4 * 2,
    ),
    "Einsum with an ellipsis": (
        "Einsum",
        [(2, 3, 4, 5), (5, 6)],
        [(2, 3, 4, 6)],
        {"equation": b"...j,jk->...k"},
        24 * 5 * 6 * 2,
    ),
    # 3 steps x 2 samples, each with W of 2 x 16 x 5 and R of 2 x 16 x 4.
    "LSTM": ("LSTM", [(3, 2, 5), (2, 16, 5), (2, 16, 4)], [(3, 2, 2, 4)], {}, 6 * (160 + 128) * 2),
    "MaxPool": ("MaxPool", [IMAGE], [(2, 8, 5, 5)], {"kernel_shape": [2, 2]}, 400 * 4),
    "GlobalAveragePool": ("GlobalAveragePool", [IMAGE], [(2, 8, 1, 1)], {}, 1600),
    "BatchNormalization": ("BatchNormalization", [IMAGE, (8,), (8,), (8,), (8,)], [IMAGE], {}, 2 * 1600),
    "Softmax": ("Softmax", [(2, 10)], [(2, 10)], {}, 5 * 20),
    "elementwise": ("Add", [(2, 10), (10,)], [(2, 10)], {}, 20),
    # Scores: 2 x 4 heads x 6 queries x 10 keys x 8 wide, times 2; their sum over V, 5 wide; softmax 5 a score.
    "Attention": (
        "Attention",
        [(2, 4, 6, 8), (2, 4, 10, 8), (2, 4, 10, 5)],
        [(2, 4, 6, 5)],
        {},
        2 * 4 * 6 * 10 * (2 * 8 + 2 * 5 + 5),
    ),
    # The same with heads merged into the width, and 4 keys that came before.
    "Attention of 3 axes, with a past": (
        "Attention",
        [(2, 6, 32), (2, 6, 32), (2, 6, 20), None, (2, 4, 4, 8), (2, 4, 4, 5)],
        [(2, 6, 20)],
        {"q_num_heads": 4, "kv_num_heads": 4},
        2 * 4 * 6 * 10 * (2 * 8 + 2 * 5 + 5),
    ),
    # Grouped queries: 8 heads read 2 heads of K and V.
    "Attention of grouped queries": (
        "Attention",
        [(1, 8, 6, 16), (1, 2, 10, 16), (1, 2, 10, 16)],
        [(1, 8, 6, 16)],
        {},
        8 * 6 * 10 * (2 * 16 + 2 * 16 + 5),
    ),
    # com.microsoft: the input of 5 x 12 times weights of 12 x 36, then 3 heads of 4.
    "Attention of com.microsoft": (
        "Attention",
        [(2, 5, 12), (12, 36), (36,)],
        [(2, 5, 12)],
        {"num_heads": 3},
        2 * (2 * 5 * 12 * 36 + 3 * 5 * 5 * (2 * 4 + 2 * 4 + 5)),
    ),
    "MultiHeadAttention": (
        "MultiHeadAttention",
        [(2, 6, 32), (2, 10, 32), (2, 10, 32)],
        [(2, 6, 32)],
        {"num_heads": 4},
        2 * 4 * 6 * 10 * (2 * 8 + 2 * 8 + 5),
    ),
    "MultiHeadAttention, packed": (
        "MultiHeadAttention",
        [(2, 6, 4, 3, 8)],
        [(2, 6, 32)],
        {"num_heads": 4},
        2 * 4 * 6 * 6 * (2 * 8 + 2 * 8 + 5),
    ),
    # 8 heads of 4, of K and V 2; one query after 9 keys.
    "GroupQueryAttention": (
        "GroupQueryAttention",
        [(1, 1, 32), (1, 1, 8), (1, 1, 8), (1, 2, 9, 4), (1, 2, 9, 4)],
        [(1, 1, 32)],
        {"num_heads": 8, "kv_num_heads": 2},
        8 * 1 * 10 * (2 * 4 + 2 * 4 + 5),
    ),
    # The convolution, and 8 operations for each of 2 x 8 channels x 9 places of the kernel x 100 places.
    "DeformConv": (
        "DeformConv",
        [IMAGE, (16, 8, 3, 3), (2, 18, 10, 10)],
        [(2, 16, 10, 10)],
        {},
        3200 * 72 * 2 + 8 * 2 * 8 * 9 * 100,
    ),
    # 2 x 7 frames of 64: 5 x 64 x 6 each, and the window's product.
    "STFT": ("STFT", [(2, 500, 1), (), (64,)], [(2, 7, 33, 2)], {"onesided": 1}, 14 * (5 * 64 * 6 + 64)),
    "STFT without a window": (
        "STFT",
        [(2, 500, 1), ()],
        [(2, 7, 64, 2)],
        {"onesided": 0},
        14 * (5 * 64 * 6 + 64),
    ),
    "DFT": ("DFT", [(2, 3, 64, 1)], [(2, 3, 64, 2)], {}, 6 * 5 * 64 * 6),
    # What the runtime's quantiser writes: 2 x 3 rows of 5 inputs, 7 outputs.
    "DynamicQuantizeMatMul": (
        "DynamicQuantizeMatMul",
        [(2, 3, 5), (5, 7), (7,)],
        [(2, 3, 7)],
        {},
        42 * 5 * 2,
    ),
    "MatMulNBits": ("MatMulNBits", [(2, 3, 32), (7, 1, 16)], [(2, 3, 7)], {"K": 32, "N": 7}, 6 * 32 * 7 * 2),
    "QAttention": (
        "QAttention",
        [(2, 6, 8), (8, 24), (24,)],
        [(2, 6, 8)],
        {"num_heads": 4},
        2 * 6 * 8 * 24 * 2 + 2 * 6 * 6 * (2 * 8 + 2 * 8 + 5 * 4),
    ),
    # W lies turned: 5 inputs, 16 gates and states.
    "DynamicQuantizeLSTM": (
        "DynamicQuantizeLSTM",
        [(3, 2, 5), (2, 5, 16), (2, 4, 16)],
        [(3, 2, 2, 4)],
        {},
        6 * (160 + 128) * 2,
    ),
    # 3 classes of 4 coefficients meet each of 10 samples.
    "LinearClassifier": ("LinearClassifier", [(10, 4)], [(10,), (10, 3)], {"coefficients": [1.0] * 12}, 240),
    # 10 samples go down 3 trees of 7 nodes each: 3 comparisons.
    "TreeEnsembleRegressor": (
        "TreeEnsembleRegressor",
        [(10, 4)],
        [(10, 1)],
        {"nodes_treeids": [0] * 7 + [1] * 7 + [2] * 7, "nodes_modes": [b"LEAF"] * 21},
        10 * 3 * 3,
    ),
    "TreeEnsemble": (
        "TreeEnsemble",
        [(10, 4)],
        [(10, 1)],
        {"tree_roots": [0, 8], "nodes_truenodeids": [0] * 16, "nodes_modes": object()},
        10 * 2 * 3,
    ),
    "not in the table": ("Mish", [(2, 10)], [(2, 10)], {}, 20),
    "data movement": ("Concat", [(2, 3), (2, 4)], [(2, 7)], {}, 0),
}


@pytest.mark.parametrize(("kind", "inputs", "outputs", "attributes", "expected"), CASES.values(), ids=CASES)
def test_operations_by_hand(kind, inputs, outputs, attributes, expected) -> None:  # type: ignore[no-untyped-def]
    assert flops(kind, Operands(inputs, outputs, attributes)) == expected


def test_what_is_known_and_what_is_guessed() -> None:
    assert all(map(has_rule, ("Conv", "Mish", "Reshape", "Attention", "QuantizeLinear")))
    assert not any(map(has_rule, ("NonMaxSuppression", "RoiAlign", "MyOperator")))


def test_recurrences_run_step_after_step() -> None:
    sequence = Operands([(30, 2, 5), (1, 16, 5), (1, 16, 4)], [(30, 1, 2, 4)], {})
    assert sequential_steps("LSTM", sequence) == 30
    assert sequential_steps("GRU", Operands([(2, 30, 5)], [(2, 30, 1, 4)], {"layout": 1})) == 30
    assert sequential_steps("DynamicQuantizeLSTM", sequence) == 30
    assert sequential_steps("Conv", sequence) == 1
