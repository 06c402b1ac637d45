"""The blocks of a model as files to run, with the activations that really reach them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, final, overload

import numpy as np
from numpy.typing import NDArray

from penstock.errors import PenstockError
from penstock.graph.reading.onnx_reader import OnnxModel
from penstock.graph.split import save_submodel, submodel
from penstock.profile.measuring.inputs import NO_SAMPLES, Arrays, model_inputs
from penstock.profile.measuring.session import open_session
from penstock.profile.measuring.timing import Piece


def block_names(boundaries: Sequence[int]) -> tuple[str, ...]:
    """``block00``, ``block01``, ...: names that sort in model order."""
    width = max(2, len(str(len(boundaries) - 2)))
    return tuple(f"block{index:0{width}d}" for index in range(len(boundaries) - 1))


def prepare_pieces(
    model: OnnxModel,
    boundaries: Sequence[int],
    batches: Sequence[int],
    folder: Path,
    seed: int = 0,
    threads: int = 1,
    samples: Mapping[str, NDArray[Any]] = NO_SAMPLES,
    *,
    on_demand: bool = False,
) -> list[Piece]:
    """Write every block, and the whole model last, to ``folder``, with inputs at each of ``batches``.

    The model's inputs are ``samples``, or drawn at random from ``seed``; a block's inputs are what the blocks before it
    make of them, so data-dependent operators and denormal numbers cost what they cost in service. ``on_demand``: the
    inputs of a batch are made when the first of them is asked for. A visit that may end early then makes no gigabytes
    of inputs for batches that it never reaches.
    """
    spans = [*pairwise(boundaries), (boundaries[0], boundaries[-1])]
    names = [*block_names(boundaries), "whole"]
    files = [folder / f"{name}.onnx" for name in names]
    for file, (start, stop) in zip(files, spans, strict=True):
        save_submodel(submodel(model, start, stop), file)
    sessions = [open_session(file, threads) for file in files]
    paths = [[folder / f"{name}-batch{batch}.npz" for batch in batches] for name in names]

    def make(index: int) -> None:
        arrays = model_inputs(model.graph, batches[index], seed, samples)
        for name, session, of_piece in zip(names, sessions, paths, strict=True):
            feed = {one.name: arrays[one.name] for one in session.get_inputs()}
            np.savez(of_piece[index], *(_storable(array) for array in feed.values()))
            arrays.update(_run(session, feed, name))

    made = _MadeOnce(make)
    if not on_demand:
        for index in range(len(batches)):
            made(index)
    return [
        Piece(name, file, _Inputs(of_piece, made))
        for name, file, of_piece in zip(names, files, paths, strict=True)
    ]


@final
class _MadeOnce:
    """``make``, once for each index."""

    def __init__(self, make: Callable[[int], None]) -> None:
        self._make = make
        self._done: set[int] = set()

    def __call__(self, index: int) -> None:
        if index not in self._done:
            self._make(index)
            self._done.add(index)


@final
class _Inputs(Sequence[Path]):
    """The files of a piece's inputs, of which each is there once it was asked for."""

    def __init__(self, paths: Sequence[Path], make: Callable[[int], None]) -> None:
        self._paths, self._make = tuple(paths), make

    def __len__(self) -> int:
        return len(self._paths)

    @overload
    def __getitem__(self, index: int) -> Path: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Path, ...]: ...

    def __getitem__(self, index: int | slice) -> Path | tuple[Path, ...]:
        if isinstance(index, slice):
            return tuple(self[one] for one in range(*index.indices(len(self))))
        path = self._paths[index]
        self._make(index % len(self))
        return path

    def __iter__(self) -> Iterator[Path]:
        return (self[index] for index in range(len(self)))


def _storable(array: NDArray[Any]) -> NDArray[Any]:
    """Strings as numpy's own type: an archive of objects would have to be unpickled."""
    return array.astype(np.str_) if array.dtype == object else array


def _run(session: Any, feed: Arrays, name: str) -> Arrays:
    try:
        values = session.run(None, feed)
    except Exception as error:  # its exception types have no public common base
        raise PenstockError(
            f"{name} failed to run on the activations of the blocks before it: {error}. If the model needs real "
            f"inputs, give them with --sample FILE.npz."
        ) from error
    return dict(zip((one.name for one in session.get_outputs()), values, strict=True))
