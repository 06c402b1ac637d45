"""The blocks of a model as files to run, with the activations that really reach them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penstock.errors import BadInputError, PenstockError
from penstock.graph.onnx_reader import OnnxModel
from penstock.graph.split import submodel
from penstock.profile.session import open_session
from penstock.profile.timing import Piece

Arrays = dict[str, NDArray[Any]]

_DTYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(int8)": np.int8,
    "tensor(uint8)": np.uint8,
    "tensor(bool)": np.bool_,
}


def block_names(boundaries: Sequence[int]) -> tuple[str, ...]:
    """``block00``, ``block01``, ...: names that sort in model order."""
    width = max(2, len(str(len(boundaries) - 2)))
    return tuple(f"block{index:0{width}d}" for index in range(len(boundaries) - 1))


def prepare_pieces(
    model: OnnxModel, boundaries: Sequence[int], max_batch: int, folder: Path, seed: int = 0
) -> list[Piece]:
    """Write every block, and the whole model last, to ``folder``, with inputs at batch 1 to ``max_batch``.

    The model's inputs are drawn at random from ``seed``; a block's inputs are what the blocks before it
    make of them, so data-dependent operators and denormal numbers cost what they cost in service.
    """
    spans = [*pairwise(boundaries), (boundaries[0], boundaries[-1])]
    names = [*block_names(boundaries), "whole"]
    known: list[Arrays] = [{} for _ in range(max_batch)]
    pieces = []
    for name, (start, stop) in zip(names, spans, strict=True):
        file = folder / f"{name}.onnx"
        file.write_bytes(submodel(model, start, stop).proto.SerializeToString())
        session = open_session(file)
        inputs = tuple(folder / f"{name}-batch{batch}.npz" for batch in range(1, max_batch + 1))
        for batch, (path, arrays) in enumerate(zip(inputs, known, strict=True), start=1):
            _draw_missing(arrays, session, batch, seed)
            feed = {one.name: arrays[one.name] for one in session.get_inputs()}
            np.savez(path, *feed.values())
            arrays.update(_run(session, feed, name))
        pieces.append(Piece(name, file, inputs))
    return pieces


def _draw_missing(arrays: Arrays, session: Any, batch: int, seed: int) -> None:
    """Add the model's own inputs: normal numbers; for integers 0 and 1, which index any table."""
    for one in session.get_inputs():
        if one.name in arrays:
            continue
        if one.type not in _DTYPES:
            raise BadInputError(
                f"input {one.name!r} has type {one.type}, but measuring draws only {', '.join(_DTYPES)}. "
                f"Cut the model after that input."
            )
        shape = _shape_at(batch, one.name, one.shape)
        dtype = np.dtype(_DTYPES[one.type])
        generator = np.random.default_rng([seed, batch, len(arrays)])
        drawn = generator.standard_normal(shape) if dtype.kind == "f" else generator.integers(0, 2, shape)
        arrays[one.name] = drawn.astype(dtype)


def _shape_at(batch: int, name: str, declared: Sequence[int | str | None]) -> tuple[int, ...]:
    """The shape of an input at ``batch``; only its first dimension may be free, and is then the batch."""
    if declared and isinstance(declared[0], int) and declared[0] != batch:
        raise BadInputError(
            f"input {name!r} has shape {list(declared)}, fixed at batch {declared[0]}, but batch {batch} is "
            f"to be measured. Export the model with a free first dimension."
        )
    rest = declared[1:]
    if any(not isinstance(size, int) for size in rest):
        raise BadInputError(
            f"input {name!r} has shape {list(declared)}, but only the first dimension may be free. "
            f"Fix the others in the ONNX file."
        )
    return (batch, *(int(size) for size in rest if size is not None)) if declared else ()


def _run(session: Any, feed: Arrays, name: str) -> Arrays:
    try:
        values = session.run(None, feed)
    except Exception as error:  # its exception types have no public common base
        raise PenstockError(
            f"{name} failed to run on the activations of the blocks before it: {error}"
        ) from error
    return dict(zip((one.name for one in session.get_outputs()), values, strict=True))
