"""GoogLeNet: Szegedy et al., "Going Deeper with Convolutions" (arXiv:1409.4842), table 1 and figure 2(b).

As in torchvision, batch normalisation follows every convolution and replaces local response normalisation.
The path that the paper calls 5x5 has 3x3 filters. The auxiliary classifiers (section 5) are used only in
training, so they are left out.
"""

from __future__ import annotations

from penstock.zoo.builder import NetworkBuilder, Pair, Tensor

EPSILON = 1e-3

# Columns of the paper's table 1: 1x1; 3x3 reduce, 3x3; 5x5 reduce, 5x5; pool projection. The modules
# of one stage are together. The value before them is the kernel of the pooling before the stage.
STAGES: tuple[tuple[int, dict[str, tuple[int, ...]]], ...] = (
    (3, {"3a": (64, 96, 128, 16, 32, 32), "3b": (128, 128, 192, 32, 96, 64)}),
    (
        3,
        {
            "4a": (192, 96, 208, 16, 48, 64),
            "4b": (160, 112, 224, 24, 64, 64),
            "4c": (128, 128, 256, 24, 64, 64),
            "4d": (112, 144, 288, 32, 64, 64),
            "4e": (256, 160, 320, 32, 128, 128),
        },
    ),
    # The paper pools 3x3 here too, but the reference implementation pools 2x2.
    (2, {"5a": (256, 160, 320, 32, 128, 128), "5b": (384, 192, 384, 48, 128, 128)}),
)


def googlenet(network: NetworkBuilder, image: Tensor, classes: int) -> tuple[Tensor, ...]:
    """GoogLeNet: a stem and nine inception modules."""
    x = conv_norm_relu(network, image, 64, 7, "conv1", stride=2, padding=3)
    x = network.max_pool(x, 3, 2, name="maxpool1", ceil=True)
    x = conv_norm_relu(network, x, 64, 1, "conv2")
    x = conv_norm_relu(network, x, 192, 3, "conv3", padding=1)
    for number, (kernel, modules) in enumerate(STAGES, start=2):
        x = network.max_pool(x, kernel, 2, name=f"maxpool{number}", ceil=True)
        for module, widths in modules.items():
            x = _inception(network, x, widths, f"inception{module}")
    return network.classifier(x, classes, parameters="fc")


def _inception(network: NetworkBuilder, x: Tensor, widths: tuple[int, ...], name: str) -> Tensor:
    """Four parallel paths (the paper's figure 2(b))."""
    one, three_reduce, three, five_reduce, five, projection = widths
    narrow = conv_norm_relu(network, x, one, 1, f"{name}.branch1")
    middle = conv_norm_relu(network, x, three_reduce, 1, f"{name}.branch2.0")
    middle = conv_norm_relu(network, middle, three, 3, f"{name}.branch2.1", padding=1)
    wide = conv_norm_relu(network, x, five_reduce, 1, f"{name}.branch3.0")
    wide = conv_norm_relu(network, wide, five, 3, f"{name}.branch3.1", padding=1)
    pooled = network.max_pool(x, 3, 1, name=f"{name}.branch4.0", padding=1)
    pooled = conv_norm_relu(network, pooled, projection, 1, f"{name}.branch4.1")
    return network.concat([narrow, middle, wide, pooled], name=f"{name}.concat")


def conv_norm_relu(
    network: NetworkBuilder,
    x: Tensor,
    channels: int,
    kernel: Pair,
    name: str,
    *,
    stride: int = 1,
    padding: Pair = 0,
) -> Tensor:
    """Convolution, batch normalisation, rectifier: the unit of both generations of inception networks."""
    x = network.conv(x, channels, kernel, name=f"{name}.conv", stride=stride, padding=padding)
    return network.relu(network.batch_norm(x, name=f"{name}.bn", epsilon=EPSILON))
