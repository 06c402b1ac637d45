"""Latency of operators on a catalogued device, by a roofline: an estimate for a device not at hand.

An operator takes the longer of its arithmetic at the device's attainable rate and its memory traffic at the
attainable bandwidth, plus the time to launch it. Attainable shares are data
(:mod:`penstock.profile.prediction.efficiency`). Batch normalisation is folded into convolutions, quantising and
dequantising into their neighbours; a recurrence launches and reads its weights at every step; a lookup reads the rows
that it gives out; what fits the last-level cache is read from there. Else no fusion, no Winograd: relative costs of
blocks and classes are the use of it, not absolute latencies. How far it is off on P4, T4, V100 and L4 is what
benchmarks/predict.py prints. The model: S. Williams, A. Waterman, D. Patterson, "Roofline: An Insightful Visual
Performance Model for Multicore Architectures", CACM 52(4), 2009, section 3.

Invariant: monotone in batch and in share.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from penstock.arrays import F64, I64
from penstock.errors import BadInputError
from penstock.graph.flops import has_rule
from penstock.graph.model_graph import ModelGraph, Operator
from penstock.profile.prediction.device_catalogue import DeviceSpec
from penstock.profile.prediction.efficiency import (
    DEFAULT_TABLE,
    GROUPS,
    ON_TENSOR_CORES,
    Efficiency,
    EfficiencyTable,
    group_of,
)
from penstock.profile.prediction.fusion import Fusion
from penstock.profile.table import LatencyTable

FROM_CACHE = 0.5
"""Of what fits the last-level cache, the half that is read was just written and is still there; the half that is
written goes out. Judged by benchmarks/predict.py: an L4, with 48 MB, was predicted 1.3-1.5 times too long without."""

# A runtime answers these with another view of the same memory, or before any sample arrives.
_WITHOUT_WORK = frozenset(
    {"Constant", "Dropout", "Flatten", "Identity", "Reshape", "Shape", "Squeeze", "Unsqueeze"}
)


_HALF = ("float16", "bfloat16")
_INT8_KINDS = frozenset(
    {
        "ConvInteger",
        "QLinearConv",
        "MatMulInteger",
        "QLinearMatMul",
        "DynamicQuantizeMatMul",
        "MatMulIntegerToFloat",
        "QGemm",
        "QAttention",
        "DynamicQuantizeLSTM",
    }
)
# They read as much of an operand as they give out.
_LOOKS_UP = frozenset({"Gather", "GatherElements", "GatherND", "Slice", "EmbedLayerNormalization"})


@dataclass(frozen=True)
class Work:
    """What each operator does, arrays of shape (operators,).

    ``flops`` and ``sample_bytes`` (activations and looked-up rows, read and written) are for one sample;
    ``fixed_bytes`` (parameters, tensors without a batch) are moved once a batch, or once a step of a recurrence.
    ``bits`` is the width of the arithmetic (32, 16 or 8), ``launches`` how many kernels start one after another
    (0: it costs nothing), ``group`` a place in :data:`GROUPS`.
    """

    flops: F64
    sample_bytes: F64
    fixed_bytes: F64
    bits: I64
    launches: F64
    group: I64


def work_of(graph: ModelGraph) -> Work:
    """The :class:`Work` of every operator of ``graph``, in its order."""
    fusion = Fusion(graph)
    moved = [_traffic(operator, graph, fusion) for operator in graph.operators]
    return Work(
        flops=np.array([operator.flops for operator in graph.operators], np.float64),
        sample_bytes=np.array([sample for sample, _ in moved], np.float64),
        fixed_bytes=np.array([fixed for _, fixed in moved], np.float64),
        bits=np.array([_bits(operator, graph, fusion) for operator in graph.operators], np.int64),
        launches=np.array([_launches(operator, fusion) for operator in graph.operators], np.float64),
        group=np.array([GROUPS.index(_group(operator)) for operator in graph.operators], np.int64),
    )


def _traffic(operator: Operator, graph: ModelGraph, fusion: Fusion) -> tuple[int, int]:
    """Bytes moved for each sample, and once a batch."""
    made = [graph.tensors[fusion.written_as(name)] for name in operator.outputs]
    read = [graph.tensors[fusion.read_as(name)] for name in operator.inputs]
    made_bytes = sum(tensor.bytes_per_sample for tensor in made)
    per_sample = any(tensor.batched for tensor in made)
    sample, fixed = 0, 0
    for tensor in (*read, *made):
        size = tensor.bytes_per_sample
        if operator.kind in _LOOKS_UP:
            size = min(size, made_bytes)
        sample, fixed = (sample + size, fixed) if tensor.batched else (sample, fixed + size)
    if operator.kind in _LOOKS_UP and per_sample:
        # Of a table, a lookup reads the rows that it gives out.
        return sample + min(operator.parameter_bytes, made_bytes), fixed
    return sample, fixed + operator.parameter_bytes + (operator.steps - 1) * operator.step_bytes


def _bits(operator: Operator, graph: ModelGraph, fusion: Fusion) -> int:
    if operator.kind in _INT8_KINDS or fusion.computes_in_int8(operator):
        return 8
    return 16 if any(graph.tensors[name].dtype in _HALF for name in operator.outputs) else 32


def _launches(operator: Operator, fusion: Fusion) -> int:
    return 0 if operator.kind in _WITHOUT_WORK or fusion.is_fused(operator) else operator.steps


def _group(operator: Operator) -> str:
    group = group_of(operator.kind, known=has_rule(operator.kind))
    return "grouped convolution" if group == "convolution" and operator.groups > 1 else group


def roofline_us(
    work: Work, spec: DeviceSpec, batch: int = 1, share: int = 1, table: EfficiencyTable = DEFAULT_TABLE
) -> F64:
    """Latency of each operator at ``batch`` on 1/``share`` of the device; float64, shape (operators,).

    A share divides rate, bandwidth and cache alike; launching is the host's work and is not divided.
    """
    attained = [table.of(group, spec.name) for group in GROUPS]
    arithmetic_us = work.flops * batch / _flops_per_us(work, spec, attained)
    bandwidth = np.array([one.bandwidth for one in attained])[work.group] * spec.bandwidth_gbytes_per_s * 1e3
    moved = work.fixed_bytes + work.sample_bytes * batch
    cached = np.minimum(moved, spec.cache_mb * 1e6 / share)
    traffic_us = (moved - FROM_CACHE * cached) / bandwidth
    busy_us = np.maximum(arithmetic_us, traffic_us) * share + table.launch_us_on(spec.name) * work.launches
    return np.where(work.launches > 0, busy_us, 0.0)


def _flops_per_us(work: Work, spec: DeviceSpec, attained: Sequence[Efficiency]) -> F64:
    """Attainable rate of each operator: the better of tensor and vector units, as some tensor cores gain little.

    Where a data sheet states no rate for 8 bits, the products are done in the next wider form that it has.
    """
    vector = np.array([one.vector for one in attained])[work.group] * spec.fp32_tflops
    has_products = [group in ON_TENSOR_CORES for group in GROUPS]
    on_tensor = (np.array([one.tensor for one in attained]) * has_products)[work.group]
    tf32, fp16 = spec.tf32_tflops or 0.0, spec.fp16_tflops or 0.0
    peak = np.select([work.bits == 8, work.bits == 16], [spec.int8_tops or fp16, fp16], tf32)
    rate: F64 = np.maximum(vector, peak * on_tensor) * 1e6
    return rate


def predict_operators(graph: ModelGraph, spec: DeviceSpec, table: EfficiencyTable = DEFAULT_TABLE) -> F64:
    """Latency of each operator at batch 1 on a whole device, in microseconds; float64, shape (operators,)."""
    return roofline_us(work_of(graph), spec, table=table)


@dataclass(frozen=True)
class Guesses:
    """Operators whose cost is guessed: their kinds, and their part of the predicted time at batch 1."""

    kinds: tuple[str, ...]
    share_of_time: float


def guesses(graph: ModelGraph, spec: DeviceSpec, table: EfficiencyTable = DEFAULT_TABLE) -> Guesses:
    """What of a prediction for ``spec`` is guessed: operators without a rule, counted as elementwise."""
    operators_us = predict_operators(graph, spec, table)
    unknown = np.array([not has_rule(operator.kind) for operator in graph.operators], bool)
    kinds = {operator.kind for operator, guessed in zip(graph.operators, unknown, strict=True) if guessed}
    return Guesses(tuple(sorted(kinds)), float(operators_us[unknown].sum() / max(operators_us.sum(), 1e-12)))


def predict(
    graph: ModelGraph,
    boundaries: Sequence[int],
    specs: Iterable[DeviceSpec],
    max_batch: int,
    shares: Iterable[int] = (1,),
    table: EfficiencyTable = DEFAULT_TABLE,
) -> dict[tuple[str, int], LatencyTable]:
    """Tables of blocks ``[boundaries[k], boundaries[k + 1])`` by (device class, share), to ``max_batch``.

    Raises :class:`BadInputError` for batches that a model of fixed batch cannot run.
    """
    if max_batch > 1 and not graph.is_batched:
        raise BadInputError(
            f"the batch of {graph.name} is fixed, but latencies up to batch {max_batch} are wanted. "
            f"Export the model with a free first dimension, or use --max-batch 1."
        )
    work = work_of(graph)
    batches = range(1, max_batch + 1)
    wanted_shares = tuple(shares)
    return {
        (spec.name, share): _table(
            [roofline_us(work, spec, batch, share, table) for batch in batches], boundaries
        )
        for spec in specs
        for share in wanted_shares
    }


def _table(operators_us: list[F64], boundaries: Sequence[int]) -> LatencyTable:
    blocks_us = np.stack([block_sums(column, boundaries) for column in operators_us], axis=1)
    return LatencyTable(np.ceil(blocks_us).astype(np.int64))


def block_sums(operators_us: F64, boundaries: Sequence[int]) -> F64:
    """Times of the blocks from those of their operators; float64, shape (blocks,)."""
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
    numerator, denominator = (block_sums(column, boundaries) for column in (slow_us, fast_us))
    return np.divide(numerator, denominator, out=np.full_like(numerator, whole), where=denominator > 0)
