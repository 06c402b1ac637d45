"""MobileNetV2: Sandler et al., "Inverted Residuals and Linear Bottlenecks" (arXiv:1801.04381), table 2."""

from __future__ import annotations

from penstock.zoo.builder import NetworkBuilder, Tensor

# The paper's table 2: (expansion t, channels c, repeats n, stride s of the first repeat).
BOTTLENECKS = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def mobilenet_v2(network: NetworkBuilder, image: Tensor, classes: int) -> tuple[Tensor, ...]:
    """MobileNetV2 of width 1."""
    x = _conv_norm_relu6(network, image, 32, 3, "features.0", stride=2)
    index = 1
    for expansion, channels, repeats, first_stride in BOTTLENECKS:
        for repeat in range(repeats):
            stride = first_stride if repeat == 0 else 1
            x = _inverted_residual(network, x, channels, stride, expansion, f"features.{index}")
            index += 1
    x = _conv_norm_relu6(network, x, 1280, 1, f"features.{index}")
    return network.classifier(x, classes, parameters="classifier.1")


def _inverted_residual(
    network: NetworkBuilder, x: Tensor, channels: int, stride: int, expansion: int, name: str
) -> Tensor:
    """Widen, filter each channel separately, and narrow without a rectifier (the paper's table 1)."""
    hidden = expansion * x.channels
    y = x
    if expansion > 1:
        y = _conv_norm_relu6(network, y, hidden, 1, f"{name}.conv.expand")
    y = _conv_norm_relu6(network, y, hidden, 3, f"{name}.conv.depthwise", stride=stride, groups=hidden)
    y = network.conv(y, channels, 1, name=f"{name}.conv.project.0", gain=1.0)
    y = network.batch_norm(y, name=f"{name}.conv.project.1")
    if y.shape == x.shape:
        return network.add(x, y, name=f"{name}.add")
    return y


def _conv_norm_relu6(
    network: NetworkBuilder,
    x: Tensor,
    channels: int,
    kernel: int,
    name: str,
    *,
    stride: int = 1,
    groups: int = 1,
) -> Tensor:
    x = network.conv(x, channels, kernel, name=f"{name}.0", stride=stride, padding=kernel // 2, groups=groups)
    return network.relu6(network.batch_norm(x, name=f"{name}.1"))
