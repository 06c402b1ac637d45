"""Every real architecture reads, cuts and runs; its operation count is the published one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from graph_builder import assert_same, random_inputs, read, run, run_chain

from penstock import zoo
from penstock.graph.cuts import boundary_bytes, boundary_tensors
from penstock.graph.memory import parameter_bytes
from penstock.graph.reading.onnx_reader import read_onnx
from penstock.graph.split import split

pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.slow

# Multiply-adds in billions of convolutions and fully connected layers, one 224-pixel image (inception_v3: 299),
# as torchvision's documentation of its weights gives them ("GFLOPS"). The detector's is of another image size.
PUBLISHED_GMACS = {
    "resnet18": 1.81,
    "resnet34": 3.66,
    "resnet50": 4.09,
    "mobilenet_v2": 0.30,
    "squeezenet1_1": 0.35,
    "densenet121": 2.83,
    "googlenet": 1.50,
    "inception_v3": 5.71,
}


@pytest.mark.parametrize("name", zoo.NAMES)
def test_cut_at_five_places_it_gives_the_whole_models_output(name: str, tmp_path: Path) -> None:
    whole = zoo.build(name, image_size={"inception_v3": 75, "retinanet_resnet50_fpn": 64}.get(name, 32))
    model = read(whole, tmp_path)
    n_operators = len(model.graph.operators)
    assert n_operators == len(whole.graph.node)
    inner = np.random.default_rng(7).choice(np.arange(1, n_operators), 5, replace=False)
    parts = split(model, [0, *sorted(inner.tolist()), n_operators])
    for part in parts:
        onnx.checker.check_model(part.proto, full_check=True)
    for batch in (1, 3):
        feeds = random_inputs(model, batch)
        assert_same(run_chain(parts, feeds), run(whole, feeds))


LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"


@pytest.mark.parametrize("name", ["squeezenet", "shufflenet", "inception_v1"])
def test_models_of_others_that_come_with_onnx_split_too(name: str) -> None:
    """Their batch is fixed at 1, and their weights are made by operators at the top of the file."""
    path = LIGHT / f"light_{name}.onnx"
    if not path.exists():
        pytest.skip(f"onnx {onnx.__version__} comes without {path.name}")
    model = read_onnx(path)
    assert not any(tensor.batched for tensor in model.graph.tensors.values())
    third = len(model.graph.operators) // 3
    parts = split(model, [0, third, 2 * third, len(model.graph.operators)])
    feeds = random_inputs(model, 1)
    assert_same(run_chain(parts, feeds), run(onnx.load(path), feeds))


@pytest.mark.parametrize("name", zoo.NAMES)
def test_sizes_are_those_of_the_file(name: str, tmp_path: Path) -> None:
    whole = zoo.build(name)
    graph = read(whole, tmp_path).graph
    weights = sum(4 * int(np.prod(each.dims)) for each in whole.graph.initializer)
    assert parameter_bytes(graph, 0, len(graph.operators)) == weights
    recorded = {
        each.name: tuple(axis.dim_value or -1 for axis in each.type.tensor_type.shape.dim)
        for each in (*whole.graph.input, *whole.graph.value_info, *whole.graph.output)
    }
    assert {tensor.name: tensor.shape for tensor in graph.tensors.values()} == recorded
    sizes = [sum(graph.tensors[each].bytes_per_sample for each in names) for names in boundary_tensors(graph)]
    assert boundary_bytes(graph).tolist() == sizes


@pytest.mark.parametrize("name", PUBLISHED_GMACS)
def test_operations_are_the_published_ones(name: str, tmp_path: Path) -> None:
    graph = read(zoo.build(name), tmp_path).graph
    products = sum(one.flops for one in graph.operators if one.kind in ("Conv", "Gemm"))
    assert products / 2e9 == pytest.approx(PUBLISHED_GMACS[name], rel=0.02)
