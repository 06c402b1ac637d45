"""Inception v3: Szegedy et al., "Rethinking the Inception Architecture" (arXiv:1512.00567), table 1.

Module letters and widths are torchvision's, which follow the authors' release. The auxiliary classifier
(section 4) is used only in training, so it is left out.
"""

from __future__ import annotations

from penstock.zoo.builder import NetworkBuilder, Tensor
from penstock.zoo.googlenet import conv_norm_relu

# Factorised filters: rows by columns.
ROW_7, COLUMN_7 = (1, 7), (7, 1)
ROW_3, COLUMN_3 = (1, 3), (3, 1)


def inception_v3(network: NetworkBuilder, image: Tensor, classes: int) -> tuple[Tensor, ...]:
    """Inception v3: a stem, then modules at three sizes of map."""
    x = _stem(network, image)
    x = _module_a(network, x, 32, "Mixed_5b")
    x = _module_a(network, x, 64, "Mixed_5c")
    x = _module_a(network, x, 64, "Mixed_5d")
    x = _module_b(network, x, "Mixed_6a")
    x = _module_c(network, x, 128, "Mixed_6b")
    x = _module_c(network, x, 160, "Mixed_6c")
    x = _module_c(network, x, 160, "Mixed_6d")
    x = _module_c(network, x, 192, "Mixed_6e")
    x = _module_d(network, x, "Mixed_7a")
    x = _module_e(network, x, "Mixed_7b")
    x = _module_e(network, x, "Mixed_7c")
    return network.classifier(x, classes, parameters="fc")


def _stem(network: NetworkBuilder, image: Tensor) -> Tensor:
    """Convolutions and poolings down to an eighth of the image."""
    x = conv_norm_relu(network, image, 32, 3, "Conv2d_1a_3x3", stride=2)
    x = conv_norm_relu(network, x, 32, 3, "Conv2d_2a_3x3")
    x = conv_norm_relu(network, x, 64, 3, "Conv2d_2b_3x3", padding=1)
    x = network.max_pool(x, 3, 2, name="maxpool1")
    x = conv_norm_relu(network, x, 80, 1, "Conv2d_3b_1x1")
    x = conv_norm_relu(network, x, 192, 3, "Conv2d_4a_3x3")
    return network.max_pool(x, 3, 2, name="maxpool2")


def _module_a(network: NetworkBuilder, x: Tensor, pool_width: int, name: str) -> Tensor:
    """5x5 filters as two 3x3 (the paper's figure 5)."""
    one = conv_norm_relu(network, x, 64, 1, f"{name}.branch1x1")
    five = conv_norm_relu(network, x, 48, 1, f"{name}.branch5x5_1")
    five = conv_norm_relu(network, five, 64, 5, f"{name}.branch5x5_2", padding=2)
    double = _double_3x3(network, x, name, last_stride=1)
    pool = _pool_projection(network, x, pool_width, name)
    return network.concat([one, five, double, pool], name=f"{name}.concat")


def _module_b(network: NetworkBuilder, x: Tensor, name: str) -> Tensor:
    """Halve the map by convolutions and a parallel pooling (the paper's figure 10)."""
    three = conv_norm_relu(network, x, 384, 3, f"{name}.branch3x3", stride=2)
    double = _double_3x3(network, x, name, last_stride=2)
    pool = network.max_pool(x, 3, 2, name=f"{name}.branch_pool")
    return network.concat([three, double, pool], name=f"{name}.concat")


def _double_3x3(network: NetworkBuilder, x: Tensor, name: str, last_stride: int) -> Tensor:
    """Two 3x3 convolutions. The one that halves the map has no padding."""
    x = conv_norm_relu(network, x, 64, 1, f"{name}.branch3x3dbl_1")
    x = conv_norm_relu(network, x, 96, 3, f"{name}.branch3x3dbl_2", padding=1)
    padding = 1 if last_stride == 1 else 0
    return conv_norm_relu(network, x, 96, 3, f"{name}.branch3x3dbl_3", stride=last_stride, padding=padding)


def _module_c(network: NetworkBuilder, x: Tensor, width: int, name: str) -> Tensor:
    """7x7 filters as 1x7 and 7x1 (the paper's figure 6)."""
    one = conv_norm_relu(network, x, 192, 1, f"{name}.branch1x1")
    seven = conv_norm_relu(network, x, width, 1, f"{name}.branch7x7_1")
    seven = _line(network, seven, width, ROW_7, f"{name}.branch7x7_2")
    seven = _line(network, seven, 192, COLUMN_7, f"{name}.branch7x7_3")
    double = conv_norm_relu(network, x, width, 1, f"{name}.branch7x7dbl_1")
    double = _line(network, double, width, COLUMN_7, f"{name}.branch7x7dbl_2")
    double = _line(network, double, width, ROW_7, f"{name}.branch7x7dbl_3")
    double = _line(network, double, width, COLUMN_7, f"{name}.branch7x7dbl_4")
    double = _line(network, double, 192, ROW_7, f"{name}.branch7x7dbl_5")
    pool = _pool_projection(network, x, 192, name)
    return network.concat([one, seven, double, pool], name=f"{name}.concat")


def _module_d(network: NetworkBuilder, x: Tensor, name: str) -> Tensor:
    """Halve the map a second time."""
    three = conv_norm_relu(network, x, 192, 1, f"{name}.branch3x3_1")
    three = conv_norm_relu(network, three, 320, 3, f"{name}.branch3x3_2", stride=2)
    seven = conv_norm_relu(network, x, 192, 1, f"{name}.branch7x7x3_1")
    seven = _line(network, seven, 192, ROW_7, f"{name}.branch7x7x3_2")
    seven = _line(network, seven, 192, COLUMN_7, f"{name}.branch7x7x3_3")
    seven = conv_norm_relu(network, seven, 192, 3, f"{name}.branch7x7x3_4", stride=2)
    pool = network.max_pool(x, 3, 2, name=f"{name}.branch_pool")
    return network.concat([three, seven, pool], name=f"{name}.concat")


def _module_e(network: NetworkBuilder, x: Tensor, name: str) -> Tensor:
    """Wide banks for the coarsest map (the paper's figure 7)."""
    one = conv_norm_relu(network, x, 320, 1, f"{name}.branch1x1")
    three = conv_norm_relu(network, x, 384, 1, f"{name}.branch3x3_1")
    three = _fork(network, three, f"{name}.branch3x3_2")
    double = conv_norm_relu(network, x, 448, 1, f"{name}.branch3x3dbl_1")
    double = conv_norm_relu(network, double, 384, 3, f"{name}.branch3x3dbl_2", padding=1)
    double = _fork(network, double, f"{name}.branch3x3dbl_3")
    pool = _pool_projection(network, x, 192, name)
    return network.concat([one, three, double, pool], name=f"{name}.concat")


def _fork(network: NetworkBuilder, x: Tensor, name: str) -> Tensor:
    """A 1x3 and a 3x1 bank in parallel."""
    row = _line(network, x, 384, ROW_3, f"{name}a")
    column = _line(network, x, 384, COLUMN_3, f"{name}b")
    return network.concat([row, column], name=f"{name}.concat")


def _line(network: NetworkBuilder, x: Tensor, width: int, kernel: tuple[int, int], name: str) -> Tensor:
    """A factorised filter, padded to keep the map's size."""
    rows, columns = kernel
    return conv_norm_relu(network, x, width, kernel, name, padding=(rows // 2, columns // 2))


def _pool_projection(network: NetworkBuilder, x: Tensor, width: int, name: str) -> Tensor:
    """The local mean, then a 1x1 convolution."""
    x = network.average_pool(x, 3, 1, name=f"{name}.avgpool", padding=1)
    return conv_norm_relu(network, x, width, 1, f"{name}.branch_pool")
