"""The roofline by hand, its monotonicity, and the catalogue."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from penstock.errors import BadInputError
from penstock.graph.model_graph import ModelGraph, Operator, Tensor
from penstock.graph.reading.onnx_reader import read_onnx
from penstock.profile.prediction.device_catalogue import CATALOGUE, DeviceSpec, device_spec
from penstock.profile.prediction.efficiency import (
    BANDWIDTH_EFFICIENCY,
    GROUPS,
    LAUNCH_US,
    TENSOR_EFFICIENCY,
    VECTOR_EFFICIENCY,
)
from penstock.profile.prediction.predict import (
    Work,
    block_ratios,
    predict,
    predict_operators,
    roofline_us,
    work_of,
)

# Attainable: 1e6 flops and 1e3 bytes a microsecond.
DEVICE = DeviceSpec("toy", 1 / VECTOR_EFFICIENCY, None, None, 1 / BANDWIDTH_EFFICIENCY, 1, "made up")


def make_work(**changes: list[float]) -> Work:
    """A convolution bound by arithmetic, then an addition bound by memory, then a reshape."""
    fields = {
        "flops": [50e6, 1e6, 0],
        "sample_bytes": [4e3, 12e3, 8e3],
        "fixed_bytes": [2e3, 0, 0],
        "bits": [32, 32, 32],
        "launches": [1, 1, 0],
        "group": [GROUPS.index(name) for name in ("convolution", "elementwise", "data movement")],
    } | changes
    arrays = {name: np.array(values, np.float64) for name, values in fields.items()}
    arrays |= {name: arrays[name].astype(np.int64) for name in ("bits", "group")}
    return Work(**arrays)


def test_roofline_by_hand() -> None:
    # Convolution: max(50 us of arithmetic, 6 us of traffic); addition: max(1, 12); the reshape is a view.
    np.testing.assert_allclose(roofline_us(make_work(), DEVICE), [50 + LAUNCH_US, 12 + LAUNCH_US, 0])
    # Batch 3: parameters are read once: 150 us; 36 us.
    np.testing.assert_allclose(
        roofline_us(make_work(), DEVICE, batch=3), [150 + LAUNCH_US, 36 + LAUNCH_US, 0]
    )
    # Half a device: twice the work's time, the same launch.
    np.testing.assert_allclose(
        roofline_us(make_work(), DEVICE, share=2), [100 + LAUNCH_US, 24 + LAUNCH_US, 0]
    )


def test_what_fits_the_cache_is_read_from_there() -> None:
    cached = replace(DEVICE, cache_mb=0.02)
    # The addition moves 12 kB, half of it from the cache; at batch 3, 36 kB, of which 20 fit.
    assert roofline_us(make_work(), cached)[1] == pytest.approx(6 + LAUNCH_US)
    assert roofline_us(make_work(), cached, batch=3)[1] == pytest.approx(36 - 10 + LAUNCH_US)
    # Half the device has half the cache: 12 kB, of which 10 fit, at half the bandwidth.
    assert roofline_us(make_work(), cached, share=2)[1] == pytest.approx((12 - 5) * 2 + LAUNCH_US)


def test_tensor_cores_serve_where_they_are_faster() -> None:
    faster = replace(DEVICE, tf32_tflops=5 / TENSOR_EFFICIENCY, fp16_tflops=10 / TENSOR_EFFICIENCY)
    np.testing.assert_allclose(roofline_us(make_work(), faster)[0], 10 + LAUNCH_US)
    np.testing.assert_allclose(
        roofline_us(make_work(bits=[16, 32, 32]), faster)[0], 6 + LAUNCH_US
    )  # now memory
    slower = replace(DEVICE, tf32_tflops=0.1)
    np.testing.assert_allclose(roofline_us(make_work(), slower)[0], 50 + LAUNCH_US)


@given(
    flops=st.floats(0, 1e12),
    sample_bytes=st.floats(0, 1e9),
    fixed_bytes=st.floats(0, 1e9),
    batch=st.integers(1, 64),
    share=st.integers(1, 8),
    name=st.sampled_from(sorted(CATALOGUE)),
)
def test_monotone_in_batch_and_share_and_at_most_proportional(
    flops: float, sample_bytes: float, fixed_bytes: float, batch: int, share: int, name: str
) -> None:
    columns = [flops], [sample_bytes], [fixed_bytes], [32], [1], [GROUPS.index("matrix product")]
    work, spec = Work(*(np.array(column) for column in columns)), device_spec(name)
    one, more, shared = (
        roofline_us(work, spec, *place)[0]
        for place in ((batch, share), (batch + 1, share), (batch, share + 1))
    )
    assert LAUNCH_US <= one <= more
    assert one <= shared
    # What a cache serves is not proportional: a batch that outgrows it pays for all the rest.
    plain = replace(spec, cache_mb=0.0)
    one, more = (roofline_us(work, plain, size, share)[0] for size in (batch, batch + 1))
    assert more <= one * (batch + 1) / batch * (1 + 1e-12)


def test_the_catalogue_is_complete_and_consistent() -> None:
    assert list(CATALOGUE) == ["P4", "T4", "V100", "L4", "A10", "A30", "L40S", "A100", "H100", "H200"]
    for spec in CATALOGUE.values():
        assert "data sheet" in spec.source or "product brief" in spec.source
        if spec.tf32_tflops is not None:
            # On NVIDIA's tensor cores float16 runs at about twice the rate of TF32.
            assert spec.fp16_tflops == pytest.approx(2 * spec.tf32_tflops, rel=0.02)
            # And 8-bit integers at twice that of float16.
            assert spec.int8_tops == pytest.approx(2 * spec.fp16_tflops, rel=0.02)


def test_an_unknown_class_lists_the_known() -> None:
    with pytest.raises(BadInputError, match=r"'B200' is not in the catalogue \(it has P4, T4"):
        device_spec("B200")


def read_two_operators(folder: Path) -> ModelGraph:
    """``relu(x @ w)`` with ``x`` of 256 and ``y`` of 128 float32 a sample."""
    weight = numpy_helper.from_array(np.zeros((256, 128), np.float32), "w")
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "w"], ["m"], "matmul"),
            helper.make_node("Relu", ["m"], ["y"], "relu"),
        ],
        "toy",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 256])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 128])],
        [weight],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8),
        folder / "toy.onnx",
    )
    return read_onnx(folder / "toy.onnx").graph


def test_work_of_a_two_operator_graph(tmp_path: Path) -> None:
    work = work_of(read_two_operators(tmp_path))
    assert work.flops[0] == 2 * 256 * 128
    np.testing.assert_array_equal(work.sample_bytes, [4 * 256 + 4 * 128, 4 * 128 + 4 * 128])
    np.testing.assert_array_equal(work.fixed_bytes, [4 * 256 * 128, 0])
    np.testing.assert_array_equal(work.launches, [1, 1])
    np.testing.assert_array_equal(work.bits, [32, 32])
    assert [GROUPS[place] for place in work.group] == ["matrix product", "elementwise"]


def test_batch_normalisation_costs_nothing_after_a_convolution_only() -> None:
    tensors = {name: Tensor(name, "float32", (-1, 4), True, 16) for name in "xcbra"}
    chain = (
        ("Conv", "x", "c"),
        ("BatchNormalization", "c", "b"),
        ("Relu", "b", "r"),
        ("BatchNormalization", "r", "a"),
    )
    operators = tuple(
        Operator(made, kind, (source,), (made,), flops=4, parameter_bytes=0) for kind, source, made in chain
    )
    work = work_of(ModelGraph("toy", operators, tensors, ("x",), ("a",), {}))
    np.testing.assert_array_equal(work.launches, [1, 0, 1, 1])


def test_tables_of_a_two_operator_graph(tmp_path: Path) -> None:
    graph = read_two_operators(tmp_path)
    tables = predict(graph, (0, 1, 2), [DEVICE], max_batch=2, shares=(1, 2))
    assert tables.keys() == {("toy", 1), ("toy", 2)}
    # 1000 bytes a microsecond: weights 131.072 us, the activations of the product 1.536, of the ReLU 1.024;
    # launches take 7. Latencies are rounded up.
    np.testing.assert_array_equal(tables["toy", 1].latency_us, [[140, 142], [9, 10]])
    np.testing.assert_array_equal(tables["toy", 2].latency_us, [[273, 276], [10, 12]])
    np.testing.assert_allclose(predict_operators(graph, DEVICE), [139.608, 8.024])
    merged = predict(graph, (0, 2), [DEVICE], max_batch=1)["toy", 1]
    np.testing.assert_array_equal(merged.latency_us, [[148]])


def test_ratios_of_blocks(tmp_path: Path) -> None:
    graph = read_two_operators(tmp_path)
    half = replace(DEVICE, bandwidth_gbytes_per_s=DEVICE.bandwidth_gbytes_per_s / 2)
    ratios = block_ratios(graph, (0, 1, 2), half, DEVICE)
    np.testing.assert_allclose(ratios, [(2 * 132.608 + 7) / (132.608 + 7), (2 * 1.024 + 7) / (1.024 + 7)])
    np.testing.assert_array_equal(block_ratios(graph, (0, 2), DEVICE, DEVICE), [1.0])
