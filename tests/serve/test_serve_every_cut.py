"""Every default boundary of models whose batch is not simply the first axis everywhere, served in two stages.

The oracle is onnxruntime on the file as it was exported.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("zmq")
pytest.importorskip("torch")

from exported_models import build
from served_chain import ServedChain, assert_close, reference

from penstock.errors import InfeasibleError
from penstock.graph.cuts import boundary_bytes
from penstock.graph.model_graph import ModelGraph
from penstock.graph.reading.onnx_reader import OnnxModel, read_onnx
from penstock.partition.prepartition import prepartition
from penstock.profile.measuring.independence import check_independence
from penstock.profile.measuring.inputs import model_inputs
from penstock.profile.prediction.device_catalogue import CPU_CORE
from penstock.profile.prediction.predict import predict_operators

NAMES = ("encoder", "time first", "windows", "scaled")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, OnnxModel]:
    folder = tmp_path_factory.mktemp("exported")
    return {name: read_onnx(build(name, folder)) for name in NAMES}


def default_boundaries(graph: ModelGraph) -> tuple[int, ...]:
    """Those of ``penstock profile``: as many blocks as possible, up to ten."""
    times = {"cpu": predict_operators(graph, CPU_CORE)}
    for count in range(10, 1, -1):
        try:
            return prepartition(times, boundary_bytes(graph), count).solution
        except InfeasibleError:
            continue
    return (0, len(graph.operators))


@pytest.mark.parametrize("name", NAMES)
def test_every_default_boundary_serves_what_onnxruntime_gives(
    name: str, models: dict[str, OnnxModel], tmp_path: Path
) -> None:
    model = models[name]
    boundaries = default_boundaries(model.graph)
    assert len(boundaries) > 3
    for cut in boundaries[1:-1]:
        chain = ServedChain(model, (0, cut, boundaries[-1]), tmp_path / str(cut))
        for batch in (1, 3):
            feeds = model_inputs(model.graph, batch, seed=cut)
            assert_close(chain.infer([feeds])[0], reference(model.path, feeds))


@pytest.mark.parametrize("name", NAMES)
def test_samples_of_several_requests_come_back_to_their_own(
    name: str, models: dict[str, OnnxModel], tmp_path: Path
) -> None:
    """Requests of 1 and 2 samples in one batch, then in batches that tear the second one apart."""
    model = models[name]
    chain = ServedChain(model, default_boundaries(model.graph), tmp_path / "stages")
    shared = model_inputs(model.graph, 1, seed=5)
    requests = [model_inputs(model.graph, samples, seed=5) for samples in (1, 2)]
    for request in requests:
        request |= {n: a for n, a in shared.items() if not model.graph.tensors[n].batched}
    for batches in ([[0, 1, 2]], [[2, 0], [1]]):
        for answer, feeds in zip(_in_order(chain.infer(requests, batches), batches), requests, strict=True):
            assert_close(answer, reference(model.path, feeds))


def _in_order(answers: list, batches: list[list[int]]) -> list:
    """Answers come as requests are done: the first request has unit 0, the second the rest."""
    done = [
        max(place for place, batch in enumerate(batches) if units & set(batch)) for units in ({0}, {1, 2})
    ]
    return answers if done[0] <= done[1] else answers[::-1]


def test_requests_of_unequal_scalars_share_a_batch_and_no_run(
    models: dict[str, OnnxModel], tmp_path: Path
) -> None:
    """Four requests in one batch, gains 1, 3, 1, 3: each gets its own gain, in two groups of two."""
    model = models["scaled"]
    chain = ServedChain(model, default_boundaries(model.graph), tmp_path / "stages")
    runs: list[int] = []
    plain = chain.executors[0].run
    chain.executors[0].run = lambda tensors, size: runs.append(size) or plain(tensors, size)
    common = model_inputs(model.graph, 1, seed=9)
    requests = [
        {**common, "x": np.full((1, 8), k, np.float32), "gain": np.array(gain, np.float32)}
        for k, gain in enumerate((1.0, 3.0, 1.0, 3.0))
    ]
    for answer, place in zip(chain.infer(requests), (0, 2, 1, 3), strict=True):
        assert_close(answer, reference(model.path, requests[place]))
    assert runs == [2, 2]


def test_shares_of_two_gateways_run_together_if_their_scalars_agree(
    models: dict[str, OnnxModel], tmp_path: Path
) -> None:
    """Requests 0 and 2 come to one gateway, 1 and 3 to the other: gains 3, 2, 2, 3.

    The batch has gains 3, 2 from the first and 2, 3 from the second; the twos in the middle run together.
    """
    model = models["scaled"]
    chain = ServedChain(model, default_boundaries(model.graph), tmp_path / "stages")
    runs: list[int] = []
    plain = chain.executors[0].run
    chain.executors[0].run = lambda tensors, size: runs.append(size) or plain(tensors, size)
    requests = []
    for k, (gain, samples) in enumerate(((3.0, 1), (2.0, 1), (2.0, 1), (3.0, 1))):
        common = model_inputs(model.graph, samples, seed=9)
        requests.append(
            {**common, "x": np.full((samples, 8), k, np.float32), "gain": np.array(gain, np.float32)}
        )
    answers = chain.infer(requests, gateways=2)
    assert runs == [1, 2, 1]
    for answer, place in zip(answers, (0, 2, 1, 3), strict=True):
        assert_close(answer, reference(model.path, requests[place]))


@pytest.mark.parametrize("name", NAMES)
def test_shares_of_three_gateways_come_back_to_their_own(
    name: str, models: dict[str, OnnxModel], tmp_path: Path
) -> None:
    model = models[name]
    chain = ServedChain(model, default_boundaries(model.graph), tmp_path / "stages")
    requests = [dict(model_inputs(model.graph, samples, seed=samples)) for samples in (1, 2, 1)]
    if any(np.ndim(array) == 0 for array in requests[0].values()):
        pytest.skip("its requests have scalars of their own: the test before")
    for answer, request in zip(chain.infer(requests, gateways=3), requests, strict=True):
        assert_close(answer, reference(model.path, request))


@pytest.mark.parametrize("name", NAMES)
def test_their_samples_are_independent(name: str, models: dict[str, OnnxModel]) -> None:
    assert check_independence(models[name]) is None


@pytest.mark.parametrize("name", ("encoder", "windows", "time first"))
def test_emulated_tensors_have_the_shapes_of_the_model(
    name: str, models: dict[str, OnnxModel], tmp_path: Path
) -> None:
    model = models[name]
    chain = ServedChain(model, default_boundaries(model.graph), tmp_path / "none", "emulated")
    feeds = model_inputs(model.graph, 3, seed=0)
    (answer,) = chain.infer([feeds])
    assert [one.array.shape for one in answer] == [a.shape for a in reference(model.path, feeds).values()]


@pytest.mark.parametrize("name", NAMES)
def test_the_torch_executor_gives_the_same(name: str, models: dict[str, OnnxModel], tmp_path: Path) -> None:
    model = models[name]
    boundaries = default_boundaries(model.graph)
    chain = ServedChain(model, (0, boundaries[len(boundaries) // 2], boundaries[-1]), tmp_path / "t", "torch")
    for batch in (1, 3):
        feeds = model_inputs(model.graph, batch, seed=2)
        assert_close(chain.infer([feeds])[0], reference(model.path, feeds))
