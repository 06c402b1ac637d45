"""How much of a device's peak rates each kind of operator reaches. This is the data of the roofline.

A table that a measured profile can calibrate (:mod:`penstock.profile.prediction.calibrate`). Shares of peaks carry over
from one device class to another better than times do: that is what makes a calibrated prediction of an unseen class.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

GROUPS = (
    "convolution",
    "grouped convolution",
    "matrix product",
    "attention",
    "recurrence",
    "elementwise",
    "reduction",
    "data movement",
    "other",
)
"""Kinds of operators that meet the same bounds."""

_KINDS = {
    "convolution": "Conv ConvTranspose ConvInteger QLinearConv FusedConv DeformConv",
    "matrix product": (
        "MatMul Gemm MatMulInteger QLinearMatMul Einsum FusedMatMul FusedGemm TransposeMatMul MatMulNBits QGemm "
        "DynamicQuantizeMatMul MatMulIntegerToFloat LinearRegressor LinearClassifier"
    ),
    "attention": "Attention MultiHeadAttention GroupQueryAttention QAttention",
    "recurrence": "RNN GRU LSTM DynamicQuantizeLSTM",
    "reduction": (
        "Softmax LogSoftmax LayerNormalization InstanceNormalization GroupNormalization RMSNormalization "
        "SkipLayerNormalization SkipSimplifiedLayerNormalization SimplifiedLayerNormalization LpNormalization "
        "MeanVarianceNormalization MaxPool AveragePool LpPool GlobalAveragePool GlobalMaxPool GlobalLpPool ReduceMean "
        "ReduceSum ReduceMax ReduceMin ReduceProd ReduceL1 ReduceL2 ReduceSumSquare ReduceLogSum ReduceLogSumExp "
        "ArgMax ArgMin TopK"
    ),
    "data movement": (
        "Cast Compress Concat DepthToSpace Expand Gather GatherElements GatherND Pad ScatterElements ScatterND Slice "
        "SpaceToDepth Split Tile Transpose Resize Upsample"
    ),
}
_GROUP_OF: Mapping[str, str] = MappingProxyType(
    {kind: group for group, kinds in _KINDS.items() for kind in kinds.split()}
)

ON_TENSOR_CORES = frozenset({"convolution", "matrix product", "attention", "recurrence"})
"""Groups whose arithmetic is multiply-adds of matrices. A grouped convolution's are too small for them, or nearly:
a depthwise one has one row a channel."""


def group_of(kind: str, *, known: bool) -> str:
    """The group of an operator called ``kind`` in ONNX; one without a rule (not ``known``) is ``other``."""
    return _GROUP_OF.get(kind, "elementwise" if known else "other")


@dataclass(frozen=True)
class Efficiency:
    """Attained shares of the fp32 peak, of the tensor cores' peak and of the memory bandwidth.

    Of nominal work: above 1 means that a runtime does less (Winograd's algorithm, a cache, fused operators).
    """

    vector: float = 0.7
    tensor: float = 0.4
    bandwidth: float = 0.8


@dataclass(frozen=True)
class DeviceFactor:
    """How a device class differs from the others in all groups alike: clocks under load, power, cache, host."""

    arithmetic: float = 1.0
    bandwidth: float = 1.0
    launch: float = 1.0


@dataclass(frozen=True)
class EfficiencyTable:
    """An :class:`Efficiency` for every group, and the time to launch an operator. ``source``: where it comes from.

    ``devices``: by device class, a factor that was measured on it; another class has none.
    """

    groups: Mapping[str, Efficiency]
    launch_us: float
    source: str
    devices: Mapping[str, DeviceFactor] = field(default_factory=dict)

    def of(self, group: str, device_class: str) -> Efficiency:
        """The entry of ``group`` on ``device_class``."""
        plain, factor = self.groups[group], self.devices.get(device_class, DeviceFactor())
        return Efficiency(
            vector=plain.vector * factor.arithmetic,
            tensor=plain.tensor * factor.arithmetic,
            bandwidth=plain.bandwidth * factor.bandwidth,
        )

    def launch_us_on(self, device_class: str) -> float:
        """The time to launch an operator on ``device_class``."""
        return self.launch_us * self.devices.get(device_class, DeviceFactor()).launch


LAUNCH_US = 7.0
"""The fastest twentieth of a traced model's operators take 7.2-7.4 us on P4, T4, V100 and L4 alike."""
VECTOR_EFFICIENCY = Efficiency.vector
"""Attained share of the fp32 peak: 1x1 convolutions reach 0.70 of it on a T4 and 0.72 on a P4."""
TENSOR_EFFICIENCY = Efficiency.tensor
"""Attained share of a tensor-core peak: 3x3 convolutions reach 0.40 of the TF32 peak on an L4 at batch 4."""
BANDWIDTH_EFFICIENCY = Efficiency.bandwidth
"""Attained share of the memory bandwidth: activations of 77 MB reach 0.76-0.78 on P4, T4, L4, 0.89 on a V100.

All four were computed from the operator timings that come with the artifact of "PPipe", USENIX ATC 2025
(31 models at batch 4; the shares on repvgg-b3 and wide_resnet101_2), against the catalogue's peaks.
"""

DEFAULT_TABLE = EfficiencyTable(
    groups=MappingProxyType(dict.fromkeys(GROUPS, Efficiency())),
    launch_us=LAUNCH_US,
    source="default shares of the peaks",
)
