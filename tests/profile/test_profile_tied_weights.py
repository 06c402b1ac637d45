"""Weights that several blocks read are loaded once by a worker: in profile, planner and checker.

The case of all tests: three blocks of one product each, the first and the last with the same 36 MB. So the whole model
holds 72 MB, not 108.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest
from onnx import numpy_helper

from penstock.cluster import DeviceClass
from penstock.errors import BadInputError, InfeasibleError
from penstock.graph.reading.onnx_reader import read_onnx
from penstock.plan.documents.rules.memory_rules import weight_bytes
from penstock.plan.documents.scenario import PlannerSettings, Scenario, ServedModel
from penstock.plan.no_pipeline import NoPlanError
from penstock.plan.planners.pool_planner import PoolPlanner
from penstock.profile.build import build_profile
from penstock.profile.store import load_profile, save_profile
from penstock.profile.table import Block, LatencyTable, Profile, Provenance, SharedWeights

MB = 1_000_000


def tied() -> Profile:
    return Profile(
        model="tied",
        blocks=tuple(Block(f"b{i}", (), 36 * MB, 0) for i in range(3)),
        boundary_bytes=(4, 4, 4, 4),
        tables={("gpu", 1): LatencyTable(np.array([[100], [100], [100]]))},
        provenance=Provenance("measured", "toy", "toy", "2025-01-01"),
        shared_weights=(SharedWeights(36 * MB, (0, 2)),),
    )


@pytest.mark.parametrize(
    ("start", "stop", "megabytes"), [(0, 3, 72), (0, 2, 72), (1, 3, 72), (2, 3, 36), (0, 1, 36), (1, 1, 0)]
)
def test_a_worker_loads_each_weight_once(start: int, stop: int, megabytes: int) -> None:
    assert tied().parameter_bytes(start, stop) == megabytes * MB
    assert weight_bytes(tied(), start, stop) == megabytes * MB


def test_the_profile_finds_them_and_keeps_them(tmp_path: Path) -> None:
    """By hand: w has 32 x 32 floats of 4 bytes, 4,096; v the same. Blocks 0 and 2 read w."""
    proto = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 17]>
        m (float[N, 32] x) => (float[N, 32] y) { a = MatMul(x, w) \n b = MatMul(a, v) \n y = MatMul(b, w) }"""
    )
    ones = np.ones((32, 32), np.float32)
    proto.graph.initializer.extend(numpy_helper.from_array(ones, name) for name in "wv")
    onnx.save(proto, tmp_path / "m.onnx")
    table = {("T4", 1): LatencyTable(np.ones((3, 1), np.int64))}
    profile = build_profile(read_onnx(tmp_path / "m.onnx"), (0, 1, 2, 3), measured={}, predicted=table)
    assert profile.shared_weights == (SharedWeights(4096, (0, 2)),)
    save_profile(profile, tmp_path / "p")
    assert load_profile(tmp_path / "p").shared_weights == profile.shared_weights


@pytest.mark.parametrize("shared", [SharedWeights(36 * MB, (0, 3)), SharedWeights(37 * MB, (0, 1))])
def test_a_profile_whose_shared_weights_cannot_be_is_refused(shared: SharedWeights, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="shared_weights of"):
        save_profile(replace(tied(), shared_weights=(shared,)), tmp_path / "p")


def scenario(memory_gb: float, count: int = 1) -> Scenario:
    from penstock.cluster import Cluster

    served = ServedModel(name="tied", profile="tied", slo_us=100_000, slo_margin_us=0)
    return Scenario(
        version=1,
        cluster=Cluster(
            bandwidth_gbps=10, device_classes={"gpu": DeviceClass(count=count, memory_gb=memory_gb)}
        ),
        models=[served],
        planner=PlannerSettings(max_stages=2),
    )


def test_the_model_fits_where_its_weights_fit_once() -> None:
    plan = PoolPlanner().plan(scenario(0.08), {"tied": tied()}).solution
    assert [stage.blocks for p in plan.models[0].pipelines for stage in p.stages] == [(0, 3)]
    with pytest.raises(InfeasibleError):
        PoolPlanner().plan(scenario(0.08), {"tied": replace(tied(), shared_weights=())})


def test_the_refusal_names_memory() -> None:
    """72 MB on one device of 40: it would have to be cut, for which there is no second device."""
    halves = replace(tied(), blocks=tied().blocks[:2], boundary_bytes=(4, 4, 4), shared_weights=())
    halves = replace(halves, tables={("gpu", 1): LatencyTable(np.array([[100], [100]]))})
    with pytest.raises(
        NoPlanError, match=r"'tied' has 0.072 GB of weights, more than the memory of any class"
    ):
        PoolPlanner().plan(scenario(0.04), {"tied": halves})
