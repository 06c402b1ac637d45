"""SqueezeNet 1.1: Iandola et al., "SqueezeNet" (arXiv:1602.07360), section 3 and figure 2.

Version 1.1, from the authors' code release, has a 3x3 stem of 64 channels and pools earlier than the
paper's table 1. So it needs 2.4 times fewer operations. It has no batch normalisation.
"""

from __future__ import annotations

from penstock.zoo.builder import NetworkBuilder, Tensor

# (squeeze channels, channels of each expand path) of the fire modules between two poolings.
FIRES = (
    ((16, 64), (16, 64)),
    ((32, 128), (32, 128)),
    ((48, 192), (48, 192), (64, 256), (64, 256)),
)


def squeezenet1_1(network: NetworkBuilder, image: Tensor, classes: int) -> tuple[Tensor, ...]:
    """SqueezeNet 1.1. Its classifier is a convolution, averaged over the map."""
    x = network.relu(network.conv(image, 64, 3, name="features.0", stride=2, bias=True))
    index = 2
    for group in FIRES:
        x = network.max_pool(x, 3, 2, name=f"features.{index}", ceil=True)
        index += 1
        for squeeze, expand in group:
            x = _fire(network, x, squeeze, expand, f"features.{index}")
            index += 1
    x = network.relu(network.conv(x, classes, 1, name="classifier.1", bias=True))
    return (network.flatten(network.global_average_pool(x), name="logits"),)


def _fire(network: NetworkBuilder, x: Tensor, squeeze: int, expand: int, name: str) -> Tensor:
    """A few 1x1 filters feed parallel 1x1 and 3x3 filters (the paper's section 3.2, figure 1)."""
    x = network.relu(network.conv(x, squeeze, 1, name=f"{name}.squeeze", bias=True))
    narrow = network.relu(network.conv(x, expand, 1, name=f"{name}.expand1x1", bias=True))
    wide = network.relu(network.conv(x, expand, 3, name=f"{name}.expand3x3", padding=1, bias=True))
    return network.concat([narrow, wide], name=f"{name}.concat")
