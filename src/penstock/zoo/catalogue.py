"""The table of architectures: their names, their sizes, and the images they take. It imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from types import MappingProxyType

from penstock.errors import BadInputError

LARGEST_IMAGE_SIZE = 4096
LARGEST_CLASSES = 100_000


@dataclass(frozen=True)
class Architecture:
    """One architecture of the zoo.

    ``module`` is the file of :mod:`penstock.zoo` with a function named ``name``. ``parameters`` is the
    published number of learned values with the default ``classes``. It is torchvision's number, without auxiliary
    heads. For the detector it is without the backbone's batch normalisation, which is frozen there. Images are
    square and have ``image_size`` pixels by default: at least ``smallest_image_size``, at most
    ``LARGEST_IMAGE_SIZE``, and a multiple of ``image_size_step``.
    """

    name: str
    module: str
    parameters: int
    image_size: int = 224
    smallest_image_size: int = 32
    image_size_step: int = 1
    classes: int = 1000

    def check_image_size(self, image_size: int) -> None:
        """Raise :class:`BadInputError` for an image size that the architecture cannot take."""
        if not self.smallest_image_size <= image_size <= LARGEST_IMAGE_SIZE:
            raise BadInputError(
                f"image size (={image_size}) of {self.name} must be from {self.smallest_image_size} to "
                f"{LARGEST_IMAGE_SIZE} pixels; its usual size is {self.image_size}."
            )
        if image_size % self.image_size_step:
            below = image_size - image_size % self.image_size_step
            raise BadInputError(
                f"image size (={image_size}) of {self.name} must be a multiple of {self.image_size_step}, "
                f"so that its feature maps line up; try {below}."
            )


_TABLE = (
    Architecture("resnet18", "resnet", 11_689_512),
    Architecture("resnet34", "resnet", 21_797_672),
    Architecture("resnet50", "resnet", 25_557_032),
    Architecture("mobilenet_v2", "mobilenet", 3_504_872),
    Architecture("squeezenet1_1", "squeezenet", 1_235_496),
    Architecture("densenet121", "densenet", 7_978_856),
    Architecture("googlenet", "googlenet", 6_624_904),
    Architecture("inception_v3", "inception", 23_834_568, image_size=299, smallest_image_size=75),
    # 320 instead of the usual 800: then a single image takes clearly less than a second on two CPU cores.
    Architecture(
        "retinanet_resnet50_fpn",
        "retinanet",
        34_014_999,
        image_size=320,
        smallest_image_size=64,
        image_size_step=32,
        classes=91,
    ),
)

CATALOGUE: Mapping[str, Architecture] = MappingProxyType({entry.name: entry for entry in _TABLE})
"""Every architecture by name, in the order of the table."""


def find(name: str) -> Architecture:
    """The architecture called ``name``. :class:`BadInputError` lists the names if there is none."""
    if name not in CATALOGUE:
        near = get_close_matches(name, CATALOGUE, n=2)
        meant = f"Did you mean {' or '.join(near)}? " if near else ""
        raise BadInputError(
            f"model {name!r} is unknown: it is not in the zoo. {meant}The zoo has {', '.join(CATALOGUE)}."
        )
    return CATALOGUE[name]
