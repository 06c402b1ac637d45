"""What an operator moves and starts: lookups, recurrences, quantised chains, and what is only guessed. By hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from penstock.graph.model_graph import ModelGraph, Operator, Tensor
from penstock.profile.prediction.device_catalogue import DeviceSpec
from penstock.profile.prediction.efficiency import (
    BANDWIDTH_EFFICIENCY,
    LAUNCH_US,
    TENSOR_EFFICIENCY,
    VECTOR_EFFICIENCY,
)
from penstock.profile.prediction.predict import guesses, roofline_us, work_of

# Attainable: 1e6 flops in fp32, 8e6 on 8 bits, and 1e3 bytes a microsecond.
DEVICE = DeviceSpec(
    "toy", 1 / VECTOR_EFFICIENCY, None, None, 1 / BANDWIDTH_EFFICIENCY, 1, "made up", 8 / TENSOR_EFFICIENCY
)


def tensor(name: str, elements: int, dtype: str = "float32") -> Tensor:
    return Tensor(name, dtype, (-1, elements), True, elements * np.dtype(dtype).itemsize)


def graph(operators: Sequence[Operator], tensors: Sequence[Tensor], end: str) -> ModelGraph:
    return ModelGraph(
        "toy", tuple(operators), {one.name: one for one in tensors}, (tensors[0].name,), (end,), {}
    )


def test_a_lookup_reads_the_rows_that_it_gives_out() -> None:
    # A table of a million rows of 64: one row is read, 256 bytes, and written; the index is 8 bytes.
    lookup = Operator("look", "Gather", ("i",), ("y",), 0, 256_000_000, ("table",))
    work = work_of(graph([lookup], [tensor("i", 1, "int64"), tensor("y", 64)], "y"))
    assert work.sample_bytes.tolist() == [8 + 256 + 256]
    assert work.fixed_bytes.tolist() == [0]


def test_a_slice_of_an_activation_reads_what_it_makes() -> None:
    cut = Operator("cut", "Slice", ("x",), ("y",), 0, 0)
    work = work_of(graph([cut], [tensor("x", 1000), tensor("y", 10)], "y"))
    assert work.sample_bytes.tolist() == [80]


def test_a_recurrence_starts_and_reads_its_weights_at_every_step() -> None:
    # 30 steps; W of 3 kB is read once, R of 2 kB in each.
    lstm = Operator("rnn", "LSTM", ("x",), ("y",), 600, 5000, ("w", "r"), steps=30, step_bytes=2000)
    work = work_of(graph([lstm], [tensor("x", 100), tensor("y", 25)], "y"))
    assert work.fixed_bytes.tolist() == [5000 + 29 * 2000]
    (latency_us,) = roofline_us(work, DEVICE)
    assert latency_us == pytest.approx((63_000 + 500) / 1e3 + 30 * LAUNCH_US)


def quantised(end: str = "y") -> ModelGraph:
    """x -> Q -> DQ -> Conv -> Q -> DQ -> Relu: what a quantiser makes of Conv and Relu."""
    operators = [
        Operator("q0", "QuantizeLinear", ("x",), ("a",), 100, 5),
        Operator("d0", "DequantizeLinear", ("a",), ("b",), 100, 5),
        Operator("conv", "Conv", ("b",), ("c",), 80_000_000, 1000),
        Operator("q1", "QuantizeLinear", ("c",), ("d",), 100, 5),
        Operator("d1", "DequantizeLinear", ("d",), ("e",), 100, 5),
        Operator("relu", "Relu", ("e",), ("y",), 100, 0),
    ]
    types = {"a": "int8", "d": "int8"}
    return graph(operators, [tensor(name, 100, types.get(name, "float32")) for name in "xabcdey"], end)


def test_a_quantised_chain_runs_as_eight_bit_operators() -> None:
    work = work_of(quantised())
    # The first has no maker to be fused into. The ReLU reads 8 bits.
    np.testing.assert_array_equal(work.launches, [1, 0, 1, 0, 0, 1])
    np.testing.assert_array_equal(work.bits, [32, 32, 8, 32, 32, 8])
    assert work.sample_bytes[2] == 100 + 100
    assert work.sample_bytes[5] == 100 + 400
    latency_us = roofline_us(work, DEVICE)
    assert latency_us[2] == pytest.approx(80 / 8 + LAUNCH_US)
    # Without a rate for 8 bits it is done in fp32.
    assert roofline_us(work, replace(DEVICE, int8_tops=None))[2] == pytest.approx(80 + LAUNCH_US)


def test_what_is_also_wanted_in_floats_is_not_fused() -> None:
    # The model returns what the second DequantizeLinear makes.
    np.testing.assert_array_equal(work_of(quantised("e")).launches, [1, 0, 1, 0, 1, 1])
    # The convolution's floats are read by another too.
    whole = quantised()
    also = Operator("also", "Neg", ("c",), ("z",), 100, 0)
    both = replace(
        whole,
        operators=(*whole.operators, also),
        tensors={**whole.tensors, "z": tensor("z", 100)},
        outputs=("y", "z"),
    )
    work = work_of(both)
    np.testing.assert_array_equal(work.launches, [1, 0, 1, 1, 0, 1, 1])
    assert work.sample_bytes[2] == 100 + 400


def test_guesses_are_told_with_their_share_of_the_time() -> None:
    known = Operator("known", "Relu", ("x",), ("h",), 0, 0)
    odd = Operator("odd", "RoiAlign", ("h",), ("y",), 3_000_000, 0)
    model = graph([known, odd], [tensor("x", 125), tensor("h", 125), tensor("y", 125)], "y")
    # 1000 bytes each: 1 us and 3 us, and a launch.
    found = guesses(model, DEVICE)
    assert found.kinds == ("RoiAlign",)
    assert found.share_of_time == pytest.approx((3 + LAUNCH_US) / (1 + 3 + 2 * LAUNCH_US))
    assert guesses(quantised(), DEVICE).kinds == ()
