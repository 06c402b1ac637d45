"""A model exported at a fixed batch, re-made with a free one (``--free-batch``).

Most such models would run at any batch but for Reshape targets in which the exporter wrote the batch as a number. If
the target begins with that number, its entry becomes 0 (copy the length of the input's axis) where the input begins
with the batch too, else -1 (infer it) if no entry is -1 yet. Whether the result is the same model is not assumed:
``penstock profile`` compares its outputs with those of the file, sample by sample.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import numpy_helper

from penstock.errors import BadInputError
from penstock.graph.reading.interpret import observe


def free_baked_batch(proto: onnx.ModelProto, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Rewrite the Reshape targets of ``proto`` that hold the batch. ``shapes``: of the inputs, -1 for the batch.

    Raises :class:`BadInputError` if another operator, or a target that cannot be rewritten, fixes the batch.
    """
    fixed = {name: tuple(1 if length == -1 else length for length in shape) for name, shape in shapes.items()}
    lengths = observe(proto, fixed, 1).shapes
    weights = {each.name: each for each in proto.graph.initializer}
    for node in proto.graph.node:
        if node.op_type != "Reshape" or node.domain or node.input[1] not in weights:
            continue
        target = numpy_helper.to_array(weights[node.input[1]]).copy()
        if target.size == 0 or target[0] != 1:
            continue
        read = lengths[node.input[0]]
        if read and read[0] == 1:
            target[0] = 0
        elif -1 not in target:
            target[0] = -1
        else:
            continue
        name = f"{node.name}/free"
        proto.graph.initializer.append(numpy_helper.from_array(np.asarray(target), name))
        node.input[1] = name
    try:
        for batch in (2, 3):
            observe(
                proto,
                {n: tuple(batch if length == -1 else length for length in s) for n, s in shapes.items()},
                batch,
            )
    except BadInputError as error:
        raise BadInputError(
            f"--free-batch: the batch is written into the model elsewhere than in the target of a Reshape: {error} "
            f"Export the model with a free first axis, or leave --free-batch out and serve one sample a run."
        ) from None
