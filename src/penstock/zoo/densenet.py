"""DenseNet: Huang et al., "Densely Connected Convolutional Networks" (arXiv:1608.06993), table 1.

Each layer reads every earlier output of its block. So any cut inside a block has to transfer many tensors, which is
the hard case for pipelines. The variant is DenseNet-BC (section 3: bottleneck layers, compression 0.5).
"""

from __future__ import annotations

from penstock.zoo.builder import NetworkBuilder, Tensor

BLOCKS_121 = (6, 12, 24, 16)
GROWTH = 32
BOTTLENECK = 4 * GROWTH


def densenet121(network: NetworkBuilder, image: Tensor, classes: int) -> tuple[Tensor, ...]:
    """DenseNet-121."""
    x = network.conv(image, 64, 7, name="features.conv0", stride=2, padding=3)
    x = _norm_relu(network, x, "features.norm0")
    x = network.max_pool(x, 3, 2, name="features.pool0", padding=1)
    for number, layers in enumerate(BLOCKS_121, start=1):
        x = _dense_block(network, x, layers, f"features.denseblock{number}")
        if number < len(BLOCKS_121):
            x = _transition(network, x, f"features.transition{number}")
    return network.classifier(_norm_relu(network, x, "features.norm5"), classes, parameters="classifier")


def _dense_block(network: NetworkBuilder, x: Tensor, layers: int, name: str) -> Tensor:
    """Layers that each add ``GROWTH`` channels to all earlier ones."""
    parts = [x]
    for number in range(1, layers + 1):
        parts.append(_dense_layer(network, x, f"{name}.denselayer{number}"))
        x = network.concat(parts, name=f"{name}.concat{number}")
    return x


def _dense_layer(network: NetworkBuilder, x: Tensor, name: str) -> Tensor:
    """A 1x1 then a 3x3 convolution, each after normalisation and rectifier (the paper's section 3)."""
    x = network.conv(_norm_relu(network, x, f"{name}.norm1"), BOTTLENECK, 1, name=f"{name}.conv1")
    return network.conv(_norm_relu(network, x, f"{name}.norm2"), GROWTH, 3, name=f"{name}.conv2", padding=1)


def _transition(network: NetworkBuilder, x: Tensor, name: str) -> Tensor:
    """Halve the channels, the height and the width."""
    x = _norm_relu(network, x, f"{name}.norm")
    x = network.conv(x, x.channels // 2, 1, name=f"{name}.conv")
    return network.average_pool(x, 2, 2, name=f"{name}.pool")


def _norm_relu(network: NetworkBuilder, x: Tensor, name: str) -> Tensor:
    return network.relu(network.batch_norm(x, name=name))
