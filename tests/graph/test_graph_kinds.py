"""Kinds of files that people have: each is read, cut at every boundary, and gives what the file gives."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest
from graph_builder import assert_same, parse, random, random_inputs, run, run_chain
from onnx import TensorProto, helper, numpy_helper

from penstock.errors import BadInputError
from penstock.graph.reading.onnx_reader import OnnxModel, read_onnx
from penstock.graph.split import split


def with_opset(
    text: str, opset: int, weights: dict[str, np.ndarray] | None = None, **others: int
) -> onnx.ModelProto:
    imports = ", ".join(f'"{domain}" : {version}' for domain, version in {"": opset, **others}.items())
    proto = onnx.parser.parse_model(f"<ir_version: 9, opset_import: [{imports}]>\n{text}")
    proto.graph.initializer.extend(numpy_helper.from_array(v, k) for k, v in (weights or {}).items())
    return proto


def compared() -> onnx.ModelProto:
    """GreaterOrEqual is a function until opset 15."""
    return with_opset(
        "g (float[N, 8] x) => (float[N, 8] y) { c = GreaterOrEqual(x, w) \n y = Cast<to = 1>(c) }",
        13,
        {"w": random(8)},
    )


def group_norm() -> onnx.ModelProto:
    return with_opset(
        "g (float[N, 8, 4] x) => (float[N, 8, 4] y) { a = GroupNormalization<num_groups = 2>(x, s, s) \n y = Relu(a) }",
        21,
        {"s": random(8)},
    )


def variance() -> onnx.ModelProto:
    return with_opset(
        """g (float[N, 2, 4, 4] x) => (float[N, 2, 4, 4] y) {
            a = Relu(x)
            y = MeanVarianceNormalization<axes = [2, 3]>(a)
        }""",
        13,
    )


def microsoft() -> onnx.ModelProto:
    """What the runtime's optimiser makes of a transformer's feed-forward part."""
    proto = with_opset(
        """g (float[N, 3, 4] x) => (float[N, 3, 8] y) {
            a = com.microsoft.FusedMatMul<alpha = 0.5, transB = 1>(x, w)
            b = com.microsoft.BiasGelu(a, bias)
            y, m, v, s = com.microsoft.SkipLayerNormalization(b, a, gamma, beta)
        }""",
        17,
        {"w": random(8, 4), "bias": random(8), "gamma": random(8), "beta": random(8)},
        **{"com.microsoft": 1},
    )
    proto.graph.node[2].ClearField("output")
    proto.graph.node[2].output.append("y")
    return proto


def scaler() -> onnx.ModelProto:
    """A classifier of the library scikit-learn as its converter writes it, with a map for each sample at the end."""
    nodes = [
        helper.make_node("Scaler", ["x"], ["a"], domain="ai.onnx.ml", offset=[1.0, 2.0], scale=[0.5, 0.25]),
        helper.make_node(
            "LinearClassifier",
            ["a"],
            ["label", "raw"],
            domain="ai.onnx.ml",
            classlabels_ints=[0, 1, 2],
            coefficients=[1.0, 2.0, -1.0, 0.5, 0.25, -2.0],
            intercepts=[0.0, 1.0, 2.0],
            post_transform="SOFTMAX",
        ),
        helper.make_node("Normalizer", ["raw"], ["p"], domain="ai.onnx.ml", norm="L1"),
        helper.make_node(
            "ZipMap", ["p"], ["probabilities"], domain="ai.onnx.ml", classlabels_int64s=[0, 1, 2]
        ),
    ]
    maps = helper.make_sequence_type_proto(
        helper.make_map_type_proto(TensorProto.INT64, helper.make_tensor_type_proto(TensorProto.FLOAT, []))
    )
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 2])],
        [
            helper.make_tensor_value_info("label", TensorProto.INT64, [None]),
            helper.make_value_info("probabilities", maps),
        ],
    )
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)], ir_version=8
    )


def squeezing() -> onnx.ModelProto:
    """If of an exporter: squeeze axis 1 if its length is 1."""
    return parse(
        """g (float[N, 1, 8] x) => (float[N, 8] y) {
            s = Shape(x)
            d = Gather(s, one)
            c = Equal(d, one)
            b = If(c) <then_branch = t () => (float[N, 8] r) { axes = Constant<value_ints = [1]>()
                                                               r = Squeeze(x, axes) },
                       else_branch = e () => (float[N, 1, 8] q) { q = Identity(x) }>
            y = Relu(b)
        }""",
        {"one": np.array(1)},
    )


def nested() -> onnx.ModelProto:
    """An If in the branch of an If, with names that both branches define."""
    return parse(
        """g (float[N, 2] x) => (float[N, 2] y) {
            a = Relu(x)
            b = If(yes) <then_branch = t () => (float[N, 2] r) {
                            r = If(no) <then_branch = t2 () => (float[N, 2] p) { p = Neg(a) },
                                        else_branch = e2 () => (float[N, 2] o) { o = Identity(a) }> },
                         else_branch = e () => (float[N, 2] q) { q = Abs(a) }>
            y = Tanh(b)
        }""",
        {"yes": np.array(True), "no": np.array(False)},
    )


def dead() -> onnx.ModelProto:
    return parse("g (float[N, 8] x) => (float[N, 8] y) { a = Exp(x) \n nz = NonZero(x) \n y = Neg(a) }")


def unsorted() -> onnx.ModelProto:
    """Converters of precision put the casts of inputs at the end."""
    proto = parse(
        """g (float[N, 4] x) => (float[N, 4] y) {
            h = Cast<to = 11>(x)
            a = Add(h, w)
            y = Cast<to = 1>(a)
        }""",
        {"w": random(4).astype(np.float64)},
    )
    nodes = [proto.graph.node[k] for k in (1, 2, 0)]
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del proto.graph.node[:]
    proto.graph.node.extend(copies)
    return proto


KINDS: dict[str, Callable[[], onnx.ModelProto]] = {
    made.__name__: made
    for made in (compared, group_norm, variance, microsoft, scaler, squeezing, nested, dead, unsorted)
}


def read(proto: onnx.ModelProto, folder: Path) -> OnnxModel:
    path = folder / "kind.onnx"
    path.write_bytes(proto.SerializeToString())
    return read_onnx(path)


@pytest.mark.parametrize("build", KINDS.values(), ids=KINDS)
def test_every_kind_is_read_and_cut_everywhere(build: Callable[[], onnx.ModelProto], tmp_path: Path) -> None:
    model = read(build(), tmp_path)
    n = len(model.graph.operators)
    for batch in (1, 3):
        feeds = random_inputs(model, batch)
        whole = run(model.proto, feeds)
        for name, array in whole.items():
            assert array.shape == model.graph.tensors[name].shape_at(batch)
        if build.__name__ != "scaler":
            assert_same(whole, run(build(), feeds))
        for cut in range(1, n):
            assert_same(run_chain(split(model, [0, cut, n]), feeds), whole)


def test_probabilities_of_a_classifier_are_a_tensor(tmp_path: Path) -> None:
    """ZipMap makes maps of them, which no protocol carries: the same numbers are given as [samples, classes]."""
    feeds = {"x": random(3, 2)}
    made = run(read(scaler(), tmp_path).proto, feeds)
    maps = run(scaler(), feeds)["probabilities"]
    np.testing.assert_allclose(made["probabilities"], [[one[k] for k in range(3)] for one in maps], rtol=1e-6)


def test_a_dead_branch_costs_nothing(tmp_path: Path) -> None:
    assert [one.kind for one in read(dead(), tmp_path).graph.operators] == ["Exp", "Neg"]


def test_a_squeeze_without_axes_keeps_the_batch_at_batch_1(tmp_path: Path) -> None:
    """By hand: [N, 4] @ [4, 1] is [N, 1]. The file gives a scalar for one sample; what is served gives [1]."""
    proto = parse(
        "g (float[N, 4] x) => (float[N] y) { a = MatMul(x, w) \n y = Squeeze(a) }", {"w": random(4, 1)}
    )
    model = read(proto, tmp_path)
    assert run(proto, {"x": random(1, 4)})["y"].shape == ()
    made = run(model.proto, {"x": random(1, 4)})["y"]
    assert made.shape == (1,)
    np.testing.assert_allclose(made[0], run(proto, {"x": random(1, 4)})["y"])


def test_a_length_that_depends_on_data_is_found_by_a_run(tmp_path: Path) -> None:
    """com.microsoft.Unique gives one number for zeros: no shape can be inferred, and none is guessed."""
    proto = with_opset(
        "g (float[N] x) => (float[M] y) { y, i, c = com.microsoft.Unique(x) }",
        17,
        None,
        **{"com.microsoft": 1},
    )
    with pytest.raises(BadInputError, match="cannot be resolved: it depends on data"):
        read(proto, tmp_path)


def test_an_operator_that_no_runtime_has_is_refused(tmp_path: Path) -> None:
    proto = with_opset(
        "g (float[N] x) => (float[N] y) { y = com.microsoft.Nonsense(x) }", 17, None, **{"com.microsoft": 1}
    )
    with pytest.raises(BadInputError, match=r"Nonsense of domain com.microsoft.*cannot run it"):
        read(proto, tmp_path)


def test_a_branch_that_depends_on_the_batch_is_refused(tmp_path: Path) -> None:
    """At batch 1 the exporter's squeeze would take the batch away."""
    proto = parse(
        """g (float[N, 8] x) => (float[N, 8] y) {
            s = Shape(x)
            d = Gather(s, zero)
            c = Equal(d, one)
            y = If(c) <then_branch = t () => (float[N, 8] r) { r = Neg(x) },
                       else_branch = e () => (float[N, 8] q) { q = Identity(x) }>
        }""",
        {"zero": np.array(0), "one": np.array(1)},
    )
    with pytest.raises(BadInputError, match=r"takes another branch at batch 2 than at batch 1.*--dim N=1"):
        read(proto, tmp_path)
