"""ResNet-18 and InceptionV3 as chains of torch modules: random weights, batch normalisation folded into biases.

Written from the papers (He et al. 2016, table 1; Szegedy et al. 2016, table 1). ``width`` scales the channels,
so that the logic can be checked without a GPU.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


class Conv(nn.Module):
    """Convolution with bias, then ReLU unless ``relu`` is false; "same" padding unless given."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int | tuple[int, int] = 3,
        stride: int = 1,
        padding: int | None = None,
        relu: bool = True,
    ) -> None:
        super().__init__()
        sides = (kernel, kernel) if isinstance(kernel, int) else kernel
        same = (sides[0] // 2, sides[1] // 2)
        self.conv = nn.Conv2d(inputs, outputs, sides, stride, same if padding is None else padding)
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return torch.relu_(x) if self.relu else x


class Basic(nn.Module):
    """ResNet's block of two convolutions and a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = Conv(inputs, outputs, 3, stride)
        self.second = Conv(outputs, outputs, relu=False)
        same = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if same else Conv(inputs, outputs, 1, stride, 0, relu=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu_(self.second(self.first(x)) + self.shortcut(x))


class Branches(nn.Module):
    """Parallel branches whose channels are concatenated."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.branches], 1)


class Head(nn.Module):
    """Global average pooling and the classifier."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, 1000)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x.mean((2, 3)))


def resnet18(width: float = 1.0) -> list[nn.Module]:
    """Ten parts: stem, eight blocks, head."""
    stem, *channels = [max(8, int(value * width)) for value in (64, 64, 128, 256, 512)]
    parts: list[nn.Module] = [nn.Sequential(Conv(3, stem, 7, 2), nn.MaxPool2d(3, 2, 1))]
    inputs = stem
    for group, outputs in enumerate(channels):
        parts += [Basic(inputs, outputs, 1 if group == 0 else 2), Basic(outputs, outputs, 1)]
        inputs = outputs
    return [*parts, Head(inputs)]


Made = tuple[nn.Module, int]


class _Inception:
    """The modules of InceptionV3; each method gives a module and the channels it puts out."""

    def __init__(self, width: float) -> None:
        self._width = width

    def c(self, channels: int) -> int:
        return max(4, int(channels * self._width))

    def stem(self) -> Made:
        c = self.c
        convolutions = (Conv(3, c(32), 3, 2, 0), Conv(c(32), c(32), 3, 1, 0), Conv(c(32), c(64)))
        return nn.Sequential(*convolutions, nn.MaxPool2d(3, 2)), c(64)

    def second_stem(self, i: int) -> Made:
        c = self.c
        return nn.Sequential(Conv(i, c(80), 1), Conv(c(80), c(192), 3, 1, 0), nn.MaxPool2d(3, 2)), c(192)

    def pooled(self, i: int, outputs: int) -> nn.Module:
        return nn.Sequential(nn.AvgPool2d(3, 1, 1), Conv(i, outputs, 1))

    def a(self, i: int, pool: int) -> Made:
        c = self.c
        five = nn.Sequential(Conv(i, c(48), 1), Conv(c(48), c(64), 5))
        double = nn.Sequential(Conv(i, c(64), 1), Conv(c(64), c(96)), Conv(c(96), c(96)))
        outputs = c(64) + c(64) + c(96) + c(pool)
        return Branches(Conv(i, c(64), 1), five, double, self.pooled(i, c(pool))), outputs

    def smaller_17(self, i: int) -> Made:
        c = self.c
        double = nn.Sequential(Conv(i, c(64), 1), Conv(c(64), c(96)), Conv(c(96), c(96), 3, 2, 0))
        return Branches(Conv(i, c(384), 3, 2, 0), double, nn.MaxPool2d(3, 2)), c(384) + c(96) + i

    def b(self, i: int, middle: int) -> Made:
        m, out = self.c(middle), self.c(192)
        seven = nn.Sequential(Conv(i, m, 1), Conv(m, m, (1, 7)), Conv(m, out, (7, 1)))
        twice = nn.Sequential(
            Conv(i, m, 1), Conv(m, m, (7, 1)), Conv(m, m, (1, 7)), Conv(m, m, (7, 1)), Conv(m, out, (1, 7))
        )
        return Branches(Conv(i, out, 1), seven, twice, self.pooled(i, out)), 4 * out

    def smaller_8(self, i: int) -> Made:
        c = self.c
        short = nn.Sequential(Conv(i, c(192), 1), Conv(c(192), c(320), 3, 2, 0))
        seven = nn.Sequential(
            Conv(i, c(192), 1),
            Conv(c(192), c(192), (1, 7)),
            Conv(c(192), c(192), (7, 1)),
            Conv(c(192), c(192), 3, 2, 0),
        )
        return Branches(short, seven, nn.MaxPool2d(3, 2)), c(320) + c(192) + i

    def e(self, i: int) -> Made:
        c = self.c

        def apart() -> nn.Module:
            return Branches(Conv(c(384), c(384), (1, 3)), Conv(c(384), c(384), (3, 1)))

        one = nn.Sequential(Conv(i, c(384), 1), apart())
        two = nn.Sequential(Conv(i, c(448), 1), Conv(c(448), c(384)), apart())
        outputs = c(320) + 4 * c(384) + c(192)
        return Branches(Conv(i, c(320), 1), one, two, self.pooled(i, c(192))), outputs


def inception_v3(width: float = 1.0) -> list[nn.Module]:
    """Fourteen parts: two of the stem, eleven modules, head."""
    made = _Inception(width)
    first, channels = made.stem()
    parts = [first]
    steps: list[Callable[[int], Made]] = [
        made.second_stem,
        *(lambda i, pool=pool: made.a(i, pool) for pool in (32, 64, 64)),
        made.smaller_17,
        *(lambda i, middle=middle: made.b(i, middle) for middle in (128, 160, 160, 192)),
        made.smaller_8,
        made.e,
        made.e,
    ]
    for step in steps:
        part, channels = step(channels)
        parts.append(part)
    return [*parts, Head(channels)]
