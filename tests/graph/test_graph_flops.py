"""Operations by hand; counts of whole networks are in test_graph_zoo.py."""

from __future__ import annotations

import pytest

from penstock.graph.flops import Operands, flops

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
    "not in the table": ("Mish", [(2, 10)], [(2, 10)], {}, 20),
    "data movement": ("Concat", [(2, 3), (2, 4)], [(2, 7)], {}, 0),
}


@pytest.mark.parametrize(("kind", "inputs", "outputs", "attributes", "expected"), CASES.values(), ids=CASES)
def test_operations_by_hand(kind, inputs, outputs, attributes, expected) -> None:  # type: ignore[no-untyped-def]
    assert flops(kind, Operands(inputs, outputs, attributes)) == expected
