"""The torch program against onnxruntime on real models, and against ONNX's own operator examples."""

# ruff: noqa: E402 - torch first: without it the whole module is skipped

from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

torch = pytest.importorskip("torch")
onnxruntime = pytest.importorskip("onnxruntime")

from penstock.errors import InfeasibleError
from penstock.graph.cuts import boundary_bytes
from penstock.graph.reading.onnx_reader import read_onnx
from penstock.graph.split import submodel
from penstock.partition.prepartition import prepartition
from penstock.profile.prediction.device_catalogue import CPU_CORE
from penstock.profile.prediction.predict import predict_operators
from penstock.runtime.batch_norm_folding import fold_batch_normalization
from penstock.runtime.lowering.node import UnsupportedOperatorError
from penstock.runtime.lowering.registry import lowerings
from penstock.runtime.program import TorchProgram
from penstock.runtime.settings import RuntimeSettings
from penstock.runtime.torch_runner import TorchRunner
from penstock.zoo import build
from penstock.zoo.catalogue import CATALOGUE

TOLERANCE = 1e-4
"""Relative to the largest value: both sides sum float32 products in orders of their own."""


def distance(got, expected):
    return float(np.abs(got - expected).max() / max(np.abs(expected).max(), 1e-30))


def default_boundaries(graph):
    """As ``penstock profile`` chooses them for this machine."""
    costs = {"cpu": predict_operators(graph, CPU_CORE)}
    for count in range(10, 1, -1):
        try:
            return prepartition(costs, boundary_bytes(graph), count).solution
        except InfeasibleError:
            continue
    return (0, len(graph.operators))


def assert_whole_and_cuts_agree(folder: Path, name: str, image_size: int, batches):
    path = folder / f"{name}.onnx"
    path.write_bytes(build(name, seed=0, image_size=image_size).SerializeToString())
    model = read_onnx(path)
    boundaries = default_boundaries(model.graph)
    assert len(boundaries) > 2, name
    shape = (3, image_size, image_size)
    known = {
        b: {model.graph.inputs[0]: np.random.default_rng(b).standard_normal((b, *shape)).astype(np.float32)}
        for b in batches
    }
    for start, stop in [*pairwise(boundaries), (0, boundaries[-1])]:
        proto = submodel(model, start, stop).proto
        session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
        runner = TorchRunner(proto, RuntimeSettings(kind="torch"))
        for tensors in known.values():
            feeds = {name: tensors[name] for name in runner.inputs}
            expected = dict(zip(runner.outputs, session.run(None, feeds), strict=True))
            for output, made in runner.run(feeds).items():
                assert made.dtype == expected[output].dtype
                assert distance(made, expected[output]) < TOLERANCE, (name, start, stop, output)
            tensors.update(expected)


@pytest.mark.parametrize("name", list(CATALOGUE))
def test_the_zoo_agrees_with_onnxruntime_whole_and_at_every_default_cut(tmp_path, name):
    assert_whole_and_cuts_agree(tmp_path, name, CATALOGUE[name].smallest_image_size, (1, 3))


@pytest.mark.slow
@pytest.mark.parametrize("name", list(CATALOGUE))
def test_the_zoo_agrees_at_its_own_image_size(tmp_path, name):
    assert_whole_and_cuts_agree(tmp_path, name, CATALOGUE[name].image_size, (1,))


@pytest.mark.parametrize("name", ["resnet18", "squeezenet1_1", "inception_v3", "retinanet_resnet50_fpn"])
def test_no_value_is_ever_read_back_from_the_device(name):
    """A tensor of the meta device has no values: what reads one fails. So such a program can be captured."""
    size = CATALOGUE[name].smallest_image_size
    program = TorchProgram(build(name, seed=0, image_size=size), "meta")
    image = torch.empty((2, 3, size, size), device="meta")
    for output in program.build(image)(image):
        assert output.shape[0] == 2


def test_folded_normalisation_leaves_the_result(tmp_path):
    proto = build("resnet18", seed=0, image_size=32)
    image = np.random.default_rng(0).standard_normal((1, 3, 32, 32)).astype(np.float32)
    expected = onnxruntime.InferenceSession(proto.SerializeToString()).run(
        None, {proto.graph.input[0].name: image}
    )
    assert fold_batch_normalization(proto.graph) == 20  # one after each of its 20 convolutions
    folded = onnxruntime.InferenceSession(proto.SerializeToString()).run(
        None, {proto.graph.input[0].name: image}
    )
    assert distance(folded[0], expected[0]) < 1e-5


def one_operator(kind, inputs, outputs=("y",), weights=(), opset=17, domain="", **attributes):
    node = helper.make_node(
        kind, [*inputs, *(w.name for w in weights)], outputs, name="it", domain=domain, **attributes
    )
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info(name, element, shape) for name, (element, shape) in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        list(weights),
    )
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid(domain, opset), helper.make_opsetid("", 17)]
    )


def test_an_operator_without_a_rule_is_refused_by_name():
    model = one_operator("NonZero", {"x": (TensorProto.FLOAT, [2])})
    with pytest.raises(UnsupportedOperatorError, match=r"no rule for NonZero .*--executor onnxruntime"):
        TorchProgram(model)


def test_nodes_out_of_order_are_sorted_and_those_that_nobody_needs_are_dropped():
    """y = relu(x) + 1; NonZero has no rule, but its result is not used."""
    nodes = [
        helper.make_node("Add", ["r", "one"], ["y"]),
        helper.make_node("NonZero", ["x"], ["unused"]),
        helper.make_node("Relu", ["x"], ["r"]),
    ]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3]) for name in "xy"]
    one = numpy_helper.from_array(np.ones(1, np.float32), "one")
    graph = helper.make_graph(nodes, "g", values[:1], values[1:], [one])
    runner = TorchRunner(helper.make_model(graph), RuntimeSettings(kind="torch"))
    made = runner.run({"x": np.array([[-1, 0, 2]], np.float32)})["y"]
    np.testing.assert_array_equal(made, np.array([[1, 1, 3]], np.float32))


def test_what_depends_on_data_is_refused_with_the_node():
    model = one_operator("Reshape", {"x": (TensorProto.FLOAT, [4]), "shape": (TensorProto.INT64, [2])})
    with pytest.raises(UnsupportedOperatorError, match=r"operator Reshape .node 'it'.* depends on the data"):
        TorchProgram(model).build(torch.ones(4), torch.tensor([2, 2]))


def test_shapes_are_followed_at_every_batch():
    """The batch enters a reshape through Shape, Gather and Concat, as exporters write it."""
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Gather", ["shape", "zero"], ["batch"]),
        helper.make_node("Concat", ["batch", "rest"], ["target"], axis=0),
        helper.make_node("Reshape", ["x", "target"], ["y"]),
    ]
    constants = [
        numpy_helper.from_array(np.array([0], np.int64), "zero"),
        numpy_helper.from_array(np.array([-1, 2], np.int64), "rest"),
    ]
    graph = helper.make_graph(
        nodes,
        "heads",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 6])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3, 2])],
        constants,
    )
    runner = TorchRunner(helper.make_model(graph), RuntimeSettings(kind="torch"))
    for batch in (1, 5):
        x = np.arange(batch * 6, dtype=np.float32).reshape(batch, 6)
        np.testing.assert_array_equal(runner.run({"x": x})["y"], x.reshape(batch, 3, 2))


def operator_examples():
    """ONNX's own examples of operators that the table has: model, inputs, outputs."""
    from onnx.backend.test.case.node import collect_testcases

    known = {kind for domain, kind in lowerings() if not domain}
    for case in collect_testcases(None):
        if case.model is not None and {node.op_type for node in case.model.graph.node} <= known:
            yield case


def as_arrays(values):
    arrays = [numpy_helper.to_array(v) if isinstance(v, onnx.TensorProto) else v for v in values]
    return [np.asarray(array) for array in arrays if isinstance(array, np.ndarray | np.generic)]


@pytest.mark.slow
def test_onnx_own_examples_are_computed_right_or_refused():
    """The invariant: accepted and equal to the specification's own result, or refused by name."""
    equal, refused, wrong = 0, [], []
    for case in operator_examples():
        for inputs, outputs in case.data_sets:
            given, expected = as_arrays(inputs), as_arrays(outputs)
            if any(one.dtype.kind not in "biuf" or one.dtype.isbuiltin != 1 for one in (*given, *expected)):
                continue  # text, and types that numpy has from another package, which torch does not take
            if (len(given), len(expected)) != (len(inputs), len(outputs)):
                continue  # sequences and optional values
            try:
                program = TorchProgram(case.model)
                tensors = [torch.from_numpy(np.array(one)) for one in given]
                made = program.build(*tensors)(*tensors)
            except UnsupportedOperatorError:
                refused.append(case.name)
                continue
            except Exception as error:
                wrong.append(f"{case.name}: {type(error).__name__}: {str(error)[:100]}")
                continue
            same = all(
                np.allclose(
                    m.float().numpy(), np.asarray(o, np.float32), rtol=1e-3, atol=1e-3, equal_nan=True
                )
                and m.shape == np.shape(o)
                for m, o in zip(made, expected, strict=False)
            )
            equal += same
            if not same:
                wrong.append(case.name)
    assert not wrong, f"{len(wrong)} wrong, {equal} equal, {len(refused)} refused:\n" + "\n".join(wrong)
    assert equal > 300
