"""What crosses each boundary: by hand, and against a definition that shares no code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from graph_builder import read
from hypothesis import given
from hypothesis import strategies as st
from small_models import SMALL_MODELS

from penstock.errors import BadInputError
from penstock.graph.cuts import boundary_bytes, boundary_tensors
from penstock.graph.memory import live_bytes, parameter_bytes, peak_activation_bytes
from penstock.graph.model_graph import ModelGraph, Operator, Tensor

# In order: inputs, what crosses inside, outputs.
BY_HAND = {
    "branches": ["x", "a", "a b", "b c", "d", "d e", "y"],
    "outputs": ["x", "early", "early b", "early b total", "last early total"],
    "late_input": ["x late unused scale", "x late scale a", "x late scale b", "late scale c", "late d", "y"],
    "reshape": ["x", "early", "small", "tiny", "flat", "y"],
    "class_token": ["x", "early", "b", "c", "d", "d tokens", "e", "y"],
    "pyramid": ["x", "fine", "coarse", "deep", "large", "y"],
    "heads": ["x", "a", "merged", "weights", "b", "b mean", "b wide", "y"],
    "recurrent": ["x", "early", "timed", "scaled", "scaled state", "last", "squeezed", "y"],
    "computed_weights": ["x", "a", "b", "c", "d", "y"],
    "mask": ["x", "a", "a turned", "scores", "y"],
}


@pytest.mark.parametrize("builder", SMALL_MODELS.values(), ids=SMALL_MODELS)
def test_boundaries_by_hand(builder: Callable[[], onnx.ModelProto], tmp_path: Path) -> None:
    graph = read(builder(), tmp_path).graph
    found = boundary_tensors(graph)
    assert [" ".join(names) for names in found] == BY_HAND[builder.__name__]
    sizes = [sum(graph.tensors[name].bytes_per_sample for name in names) for names in found]
    assert boundary_bytes(graph).tolist() == sizes


def make_graph(
    readers: list[list[int]], n_inputs: int, returned: list[int], parameters: list[list[str]] | None = None
) -> ModelGraph:
    """Operator ``i`` makes tensor ``n_inputs + i`` and reads ``readers[i]``; tensor ``t`` has ``2 ** t`` bytes."""
    names = [f"t{i}" for i in range(n_inputs + len(readers))]
    weights = {"w": 100, "v": 1000}
    held = parameters or [[] for _ in readers]
    return ModelGraph(
        name="made",
        operators=tuple(
            Operator(
                f"op{i}",
                "Sum",
                tuple(names[t] for t in dict.fromkeys(reads)),
                (names[n_inputs + i],),
                0,
                sum(weights[name] for name in held[i]),
                tuple(held[i]),
            )
            for i, reads in enumerate(readers)
        ),
        tensors={name: Tensor(name, "uint8", (-1, 2**i), True, 2**i) for i, name in enumerate(names)},
        inputs=tuple(names[:n_inputs]),
        outputs=tuple(names[t] for t in returned),
        parameters=weights,
    )


@st.composite
def made_graphs(draw: st.DrawFn) -> ModelGraph:
    n_inputs, n_operators = draw(st.integers(1, 3)), draw(st.integers(1, 8))
    readers = [draw(st.lists(st.integers(0, n_inputs + i - 1), max_size=3)) for i in range(n_operators)]
    total = n_inputs + n_operators
    returned = draw(st.lists(st.integers(0, total - 1), min_size=1, max_size=3, unique=True))
    return make_graph(readers, n_inputs, returned)


@given(graph=made_graphs())
def test_a_boundary_carries_what_was_made_before_and_is_used_after(graph: ModelGraph) -> None:
    operators = graph.operators
    found = boundary_tensors(graph)
    assert len(found) == len(operators) + 1
    for boundary, names in enumerate(found):
        before = {*graph.inputs, *(name for one in operators[:boundary] for name in one.outputs)}
        after = {*graph.outputs, *(name for one in operators[boundary:] for name in one.inputs)}
        expected = set(graph.inputs) if boundary == 0 else before & after
        assert set(names) == expected
        assert len(names) == len(expected)
        assert boundary_bytes(graph)[boundary] == sum(graph.tensors[name].bytes_per_sample for name in names)
        for place in range(boundary, len(operators)):
            held = expected if place == boundary else set(found[place])
            alive = held | set(operators[place].outputs)
            assert live_bytes(graph)[place] == sum(graph.tensors[name].bytes_per_sample for name in alive)


def test_peak_activations_by_hand() -> None:
    # t0 (1 byte) -> t1 (2) -> t2 (4) -> t3 = t2 + t1 (8) -> t4 (16)
    graph = make_graph([[0], [1], [2, 1], [3]], 1, [4])
    assert live_bytes(graph).tolist() == [1 + 2, 2 + 4, 2 + 4 + 8, 8 + 16]
    assert peak_activation_bytes(graph, 0, 4) == 24
    assert peak_activation_bytes(graph, 0, 3) == 14
    assert peak_activation_bytes(graph, 1, 2) == 6
    assert peak_activation_bytes(graph, 2, 2) == 0


def test_a_weight_that_several_operators_read_counts_once_in_a_span() -> None:
    graph = make_graph([[0], [1], [2]], 1, [3], [["w"], ["w", "v"], ["w"]])
    assert [parameter_bytes(graph, i, i + 1) for i in range(3)] == [100, 1100, 100]
    assert parameter_bytes(graph, 0, 2) == 1100
    assert parameter_bytes(graph, 0, 3) == 1100
    assert parameter_bytes(graph, 1, 1) == 0


def test_graphs_that_are_none_are_refused() -> None:
    with pytest.raises(BadInputError, match="'op0' reads tensor 't2', which no earlier operator makes"):
        make_graph([[2], [0]], 1, [2])
    tensor = Tensor("x", "uint8", (-1, 1), True, 1)
    identity = Operator("a", "Identity", ("x",), ("y",), 0, 0)
    with pytest.raises(BadInputError, match="two operators are named 'a'"):
        ModelGraph("made", (identity, identity), {"x": tensor}, ("x",), ("x",))
    with pytest.raises(BadInputError, match="tensor 'x' is made twice"):
        ModelGraph("made", (Operator("a", "Neg", (), ("x",), 0, 0),), {"x": tensor}, ("x",), ("x",))
    with pytest.raises(BadInputError, match="'y' has no entry"):
        ModelGraph("made", (identity,), {"x": tensor}, ("x",), ("y",))
    with pytest.raises(BadInputError, match="the model returns tensor 'z'"):
        ModelGraph("made", (identity,), {"x": tensor}, ("x",), ("z",))
