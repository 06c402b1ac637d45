"""Real architectures with seeded random weights, written in plain ONNX.

Latency depends on the shape of a network, not on what it learned. So models with random weights can be profiled, cut
and served like trained ones. Graphs are those of inference: no dropout, no auxiliary heads, no softmax. Batch
normalisation stays a separate operator, as an exporter leaves it before constant folding.

Every model takes ``input``, float32 ``[batch, 3, size, size]`` with a symbolic batch. A classifier gives
``logits [batch, classes]``. The detector gives ``class_logits_p3 .. p7`` and ``box_deltas_p3 .. p7``.
Importing this package does not import onnx, but :func:`build` does.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from penstock.errors import BadInputError
from penstock.zoo.catalogue import CATALOGUE, LARGEST_CLASSES, Architecture, find

if TYPE_CHECKING:
    import onnx

__all__ = ["CATALOGUE", "NAMES", "Architecture", "build", "find"]

NAMES: tuple[str, ...] = tuple(CATALOGUE)
"""The names that :func:`build` knows."""


def build(
    name: str, *, seed: int = 0, image_size: int | None = None, classes: int | None = None
) -> onnx.ModelProto:
    """The model called ``name``. Its weights are drawn from ``seed``.

    ``image_size`` is the side of the square input in pixels. ``classes`` is the number of classes. The defaults
    are those of the architecture (see :data:`CATALOGUE`). Equal arguments give equal bytes with the same
    version of numpy.

    Raises :class:`BadInputError` for an unknown name, a negative seed, or a size out of range.
    """
    architecture = find(name)
    size = architecture.image_size if image_size is None else image_size
    width = architecture.classes if classes is None else classes
    architecture.check_image_size(size)
    if not 1 <= width <= LARGEST_CLASSES:
        raise BadInputError(f"classes (={width}) must be from 1 to {LARGEST_CLASSES}.")
    if seed < 0:
        raise BadInputError(f"seed (={seed}) must be >= 0. Any other whole number will do.")
    return _assemble(architecture, seed, size, width)


def _assemble(architecture: Architecture, seed: int, image_size: int, classes: int) -> onnx.ModelProto:
    from penstock.zoo.builder import NetworkBuilder

    network = NetworkBuilder(architecture.name, seed)
    module = importlib.import_module(f"penstock.zoo.{architecture.module}")
    outputs = getattr(module, architecture.name)(network, network.image(image_size), classes)
    return network.model(outputs)
