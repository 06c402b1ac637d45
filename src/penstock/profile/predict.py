"""Latency of operators on a catalogued device, by a roofline: an estimate for a device not at hand.

An operator takes the longer of its arithmetic at the device's attainable rate and its memory traffic at the
attainable bandwidth, plus the time to launch it. Batch normalisation is folded into convolutions; else no
fusion, no cache, no Winograd: relative costs of blocks and classes are the use of it, not absolute latencies.
For Inception v3 at 598 x 598 it gives 0.7-1.25 times the latencies measured with PPipe's artifact on P4, T4, V100
and L4 at batch 1 and 4. The model: S. Williams, A. Waterman, D. Patterson, "Roofline: An Insightful Visual
Performance Model for Multicore Architectures", CACM 52(4), 2009, section 3.

Invariant: monotone in batch and in share.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from penstock.errors import BadInputError
from penstock.graph.model_graph import ModelGraph
from penstock.profile.catalogue import DeviceSpec
from penstock.profile.table import LatencyTable

F64 = NDArray[np.float64]

LAUNCH_US = 7.0
"""The fastest twentieth of a traced model's operators take 7.2-7.4 us on P4, T4, V100 and L4 alike."""
VECTOR_EFFICIENCY = 0.7
"""Attained share of the fp32 peak: 1x1 convolutions reach 0.70 of it on a T4 and 0.72 on a P4."""
TENSOR_EFFICIENCY = 0.4
"""Attained share of a tensor-core peak: 3x3 convolutions reach 0.40 of the TF32 peak on an L4 at batch 4."""
BANDWIDTH_EFFICIENCY = 0.8
"""Attained share of the memory bandwidth: activations of 77 MB reach 0.76-0.78 on P4, T4, L4, 0.89 on a V100.

All four were computed from the operator timings that come with the artifact of "PPipe", USENIX ATC 2025
(31 models at batch 4; the shares on repvgg-b3 and wide_resnet101_2), against the catalogue's peaks.
"""

# A runtime answers these with another view of the same memory, or before any sample arrives.
_WITHOUT_WORK = frozenset(
    {"Constant", "Dropout", "Flatten", "Identity", "Reshape", "Shape", "Squeeze", "Unsqueeze"}
)


_HALF = ("float16", "bfloat16")


@dataclass(frozen=True)
class Work:
    """What each operator does, arrays of shape (operators,).

    ``flops`` and ``sample_bytes`` (activations read and written) are for one sample; ``fixed_bytes``
    (parameters, tensors without a batch) are read once a batch. ``half`` marks arithmetic in 16 bits;
    ``launched`` is False for operators that cost nothing.
    """

    flops: F64
    sample_bytes: F64
    fixed_bytes: F64
    half: NDArray[np.bool_]
    launched: NDArray[np.bool_]


def work_of(graph: ModelGraph) -> Work:
    """The :class:`Work` of every operator of ``graph``, in its order."""
    sample_bytes, fixed_bytes, half, launched = [], [], [], []
    convolved: set[str] = set()
    for operator in graph.operators:
        tensors = [graph.tensors[name] for name in (*operator.inputs, *operator.outputs)]
        sample_bytes.append(sum(t.bytes_per_sample for t in tensors if t.batched))
        fixed = sum(t.bytes_per_sample for t in tensors if not t.batched)
        fixed_bytes.append(operator.parameter_bytes + fixed)
        convolved.update(operator.outputs if operator.kind == "Conv" else ())
        # Every runtime folds a batch normalisation into the convolution before it.
        folded = operator.kind == "BatchNormalization" and operator.inputs[0] in convolved
        launched.append(not folded and operator.kind not in _WITHOUT_WORK)
        half.append(any(graph.tensors[name].dtype in _HALF for name in operator.outputs))
    return Work(
        flops=np.array([operator.flops for operator in graph.operators], np.float64),
        sample_bytes=np.array(sample_bytes, np.float64),
        fixed_bytes=np.array(fixed_bytes, np.float64),
        half=np.array(half, np.bool_),
        launched=np.array(launched, np.bool_),
    )


def roofline_us(work: Work, spec: DeviceSpec, batch: int = 1, share: int = 1) -> F64:
    """Latency of each operator at ``batch`` on 1/``share`` of the device; float64, shape (operators,).

    A share divides rate and bandwidth alike; launching is the host's work and is not divided.
    """
    arithmetic_us = (
        work.flops
        * batch
        / np.where(work.half, _flops_per_us(spec, spec.fp16_tflops), _flops_per_us(spec, spec.tf32_tflops))
    )
    bytes_per_us = spec.bandwidth_gbytes_per_s * 1e3 * BANDWIDTH_EFFICIENCY
    traffic_us = (work.fixed_bytes + work.sample_bytes * batch) / bytes_per_us
    return np.where(work.launched, np.maximum(arithmetic_us, traffic_us) * share + LAUNCH_US, 0.0)


def _flops_per_us(spec: DeviceSpec, tensor_tflops: float | None) -> float:
    """The better of tensor and vector units: some devices have tensor cores that gain little over fp32."""
    vector = spec.fp32_tflops * VECTOR_EFFICIENCY
    return max(vector, (tensor_tflops or 0.0) * TENSOR_EFFICIENCY) * 1e6


def predict_operators(graph: ModelGraph, spec: DeviceSpec) -> F64:
    """Latency of each operator at batch 1 on a whole device, in microseconds; float64, shape (operators,)."""
    return roofline_us(work_of(graph), spec)


def predict(
    graph: ModelGraph,
    boundaries: Sequence[int],
    specs: Iterable[DeviceSpec],
    max_batch: int,
    shares: Iterable[int] = (1,),
) -> dict[tuple[str, int], LatencyTable]:
    """Tables of blocks ``[boundaries[k], boundaries[k + 1])`` by (device class, share), to ``max_batch``.

    Raises :class:`BadInputError` for batches that a model of fixed batch cannot run.
    """
    if max_batch > 1 and not any(graph.tensors[name].batched for name in graph.inputs):
        raise BadInputError(
            f"the batch of {graph.name} is fixed, but latencies up to batch {max_batch} are wanted. "
            f"Export the model with a free first dimension, or use --max-batch 1."
        )
    work = work_of(graph)
    batches = range(1, max_batch + 1)
    wanted_shares = tuple(shares)
    return {
        (spec.name, share): _table([roofline_us(work, spec, batch, share) for batch in batches], boundaries)
        for spec in specs
        for share in wanted_shares
    }


def _table(operators_us: list[F64], boundaries: Sequence[int]) -> LatencyTable:
    blocks_us = np.stack([_block_sums(column, boundaries) for column in operators_us], axis=1)
    return LatencyTable(np.ceil(blocks_us).astype(np.int64))


def _block_sums(operators_us: F64, boundaries: Sequence[int]) -> F64:
    # Not np.add.reduceat: it gives the operator itself, not 0, for an empty block.
    ends: F64 = np.concatenate([[0.0], np.cumsum(operators_us)])[np.asarray(boundaries)]
    return np.diff(ends)


def block_ratios(
    graph: ModelGraph, boundaries: Sequence[int], slow: DeviceSpec, fast: DeviceSpec, batch: int = 1
) -> F64:
    """How many times longer each block takes on ``slow`` than on ``fast``; float64, shape (blocks,).

    Blocks without work have the ratio of the whole model.
    """
    work = work_of(graph)
    slow_us, fast_us = (roofline_us(work, spec, batch) for spec in (slow, fast))
    whole = slow_us.sum() / fast_us.sum()
    numerator, denominator = (_block_sums(column, boundaries) for column in (slow_us, fast_us))
    return np.divide(numerator, denominator, out=np.full_like(numerator, whole), where=denominator > 0)
