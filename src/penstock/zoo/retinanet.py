"""RetinaNet: Lin et al., "Focal Loss for Dense Object Detection" (arXiv:1708.02002), section 4.

A ResNet-50, a feature pyramid over it (Lin et al., "Feature Pyramid Networks", arXiv:1612.03144,
section 3), and two small heads. All levels share the heads' weights. Maps from the middle of the backbone
are read again after its end, and there are ten outputs. Cuts of a chain do not cover this case.
The client decodes boxes and removes overlaps.
"""

from __future__ import annotations

from collections.abc import Sequence

from penstock.zoo.builder import NetworkBuilder, Tensor
from penstock.zoo.resnet import STAGES_34_AND_50, bottleneck, residual_stages

PYRAMID_WIDTH = 256
ANCHORS = 9  # three sizes by three aspect ratios at each position (section 4, "Anchors")
HEAD_DEPTH = 4


def retinanet_resnet50_fpn(network: NetworkBuilder, image: Tensor, classes: int) -> tuple[Tensor, ...]:
    """RetinaNet with levels P3 to P7.

    Outputs: ``class_logits_p3 .. p7`` of ``ANCHORS * classes`` channels, then ``box_deltas_p3 .. p7`` of
    ``ANCHORS * 4``, as maps at strides 8 to 128.
    """
    backbone = residual_stages(network, image, bottleneck, STAGES_34_AND_50, prefix="backbone.body.")
    levels = list(enumerate(_pyramid(network, backbone[1:]), start=3))
    logits = [
        _head(network, x, f"p{level}", "classification", "class_logits", ANCHORS * classes)
        for level, x in levels
    ]
    deltas = [_head(network, x, f"p{level}", "regression", "box_deltas", ANCHORS * 4) for level, x in levels]
    return (*logits, *deltas)


def _pyramid(network: NetworkBuilder, stages: Sequence[Tensor]) -> list[Tensor]:
    """P3 to P5, built from the backbone's C3 to C5, from the top down. Then P6 and P7 (section 4, footnote 2).

    P6 is made from P5, as in torchvision. The paper makes it from C5.
    """
    merged = [_lateral(network, stages[-1], 5)]
    for level, stage in ((4, stages[-2]), (3, stages[-3])):
        above = network.double(merged[0], name=f"backbone.fpn.double{level + 1}")
        lateral = _lateral(network, stage, level)
        merged.insert(0, network.add(lateral, above, name=f"backbone.fpn.add{level}"))
    fine = [
        _pyramid_conv(network, x, f"backbone.fpn.layer_block{level}")
        for level, x in enumerate(merged, start=3)
    ]
    sixth = _pyramid_conv(network, fine[-1], "backbone.fpn.p6", stride=2)
    seventh = _pyramid_conv(network, network.relu(sixth), "backbone.fpn.p7", stride=2, gain=2.0)
    return [*fine, sixth, seventh]


def _lateral(network: NetworkBuilder, stage: Tensor, level: int) -> Tensor:
    return network.conv(stage, PYRAMID_WIDTH, 1, name=f"backbone.fpn.inner_block{level}", bias=True, gain=1.0)


def _pyramid_conv(
    network: NetworkBuilder, x: Tensor, name: str, *, stride: int = 1, gain: float = 1.0
) -> Tensor:
    return network.conv(x, PYRAMID_WIDTH, 3, name=name, stride=stride, padding=1, bias=True, gain=gain)


def _head(network: NetworkBuilder, x: Tensor, level: str, head: str, output: str, channels: int) -> Tensor:
    """Four 3x3 convolutions and a last one, the same for every level (the paper's figure 3(c, d))."""
    for index in range(HEAD_DEPTH):
        shared = f"head.{head}.conv.{index}"
        x = network.conv(x, x.channels, 3, name=f"{shared}.{level}", padding=1, bias=True, parameters=shared)
        x = network.relu(x)
    return network.conv(
        x,
        channels,
        3,
        name=f"{output}_{level}",
        padding=1,
        bias=True,
        gain=1.0,
        parameters=f"head.{head}.{output}",
    )
