"""Readers: what each format means, and a message of its own for each fault."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from penstock.errors import BadInputError
from penstock.graph.reading.onnx_reader import read_onnx
from penstock.partition.formats.boundary_chain import chain_problem
from penstock.partition.formats.onnx_model import model_problem
from penstock.partition.formats.pipedream import read_pipedream
from penstock.partition.formats.placement import read_placement
from penstock.partition.formats.read import read_class_times, read_graph
from penstock.partition.partition import partition
from penstock.partition.problem import block_costs
from penstock.ppipe.profiles import model_names, read_operator_costs
from penstock.zoo import build
from ppipe_artifact import write_artifact

ARTIFACT = Path(__file__).parents[2] / ".." / "shared" / "data" / "ppipe-artifact"
PIPEDREAM = """node2 -- ReLU(inplace) -- forward_compute_time=0.5, backward_compute_time=9, activation_size=1000.0, x=1
node1 -- Conv2d(3, 64, kernel_size=(3, 3)) -- forward_compute_time=1.5, activation_size=[1000.0; 250.0], x=0
\tnode1 -- node2
"""


def placement(nodes=None, edges=None, **rest):
    return {
        "maxFPGAs": 2,
        "nodes": nodes or [{"id": i, "name": f"n{i}", "fpgaLatency": float(i)} for i in (1, 2, 3)],
        "edges": edges
        or [
            {"sourceId": 1, "destId": 2, "cost": 5.0},
            {"sourceId": 1, "destId": 3, "cost": 5.0},
            {"sourceId": 2, "destId": 3, "cost": 7.0},
        ],
        **rest,
    }


def written(tmp_path: Path, content: object, name: str = "graph.json") -> Path:
    path = tmp_path / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_a_placement_node_makes_one_tensor(tmp_path):
    source = read_placement(written(tmp_path, placement()))
    assert (source.unit, source.shipped_k) == ("ms", 2)
    assert source.problem.operators == ("n1", "n2", "n3")
    costs = block_costs(source.problem, np.array([0, 1, 1]), 2)
    assert costs.out.tolist() == [5, 0]
    assert costs.in_.tolist() == [0, 5]


def test_nodes_of_one_colour_become_one_operator(tmp_path):
    nodes = [{"id": i, "name": f"n{i}", "fpgaLatency": float(i), "colorClass": i // 2} for i in (1, 2, 3)]
    problem = read_placement(written(tmp_path, placement(nodes))).problem
    assert problem.operators == ("n1", "n3 (+1)")
    assert problem.work.tolist() == [1, 5]


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (placement(edges=[{"sourceId": 1, "destId": 9, "cost": 1.0}]), r"edges\[0\]: destId 9 is no node"),
        (placement(edges=[{"sourceId": 1, "destId": 2, "cost": -1.0}]), r"'cost' \(=-1.0\) is a negative"),
        (placement(nodes=[{"id": 1, "fpgaLatency": -2}]), r"nodes\[0\]: 'fpgaLatency' \(=-2\) is a negative"),
        (placement(nodes=[{"id": 1, "fpgaLatency": 1}] * 2), r"nodes\[1\]: id 1 stands twice"),
        (placement(nodes=[{"id": 1}]), r"'fpgaLatency' \(=None\) must be a number"),
        (
            placement(edges=[{"sourceId": a, "destId": b, "cost": 1.0} for a, b in ((1, 2), (2, 1))]),
            "cycle: 'n. -> 'n. -> 'n.",
        ),
        (
            placement(edges=[{"sourceId": 1, "destId": b, "cost": float(b)} for b in (2, 3)]),
            "cost 3.0, but another edge out of node 1 costs 2.0",
        ),
        (placement(maxFPGAs=0), "'maxFPGAs'"),
        ({"vertices": []}, "unknown format"),
        ([1], "unknown format"),
    ],
)
def test_each_fault_of_a_placement_graph_is_named(tmp_path, document, message):
    with pytest.raises(BadInputError, match=message.replace("'n. ", "'n.' ")):
        read_placement(written(tmp_path, document))


def test_a_pipedream_graph_in_microseconds(tmp_path):
    source = read_pipedream(written(tmp_path, PIPEDREAM, "g.txt"), bandwidth_gbps=1)
    assert source.problem.operators == ("node1 Conv2d(3, 64, kernel_size=(3, 3))", "node2 ReLU(inplace)")
    assert source.problem.work.tolist() == [1500, 500]
    assert source.problem.tensor_time.tolist() == [10]  # 1250 bytes at 125 a microsecond
    assert (source.unit, source.shipped_k) == ("us", None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hello", "line 1: unknown format: 'hello'"),
        (PIPEDREAM + "\tnode1 node2\n", "line 4: unknown format"),
        (PIPEDREAM + "\tnode1 -- node7\n", "line 4: 'node7' is no node"),
        (PIPEDREAM + "\tnode2 -- node1\n", "cycle"),
        (PIPEDREAM.replace("0.5", "-0.5"), "line 1: 'forward_compute_time' .* negative"),
        (PIPEDREAM.replace("0.5", "fast"), "line 1: 'forward_compute_time' .* must be a number"),
        (PIPEDREAM.replace("activation_size=1000.0", "size=1"), "line 1: 'activation_size' is missing"),
        (PIPEDREAM.replace("node1 -- C", "node2 -- C"), "line 2: node2 stands twice"),
        ("", "no operators"),
    ],
)
def test_each_fault_of_a_pipedream_graph_names_its_line(tmp_path, text, message):
    with pytest.raises(BadInputError, match=message):
        read_pipedream(written(tmp_path, text, "g.txt"), bandwidth_gbps=1)


@pytest.fixture(scope="module")
def squeezenet(tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "squeezenet.onnx"
    onnx.save(build("squeezenet1_1", image_size=64), path)
    return path


def test_an_onnx_model_pays_for_its_ends(squeezenet):
    graph = read_onnx(squeezenet).graph
    n = len(graph.operators)
    problem = model_problem(graph, np.ones(n), 1.0).problem
    costs = block_costs(problem, np.zeros(n, np.int64), 1)
    sizes = [
        sum(graph.tensors[name].bytes_per_sample for name in names) for names in (graph.inputs, graph.outputs)
    ]
    assert costs.in_[0] == pytest.approx(sizes[0] / 125)
    assert costs.out[0] == pytest.approx(sizes[1] / 125)
    without = model_problem(graph, np.ones(n), 1.0, with_ends=False).problem
    assert block_costs(without, np.zeros(n, np.int64), 1).total.tolist() == [n]


def test_what_exceeds_the_memory_is_streamed(squeezenet):
    graph = read_onnx(squeezenet).graph
    n = len(graph.operators)
    problem = model_problem(graph, np.ones(n), 1.0, memory_bytes=0).problem
    held = sum(operator.parameter_bytes for operator in graph.operators)
    assert block_costs(problem, np.zeros(n, np.int64), 1).streamed[0] >= held / 125


def test_an_onnx_file_needs_a_device_class(squeezenet):
    with pytest.raises(BadInputError, match="--device-class"):
        read_graph(squeezenet, bandwidth_gbps=1)
    source, times = read_class_times(squeezenet, bandwidth_gbps=1, classes=["T4", "P4"])
    assert source.problem.work.tolist() == times["T4"].tolist()
    assert times["P4"].sum() > times["T4"].sum()


def test_boundary_bytes_are_a_chain():
    """Works 3 and 4 us, 125 bytes a microsecond: cut in the middle the blocks cost 2 + 3 + 1 and 1 + 4 + 6."""
    problem = chain_problem("chain", np.array([3.0, 4.0]), [250, 125, 750], 1.0).problem
    assert block_costs(problem, np.array([0, 1]), 2).total.tolist() == [6, 11]


def test_operator_costs_of_a_tiny_artifact_are_a_chain(tmp_path):
    """Four operators of 10.5 to 40.5 us. The cut that sends 16 bytes leaves 10.5 alone; every other sends 1 MB."""
    latency_us, boundary_bytes = read_operator_costs(write_artifact(tmp_path / "artifact"), "net-a_v1")
    problem = chain_problem("net-a_v1", latency_us["H"], boundary_bytes, 1.0).problem
    result = partition(problem, 2)
    assert result.objective == pytest.approx(result.bound)
    assert result.solution.block.tolist() == [0, 1, 1, 1]
    # Send 16 bytes in, compute 20.5 + 30.5 + 40.5, send 4 bytes out, at 125 bytes a microsecond.
    assert result.objective == pytest.approx(91.5 + 20 / 125)


@pytest.mark.data
def test_operator_costs_of_the_artifact_are_a_chain():
    if not ARTIFACT.is_dir():
        pytest.skip(f"{ARTIFACT} is absent: the reference data is not at ../shared/data")
    latency_us, boundary_bytes = read_operator_costs(ARTIFACT, model_names(ARTIFACT)[0])
    problem = chain_problem("model", latency_us["T4"], boundary_bytes, 10.0).problem
    result = partition(problem, 4)
    assert result.objective == pytest.approx(result.bound)


def test_a_chain_needs_a_boundary_more_than_operators():
    with pytest.raises(BadInputError, match="there must be 3"):
        chain_problem("c", np.ones(2), [1, 2], 1.0)


@pytest.mark.parametrize("bandwidth", [0.0, -1.0, float("nan")])
def test_bandwidth_must_be_above_zero(tmp_path, bandwidth):
    with pytest.raises(BadInputError, match="bandwidth"):
        read_graph(written(tmp_path, placement()), bandwidth_gbps=bandwidth)
