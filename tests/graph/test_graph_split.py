"""A model cut anywhere gives what the whole model gives, to the bit."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np
import onnx
import pytest
from graph_builder import assert_same, parse, random_inputs, read, run, run_chain
from hypothesis import given, settings
from hypothesis import strategies as st
from small_models import SMALL_MODELS, branches

from penstock.errors import BadInputError
from penstock.graph.cuts import boundary_tensors
from penstock.graph.split import split, submodel

pytest.importorskip("onnxruntime")


@pytest.mark.parametrize("builder", SMALL_MODELS.values(), ids=SMALL_MODELS)
def test_every_single_cut_gives_the_whole_models_output(
    builder: Callable[[], onnx.ModelProto], tmp_path: Path
) -> None:
    whole = builder()
    model = read(whole, tmp_path)
    n_operators = len(model.graph.operators)
    for batch in (1, 3):
        feeds = random_inputs(model, batch)
        expected = run(whole, feeds)
        assert_same(run_chain(split(model, [0, n_operators]), feeds), expected)
        for cut in range(1, n_operators):
            assert_same(run_chain(split(model, [0, cut, n_operators]), feeds), expected)
        assert_same(run_chain(split(model, range(n_operators + 1)), feeds), expected)


@pytest.mark.parametrize("builder", SMALL_MODELS.values(), ids=SMALL_MODELS)
def test_every_sub_model_is_valid_free_in_its_batch_and_holds_no_more_than_it_uses(
    builder: Callable[[], onnx.ModelProto], tmp_path: Path
) -> None:
    model = read(builder(), tmp_path)
    crossing = boundary_tensors(model.graph)
    for start, stop in combinations(range(len(crossing)), 2):
        part = submodel(model, start, stop)
        onnx.checker.check_model(part.proto, full_check=True)
        graph = part.proto.graph
        read_names = {name for node in graph.node for name in node.input if name}
        assert {each.name for each in graph.initializer} <= read_names
        assert {each.name for each in graph.input} <= read_names & set(part.inputs)
        assert (part.inputs, part.outputs) == (crossing[start], crossing[stop])
        assert tuple(each.name for each in graph.output) == part.computed
        assert set(part.forwarded) <= set(part.inputs)
        assert sorted(part.computed + part.forwarded) == sorted(part.outputs)
        for each in (*graph.input, *graph.output):
            lengths = each.type.tensor_type.shape.dim
            found = [-1 if length.HasField("dim_param") else length.dim_value for length in lengths]
            assert tuple(found) == model.graph.tensors[each.name].shape


def test_a_tensor_that_only_passes_is_forwarded(tmp_path: Path) -> None:
    model = read(branches(), tmp_path)  # Relu a, MatMul b, Sigmoid c, Concat d, Gemm e, Add y
    part = submodel(model, 1, 2)
    assert (part.inputs, part.computed, part.forwarded) == (("a",), ("b",), ("a",))
    part = submodel(model, 4, 5)
    assert (part.inputs, part.outputs, part.computed, part.forwarded) == (("d",), ("d", "e"), ("e",), ("d",))
    assert [each.name for each in part.proto.graph.initializer] == ["v", "bias"]


@pytest.mark.parametrize(("start", "stop"), [(-1, 2), (2, 2), (3, 1), (0, 7)])
def test_a_span_out_of_range_is_refused(start: int, stop: int, tmp_path: Path) -> None:
    model = read(branches(), tmp_path)
    with pytest.raises(BadInputError, match=rf"operators \[{start}, {stop}\).* 6, the number"):
        submodel(model, start, stop)


@pytest.mark.parametrize("boundaries", [[], [0], [0, 3], [1, 6], [0, 3, 3, 6], [0, 4, 2, 6], [0, 7]])
def test_boundaries_that_do_not_cover_the_model_are_refused(boundaries: list[int], tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="must ascend from 0 to 6"):
        split(read(branches(), tmp_path), boundaries)


def test_a_fixed_batch_is_one_sample_and_splits_too(tmp_path: Path) -> None:
    whole = parse("fixed (float[2, 3] x) => (float[2, 3] y) { a = Relu(x) \n b = Neg(a) \n y = Add(b, a) }")
    model = read(whole, tmp_path)
    tensor = model.graph.tensors["a"]
    assert (tensor.shape, tensor.batched, tensor.bytes_per_sample) == ((2, 3), False, 24)
    feeds = {"x": np.array([[1, -2, 3], [-4, 5, -6]], np.float32)}
    assert_same(run_chain(split(model, [0, 1, 2, 3]), feeds), run(whole, feeds))


UNARY = ("Relu", "Neg", "Tanh", "Sigmoid", "Abs")
BINARY = ("Add", "Mul", "Sub")


@st.composite
def graphs(draw: st.DrawFn) -> tuple[onnx.ModelProto, int]:
    """A random DAG over tensors ``[N, 2, 3]``: skips, several outputs and inputs, and reshapes by shape."""
    names = [f"x{i}" for i in range(draw(st.integers(1, 2)))]
    n_inputs = len(names)
    lines = ["zero = Constant<value_ints = [0]>()", "tail = Constant<value_ints = [3, -1]>()"]
    lines += ["same = Constant<value_ints = [2, 3]>()", "token = Constant<value_floats = [0.5, 1.5, 2.5]>()"]
    pick = st.sampled_from
    for i in range(draw(st.integers(1, 9))):
        one, other = draw(pick(names)), draw(pick(names))
        match draw(st.integers(0, 4)):
            case 0:
                lines.append(f"t{i} = {draw(pick(UNARY))}({one})")
            case 1 | 2:
                lines.append(f"t{i} = {draw(pick(BINARY))}({one}, {other})")
            case 3:  # there and back again, the batch read off another tensor's shape
                lines += [f"s{i} = Shape({other})", f"n{i} = Gather<axis = 0>(s{i}, zero)"]
                lines += [f"u{i} = Concat<axis = 0>(n{i}, tail)", f"r{i} = Reshape({one}, u{i})"]
                lines += [f"v{i} = Concat<axis = 0>(n{i}, same)", f"t{i} = Reshape(r{i}, v{i})"]
            case _:  # the same values for every sample
                lines += [f"s{i} = Shape({one})", f"t{i} = Expand(token, s{i})"]
        names.append(f"t{i}")
    made = names[n_inputs:]
    outputs = draw(st.lists(pick(made), min_size=1, max_size=3, unique=True))
    inputs = ", ".join(f"float[N, 2, 3] {name}" for name in names[:n_inputs])
    results = ", ".join(f"float[N, 2, 3] {name}" for name in outputs)
    proto = parse(f"dag ({inputs}) => ({results}) {{ {' '.join(lines)} }}")
    return proto, draw(st.integers(1, 3))


@given(drawn=graphs(), data=st.data())
@settings(max_examples=40, deadline=None)
def test_any_graph_cut_at_any_boundaries_gives_the_same(
    drawn: tuple[onnx.ModelProto, int], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    whole, batch = drawn
    model = read(whole, tmp_path_factory.mktemp("dag"))
    n_operators = len(model.graph.operators)
    inner = data.draw(st.sets(st.integers(1, n_operators - 1))) if n_operators > 1 else set()
    feeds = random_inputs(model, batch)
    parts = split(model, [0, *sorted(inner), n_operators])
    assert_same(run_chain(parts, feeds), run(whole, feeds))
