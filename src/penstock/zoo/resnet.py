"""Residual networks: He et al., "Deep Residual Learning for Image Recognition" (arXiv:1512.03385), table 1.

A bottleneck that halves the map does so in its 3x3 convolution, as in torchvision ("ResNet v1.5"). In the paper it is
the first 1x1 convolution. Shortcuts that change shape are projections (option B of section 3.3).
"""

from __future__ import annotations

from collections.abc import Callable

from penstock.zoo.builder import NetworkBuilder, Tensor

Block = Callable[[NetworkBuilder, Tensor, int, int, str], Tensor]
"""(network, input, width, stride, name) -> output."""

WIDTHS = (64, 128, 256, 512)
STAGES_18 = (2, 2, 2, 2)
STAGES_34_AND_50 = (3, 4, 6, 3)
BOTTLENECK_EXPANSION = 4

# A branch adds this share of its deviation to the shortcut. Trained networks often start from 0 (Goyal
# et al., arXiv:1706.02677, section 5.1). 1 would double the variance in each of up to 16 blocks.
BRANCH_SCALE = 0.3


def resnet18(network: NetworkBuilder, image: Tensor, classes: int) -> tuple[Tensor, ...]:
    """ResNet-18: 8 basic blocks."""
    return network.classifier(residual_stages(network, image, basic, STAGES_18)[-1], classes, parameters="fc")


def resnet34(network: NetworkBuilder, image: Tensor, classes: int) -> tuple[Tensor, ...]:
    """ResNet-34: 16 basic blocks."""
    stages = residual_stages(network, image, basic, STAGES_34_AND_50)
    return network.classifier(stages[-1], classes, parameters="fc")


def resnet50(network: NetworkBuilder, image: Tensor, classes: int) -> tuple[Tensor, ...]:
    """ResNet-50: 16 bottlenecks."""
    stages = residual_stages(network, image, bottleneck, STAGES_34_AND_50)
    return network.classifier(stages[-1], classes, parameters="fc")


def residual_stages(
    network: NetworkBuilder, image: Tensor, block: Block, depths: tuple[int, ...], prefix: str = ""
) -> list[Tensor]:
    """The stem and the four stages. Returns each stage's output, at strides 4, 8, 16 and 32."""
    x = network.conv(image, 64, 7, name=f"{prefix}conv1", stride=2, padding=3)
    x = network.relu(network.batch_norm(x, name=f"{prefix}bn1"))
    x = network.max_pool(x, 3, 2, name=f"{prefix}maxpool", padding=1)
    outputs = []
    for stage, (width, depth) in enumerate(zip(WIDTHS, depths, strict=True), start=1):
        for index in range(depth):
            stride = 2 if index == 0 and stage > 1 else 1
            x = block(network, x, width, stride, f"{prefix}layer{stage}.{index}")
        outputs.append(x)
    return outputs


def basic(network: NetworkBuilder, x: Tensor, width: int, stride: int, name: str) -> Tensor:
    """Two 3x3 convolutions (the paper's figure 5, left)."""
    y = network.conv(x, width, 3, name=f"{name}.conv1", stride=stride, padding=1)
    y = network.relu(network.batch_norm(y, name=f"{name}.bn1"))
    y = network.conv(y, width, 3, name=f"{name}.conv2", padding=1, gain=1.0)
    y = network.batch_norm(y, name=f"{name}.bn2", scale=BRANCH_SCALE)
    return _join(network, x, y, stride, name)


def bottleneck(network: NetworkBuilder, x: Tensor, width: int, stride: int, name: str) -> Tensor:
    """A 1x1, a 3x3 and a 1x1 convolution of four times the width (the paper's figure 5, right)."""
    y = network.conv(x, width, 1, name=f"{name}.conv1")
    y = network.relu(network.batch_norm(y, name=f"{name}.bn1"))
    y = network.conv(y, width, 3, name=f"{name}.conv2", stride=stride, padding=1)
    y = network.relu(network.batch_norm(y, name=f"{name}.bn2"))
    y = network.conv(y, BOTTLENECK_EXPANSION * width, 1, name=f"{name}.conv3", gain=1.0)
    y = network.batch_norm(y, name=f"{name}.bn3", scale=BRANCH_SCALE)
    return _join(network, x, y, stride, name)


def _join(network: NetworkBuilder, x: Tensor, branch: Tensor, stride: int, name: str) -> Tensor:
    """The branch plus the shortcut. If the shape changes, the shortcut is projected."""
    if x.shape != branch.shape:
        x = network.conv(x, branch.channels, 1, name=f"{name}.downsample.0", stride=stride, gain=1.0)
        x = network.batch_norm(x, name=f"{name}.downsample.1")
    return network.relu(network.add(branch, x, name=f"{name}.add"))
