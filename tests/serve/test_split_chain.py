"""Batches that stages split into pieces: real messages, executors and ledgers; the oracle is onnxruntime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("zmq")
pytest.importorskip("torch")

from exported_models import build
from served_chain import ServedChain, assert_close, reference

from penstock.graph.reading.onnx_reader import OnnxModel, read_onnx
from penstock.profile.measuring.inputs import model_inputs

NAMES = ("encoder", "time first", "windows", "scaled")
"""A batch that is the first axis, the second one, one merged with another axis, and inputs without a batch."""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, OnnxModel]:
    folder = tmp_path_factory.mktemp("exported")
    return {name: read_onnx(build(name, folder)) for name in NAMES}


def two_stages(model: OnnxModel, folder: Path) -> ServedChain:
    operators = len(model.graph.operators)
    return ServedChain(model, (0, operators // 2, operators), folder)


@pytest.mark.parametrize("pieces", [(2, 1), (1, 3), (3, 2), (2, 3)])
@pytest.mark.parametrize("name", NAMES)
def test_pieces_give_what_onnxruntime_gives(
    name: str, pieces: tuple[int, int], models: dict[str, OnnxModel], tmp_path: Path
) -> None:
    """A request of three samples and two of one, whose answers are put together of several pieces."""
    model = models[name]
    chain = two_stages(model, tmp_path)
    shared = model_inputs(model.graph, 1, seed=5)
    requests = [model_inputs(model.graph, samples, seed=samples) for samples in (3, 1, 1)]
    for request in requests:
        request |= {n: a for n, a in shared.items() if not model.graph.tensors[n].batched}
    for answer, feeds in zip(chain.infer(requests, pieces=pieces), requests, strict=True):
        assert_close(answer, reference(model.path, feeds))
    even = {1: [5], 2: [2, 3], 3: [1, 2, 2]}
    sizes = [sorted(size for place, size in chain.sizes if place == stage) for stage in (0, 1)]
    assert sizes == [even[count] for count in pieces]


@pytest.mark.parametrize("gateways", [2, 3])
@pytest.mark.parametrize("pieces", [(2, 1), (3, 2)])
def test_shares_of_several_gateways_are_split_and_come_back_to_their_own(
    pieces: tuple[int, int], gateways: int, models: dict[str, OnnxModel], tmp_path: Path
) -> None:
    """Pieces begin and end within the shares of gateways."""
    model = models["time first"]
    chain = two_stages(model, tmp_path)
    requests = [dict(model_inputs(model.graph, samples, seed=samples)) for samples in (1, 2, 3, 1)]
    for answer, request in zip(
        chain.infer(requests, gateways=gateways, pieces=pieces), requests, strict=True
    ):
        assert_close(answer, reference(model.path, request))


def test_a_last_batch_that_is_smaller_than_the_pieces(models: dict[str, OnnxModel], tmp_path: Path) -> None:
    model = models["encoder"]
    chain = two_stages(model, tmp_path)
    feeds = model_inputs(model.graph, 6, seed=1)
    (answer,) = chain.infer([feeds], [[0, 1, 2], [3, 4], [5]], pieces=(3, 2))
    assert_close(answer, reference(model.path, feeds))
    assert sorted(size for stage, size in chain.sizes if stage == 1) == [1, 1, 1, 1, 2]


@pytest.mark.parametrize("pieces", [(2, 1), (1, 2), (3, 2)])
def test_samples_of_unequal_scalars_never_run_together(
    pieces: tuple[int, int], models: dict[str, OnnxModel], tmp_path: Path
) -> None:
    """Gains 1, 3, 1, 3: the gateway puts equal ones together, and each piece runs a group for each of its gains."""
    model = models["scaled"]
    chain = two_stages(model, tmp_path)
    runs: list[int] = []
    plain = chain.executors[0].run
    chain.executors[0].run = lambda tensors, size: runs.append(size) or plain(tensors, size)
    common = model_inputs(model.graph, 1, seed=9)
    requests = [
        {**common, "x": np.full((1, 8), k, np.float32), "gain": np.array(gain, np.float32)}
        for k, gain in enumerate((1.0, 3.0, 1.0, 3.0))
    ]
    for answer, request in zip(chain.infer(requests, pieces=pieces), requests, strict=True):
        assert_close(answer, reference(model.path, request))
    assert sorted(runs) == ([1, 1, 2] if pieces[0] == 3 else [2, 2])
