"""Which axis of each input is the batch, and what becomes of the other axes without a length.

An axis is *free* if the file gives it no length: it has a name, or nothing, or a length below 1. The batch is the first
axis of the first input whose first axis is free. Other inputs have the batch where they have an axis of the same name,
and else in their first axis if that is free. The state of a recurrent network [layers, batch, width] is such an input.
Every other free axis needs a length from the user.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import onnx
from onnx import helper, numpy_helper

from penstock.errors import BadInputError
from penstock.graph.reading.element_types import is_sized
from penstock.graph.reading.needed_nodes import inputs_that_choose
from penstock.graph.reading.options import BATCH, ReadOptions

Shape = tuple[int, ...]

_BATCH_NAMES = frozenset({"batch", "batch_size", "batchsize", "n", "b", "bs", "unk__batch"})
"""Names by which an axis that is not the first of any input is known to be the batch."""


_NO_NAMES = frozenset({"?", "None", "-1"})
"""What converters write for an axis without a name: two axes of that "name" are not the same axis."""


def settle_inputs(proto: onnx.ModelProto, options: ReadOptions) -> dict[str, Shape]:
    """The shape of every input, -1 for the batch. Inputs with a given value become weights of ``proto``.

    Raises :class:`BadInputError` if an axis stays free, or if an option names no free axis or no input.
    """
    graph = proto.graph
    weights = {weight.name for weight in graph.initializer}
    inputs = [each for each in graph.input if each.name not in weights]
    shapes = {each.name: _declared(each) for each in inputs}
    _fix_lengths(shapes, options.lengths)
    if options.free_batch:
        _free_first_axes(shapes)
    _fix_values(graph, inputs, shapes, options.values)
    batch = _batch_axes(shapes)
    _refuse_free_axes(graph, shapes, batch)
    return {
        name: tuple(-1 if axis == batch.get(name) else int(length) for axis, length in enumerate(shape))
        for name, shape in shapes.items()
    }


def batch_keys(proto: onnx.ModelProto, options: ReadOptions) -> tuple[str, ...]:
    """What to call the batch in :attr:`ReadOptions.lengths`. Empty if the model has no free batch."""
    shapes = settle_inputs(proto, options)
    names = {each.name: each.type.tensor_type.shape.dim for each in proto.graph.input if each.name in shapes}
    keys = [
        names[name][shape.index(-1)].dim_param or f"{name}:{shape.index(-1)}"
        for name, shape in shapes.items()
        if -1 in shape
    ]
    return tuple(dict.fromkeys(keys))


def _declared(value: onnx.ValueInfoProto) -> list[int | str]:
    """Lengths, and names of the free axes (empty if they have none)."""
    tensor = value.type.tensor_type
    if not value.type.HasField("tensor_type"):
        raise BadInputError(
            f"input {value.name!r} is not a tensor. Export the model with tensors as its inputs."
        )
    if not tensor.HasField("shape"):
        raise BadInputError(
            f"input {value.name!r} is not a tensor of known rank. Export the model with shapes for its inputs."
        )
    if not is_sized(tensor.elem_type):
        raise BadInputError(f"input {value.name!r} has elements of unknown size. Start the model after it.")
    return [
        int(length.dim_value)
        if length.dim_value >= 1
        else ("" if length.dim_param in _NO_NAMES else length.dim_param)
        for length in tensor.shape.dim
    ]


def _free(shapes: Mapping[str, Sequence[int | str]]) -> Iterator[tuple[str, int, str]]:
    """(input, axis, name of the axis) of every free axis."""
    for name, shape in shapes.items():
        for axis, length in enumerate(shape):
            if isinstance(length, str):
                yield name, axis, length


def _fix_lengths(shapes: dict[str, list[int | str]], lengths: Mapping[str, int]) -> None:
    used = set()
    for name, axis, symbol in list(_free(shapes)):
        for key in (f"{name}:{axis}", symbol, str(axis)):
            if key and key in lengths:
                shapes[name][axis] = lengths[key]
                used.add(key)
                break
    for key in lengths:
        if key not in used:
            known = ", ".join(dict.fromkeys(_key(*free) for free in _free(shapes))) or "none"
            raise BadInputError(
                f"--dim {key}={lengths[key]} names no free axis of an input (free: {known}). Correct it."
            )


def _free_first_axes(shapes: dict[str, list[int | str]]) -> None:
    """Free the first axis of every input that is as long as the first axis of the first input."""
    firsts = [shape[0] for shape in shapes.values() if shape]
    if not firsts or isinstance(firsts[0], str):
        raise BadInputError("--free-batch: the batch is free already. Leave the option out.")
    for shape in shapes.values():
        if shape and shape[0] == firsts[0]:
            shape[0] = "batch"


def _fix_values(
    graph: onnx.GraphProto,
    inputs: Sequence[onnx.ValueInfoProto],
    shapes: dict[str, list[int | str]],
    values: Mapping[str, str],
) -> None:
    by_name = {each.name: each for each in inputs}
    for name, text in values.items():
        if name not in by_name:
            raise BadInputError(
                f"--input {name}={text} names no input (the model has {', '.join(by_name)}). Correct it."
            )
        graph.initializer.append(_weight(by_name[name], text, shapes[name]))
        del shapes[name]
    kept = [each for each in inputs if each.name not in values]
    if not kept:
        raise BadInputError(
            "--input: all inputs have a value, so no request would change the output. Leave one."
        )
    del graph.input[:]
    graph.input.extend(kept)


def _weight(value: onnx.ValueInfoProto, text: str, shape: Sequence[int | str]) -> onnx.TensorProto:
    """The value in ``text`` (JSON, or a bare word for a string) with the type and the shape of an input."""
    dtype = helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
    # A free axis of a value that is the same for all samples broadcasts.
    lengths = tuple(1 if isinstance(length, str) else length for length in shape)
    try:
        array = np.array(json.loads(text), dtype)
        array = np.array(np.broadcast_to(array, np.broadcast_shapes(lengths, array.shape)))
        array = array.reshape(array.shape if array.ndim == len(lengths) else lengths)
    except (ValueError, TypeError, OverflowError) as error:
        raise BadInputError(
            f"--input {value.name}={text} is not a {dtype.name} of shape {list(shape)}: {error}. Write JSON, such as "
            f"16000 or [0.5, 0.5]."
        ) from None
    return numpy_helper.from_array(array, value.name)


def _batch_axes(shapes: Mapping[str, Sequence[int | str]]) -> dict[str, int]:
    """The batch axis of each input that has one."""
    free = list(_free(shapes))
    elsewhere = {symbol for _, axis, symbol in free if axis > 0 and symbol}
    first = next((symbol for _, axis, symbol in free if axis == 0), None)
    if first is None:
        first = next((symbol for _, _, symbol in free if symbol.lower() in _BATCH_NAMES), None)
    batch = {name: shape.index(BATCH) for name, shape in shapes.items() if BATCH in shape}
    for name, axis, symbol in free:
        is_batch = (symbol == first and (symbol or axis == 0)) or (axis == 0 and symbol not in elsewhere)
        if is_batch and name not in batch:
            batch[name] = axis
    return batch


def _refuse_free_axes(
    graph: onnx.GraphProto, shapes: Mapping[str, Sequence[int | str]], batch: Mapping[str, int]
) -> None:
    left = [one for one in _free(shapes) if one[1] != batch.get(one[0])]
    if not left:
        return
    name, axis, symbol = left[0]
    unnamed = [axis for _, axis, symbol in left if not symbol]
    keys = dict.fromkeys(
        symbol or (f"{name}:{axis}" if unnamed.count(axis) > 1 else str(axis)) for name, axis, symbol in left
    )
    examples = " ".join(f"--dim {key}={_example(shapes[name])}" for key in keys)
    raise BadInputError(
        f"input {name!r}: axis {axis} ({repr(symbol) if symbol else 'unnamed'}) is free, but only the batch may be. "
        f"Give the length with which it will be served, for example {examples}"
        f"{' (or =batch for an axis that is the batch)' if batch else ''}.{_values_too(graph)}"
    )


def _values_too(graph: onnx.GraphProto) -> str:
    """The inputs that need a value, for a message that asks for lengths: so that one message names all options."""
    choosing = inputs_that_choose(graph)
    if not choosing:
        return ""
    options = " ".join(f"--input {name}=VALUE" for name in choosing)
    return (
        f" The model also chooses a subgraph by the value of {', '.join(choosing)}. If that is the same for all "
        f"requests, give it too: {options}."
    )


def _key(name: str, axis: int, symbol: str) -> str:
    return symbol or str(axis)


def _example(shape: Sequence[int | str]) -> int:
    """A usual length: of an image's side, or of a text."""
    return 224 if len(shape) == 4 else 128
