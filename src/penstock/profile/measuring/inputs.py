"""What a model is fed while it is measured: given samples, or random numbers of the right shapes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penstock.errors import BadInputError
from penstock.graph.model_graph import ModelGraph, Tensor

Arrays = dict[str, NDArray[Any]]

NO_SAMPLES: Mapping[str, NDArray[Any]] = {}


def read_samples(path: Path) -> Arrays:
    """The arrays of an ``.npz`` file by name. Raises :class:`BadInputError` if it is not one."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, AttributeError, KeyError) as error:
        raise BadInputError(
            f"--sample {path}: is not a file of arrays ({error}). Write it with numpy.savez('{path}', INPUT=array), "
            f"strings as an array of numpy's type U."
        ) from None


def model_inputs(
    graph: ModelGraph, batch: int, seed: int, samples: Mapping[str, NDArray[Any]] = NO_SAMPLES
) -> Arrays:
    """Every input of ``graph`` at ``batch``: from ``samples`` (repeated as needed), else drawn at random.

    Floats are normal numbers. Integers are 0 and 1, which index any table. Raises :class:`BadInputError` if a sample
    does not fit, or if nothing can be drawn.
    """
    unknown = sorted(set(samples) - set(graph.inputs))
    if unknown:
        raise BadInputError(
            f"--sample: {unknown[0]!r} is no input of the model (it has {', '.join(graph.inputs)}). Rename the array."
        )
    return {
        name: _given(graph.tensors[name], samples[name], batch)
        if name in samples
        else _drawn(graph.tensors[name], batch, [seed, batch, place])
        for place, name in enumerate(graph.inputs)
    }


def batch_axis(tensor: Tensor) -> int | None:
    """The axis of the batch; None if ``tensor`` has none."""
    return tensor.shape.index(-1) if tensor.batched else None


def part_of(tensor: Tensor, array: NDArray[Any], first: int, samples: int) -> NDArray[Any]:
    """The part of ``array`` that belongs to ``samples`` samples from ``first``; all of it if there is no batch."""
    axis = batch_axis(tensor)
    if axis is None:
        return array
    rows = tensor.rows_per_sample
    return array[(slice(None),) * axis + (slice(first * rows, (first + samples) * rows),)]


def _given(tensor: Tensor, array: NDArray[Any], batch: int) -> NDArray[Any]:
    axis = batch_axis(tensor)
    shape = list(array.shape)
    if axis is not None and len(shape) == len(tensor.shape) and shape[axis] > 0:
        array = np.take(array, np.arange(batch) % shape[axis], axis)
    if array.shape != tensor.shape_at(batch):
        raise BadInputError(
            f"--sample: the array {tensor.name!r} has shape {shape}, but the input has {list(tensor.shape)} (-1: one "
            f"sample or more). Correct it."
        )
    if tensor.dtype == "object":
        return array.astype(np.str_)
    if array.dtype.kind not in "fiub":
        raise BadInputError(
            f"--sample: the array {tensor.name!r} holds {array.dtype}, not {tensor.dtype}. Correct it."
        )
    return array.astype(tensor.dtype)


def _drawn(tensor: Tensor, batch: int, seed: list[int]) -> NDArray[Any]:
    if tensor.dtype in ("object", "bfloat16"):
        what = "strings" if tensor.dtype == "object" else "bfloat16 numbers, which numpy has not"
        raise BadInputError(
            f"input {tensor.name!r} holds {what}, so nothing can be drawn for it. Give real inputs with "
            f"--sample FILE.npz."
        )
    dtype = np.dtype(tensor.dtype)
    generator = np.random.default_rng(seed)
    shape = tensor.shape_at(batch)
    if dtype.kind == "f":
        return np.asarray(generator.standard_normal(shape)).astype(dtype)
    return np.asarray(generator.integers(0, 2, shape)).astype(dtype)
