"""Whether samples that run together give what each gives alone: without that, a server must not batch them.

A model may look batched and not be: its first axis is time, or it normalises over the batch, or a quantiser takes one
scale for all samples. No inference of shapes shows this. So three samples run together, on the sub-model that will be
served, and every output is taken apart as the server will do it. Two things must hold:

- A sample's part stays the same if its neighbours change. Batch size and place are the same, so kernels are too, and
  even rounding is equal.
- It is what the sample gives alone. Here kernels differ, and an ill-conditioned model may amplify their rounding, so
  this comparison is coarse. It finds what depends on the number of samples.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penstock.errors import BadInputError
from penstock.graph.model_graph import ModelGraph
from penstock.graph.reading.onnx_reader import OnnxModel
from penstock.graph.split import save_submodel, submodel
from penstock.profile.measuring.inputs import NO_SAMPLES, Arrays, batch_axis, model_inputs, part_of
from penstock.profile.measuring.session import open_session

SAMPLES = 3
INFLUENCE = 1e-5
"""Of an output's largest value: what changed neighbours may change, if a runtime sums in another order each time."""
ALONE = 0.1
"""Of an output's largest value: how far a sample alone may differ. Rounding made 0.02 of it in a classifier."""
REMADE = 1e-3
"""Of an output's largest value: how far a model with a freed batch may differ from the file, at the same batch."""
QUANTISED = 0.25
"""A dynamic 8-bit scale moves by a few steps of 1/127 from batch to batch; layers add up. More is no rounding."""
DIFFERENT_INTEGERS = 0.02
"""Of the elements: the index of a maximum may turn by rounding if two values tie."""

_DYNAMIC = ("DynamicQuantize", "MatMulInteger", "ConvInteger")


def check_independence(
    model: OnnxModel, seed: int = 0, samples: Mapping[str, NDArray[Any]] = NO_SAMPLES
) -> str | None:
    """None if samples do not influence each other; a warning if they do a little, as dynamic quantisation has it.

    A model of a fixed batch is compared with nothing, unless its batch was made free: then with the file as it is.
    Raises :class:`BadInputError` if samples influence each other, or if an output has another shape than inferred.
    """
    graph = model.graph
    if not graph.is_batched:
        return None
    with tempfile.TemporaryDirectory(prefix="penstock-check-") as folder:
        path = Path(folder) / "whole.onnx"
        save_submodel(submodel(model, 0, len(graph.operators)), path)
        session = open_session(path)
        inputs = model_inputs(graph, SAMPLES, seed, samples)
        others = {
            name: np.roll(array, -1, batch_axis(graph.tensors[name]) or 0) for name, array in samples.items()
        }
        together = _run(session, inputs, SAMPLES)
        if not _same(together, _run(session, inputs, SAMPLES)):
            return (
                "Outputs are random, so it was not checked whether samples influence each other in a batch."
            )
        drawn = model_inputs(graph, SAMPLES, seed + 1, others)
        mixed = [_with_neighbours(graph, inputs, drawn, place) for place in (0, SAMPLES - 1)]
        changed = [_run(session, one, SAMPLES) for one in mixed]
        alone = [_run(session, _sample(graph, inputs, place), 1) for place in range(SAMPLES)]
        if model.options.free_batch:
            _compare_with_the_file(model, inputs, alone)
    _check_shapes(graph, [together, *changed], SAMPLES)
    _check_shapes(graph, alone, 1)
    influence = _largest(
        graph, [(0, together, changed[0], 0), (SAMPLES - 1, together, changed[1], SAMPLES - 1)]
    )
    if influence[0] > INFLUENCE:
        return _verdict(model, *influence)
    difference = _largest(graph, [(place, together, one, 0) for place, one in enumerate(alone)])
    if difference[0] > ALONE:
        return _verdict(model, *difference)
    return None


def _largest(graph: ModelGraph, pairs: Sequence[tuple[int, Arrays, Arrays, int]]) -> tuple[float, str]:
    """The largest difference of any output between a sample (place, arrays) and the same elsewhere; its name."""
    found = (0.0, graph.outputs[0])
    for name in graph.outputs:
        tensor = graph.tensors[name]
        for place, one, other, other_place in pairs:
            share = _share(part_of(tensor, one[name], place, 1), part_of(tensor, other[name], other_place, 1))
            found = max(found, (share, name))
    return found


def _with_neighbours(graph: ModelGraph, inputs: Arrays, others: Arrays, place: int) -> Arrays:
    """``inputs`` with all samples but the one at ``place`` from ``others``. What has no batch stays."""
    mixed = {}
    for name, array in inputs.items():
        tensor = graph.tensors[name]
        axis = batch_axis(tensor)
        if axis is None:
            mixed[name] = array
            continue
        parts = [part_of(tensor, array if at == place else others[name], at, 1) for at in range(SAMPLES)]
        mixed[name] = np.concatenate(parts, axis)
    return mixed


def _verdict(model: OnnxModel, worst: float, name: str) -> str:
    graph = model.graph
    what = (
        f"output {name!r} of a sample changes by {worst:.2g} of its largest value with the samples beside it"
    )
    is_dynamic = any(operator.kind.startswith(_DYNAMIC) for operator in graph.operators)
    if is_dynamic and worst <= QUANTISED:
        return (
            f"Samples of a batch influence each other a little: {what}, because a scale of dynamic quantisation is "
            f"that of the whole batch. Batches of 1 are not affected (--max-batch 1)."
        )
    axes = [(each, batch_axis(graph.tensors[each])) for each in graph.inputs]
    keys = " ".join(f"--dim {each}:{axis}=LENGTH" for each, axis in axes if axis is not None)
    raise BadInputError(
        f"{model.path}: samples of a batch influence each other: {what}. So this axis is not a batch of independent "
        f"samples. If it is another axis (time, for example), fix its length, and each request is one run: {keys}."
    )


def _sample(graph: ModelGraph, arrays: Arrays, place: int) -> Arrays:
    return {name: part_of(graph.tensors[name], array, place, 1) for name, array in arrays.items()}


def _run(session: Any, arrays: Mapping[str, Any], samples: int) -> Arrays:
    names = [one.name for one in session.get_outputs()]
    feeds = {one.name: arrays[one.name] for one in session.get_inputs()}
    try:
        return dict(zip(names, session.run(names, feeds), strict=True))
    except Exception as error:  # its exception types have no public common base
        text = " ".join(str(error).split())
        raise BadInputError(
            f"the model does not run on random inputs at batch {samples}: {text[:400]}. If it needs real ones, give "
            f"them with --sample FILE.npz; if the batch was written into it when it was traced, fix the batch with "
            f"--dim."
        ) from None


def _same(one: Arrays, other: Arrays) -> bool:
    return all(
        np.array_equal(array, other[name], equal_nan=array.dtype.kind == "f") for name, array in one.items()
    )


def _check_shapes(graph: ModelGraph, made: Sequence[Arrays], samples: int) -> None:
    """Shapes must be as the graph has them."""
    for arrays in made:
        for name in graph.outputs:
            wanted, found = graph.tensors[name].shape_at(samples), arrays[name].shape
            if found != wanted:
                raise BadInputError(
                    f"output {name!r} has shape {list(found)} for a batch of {samples}, but must have {list(wanted)}: "
                    f"its shape depends on data or on the batch. Export the model with a fixed shape for it, or fix "
                    f"the batch with --dim."
                )


def _share(found: NDArray[Any], wanted: NDArray[Any]) -> float:
    if wanted.size == 0:
        return 0.0
    if wanted.dtype.kind != "f":
        different = float(np.mean(found != wanted))
        return 0.0 if different <= DIFFERENT_INTEGERS else different
    if not np.array_equal(np.isfinite(found), np.isfinite(wanted)):
        return float("inf")
    finite = np.isfinite(wanted)
    if not finite.any():
        return 0.0
    low, high = found[finite].astype(np.float64), wanted[finite].astype(np.float64)
    largest = max(float(np.max(np.abs(high))), float(np.max(np.abs(low))))
    return float(np.max(np.abs(low - high))) / largest if largest else 0.0


def _compare_with_the_file(model: OnnxModel, inputs: Arrays, alone: list[Arrays]) -> None:
    """The re-made model against the file, sample by sample."""
    session = open_session(model.path)
    for place, made in enumerate(alone):
        feeds = _sample(model.graph, inputs, place)
        fixed = {one.name for one in session.get_inputs()} - set(feeds)
        if fixed:
            raise BadInputError(
                "--free-batch cannot be compared with the file if --input is given: leave one out."
            )
        wanted = _run(session, feeds, 1)
        for name, array in made.items():
            if array.shape != wanted[name].shape or _share(array, wanted[name]) > REMADE:
                raise BadInputError(
                    f"--free-batch: output {name!r} of the re-made model differs from that of the file. Leave the "
                    f"option out: the model is then served one sample a run."
                )
