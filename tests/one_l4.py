"""The worked example of scheduled shares: one L4, a model of 4 ms and one of 60 ms, and what its parts are worth."""

from __future__ import annotations

import numpy as np

from penstock.cluster import Cluster, DeviceClass
from penstock.plan.documents.scenario import PlannerSettings, Scenario, ServedModel
from penstock.profile.table import Block, LatencyTable, Profile, Provenance

SLO_US = {"a": 20_000, "b": 300_000}
BLOCKS = {"a": [4_000], "b": [7_500] * 8}


def one_l4(*, scheduled: bool = True, devices: int = 1) -> tuple[Scenario, dict[str, Profile]]:
    """Equal work of both models: 15 jobs of ``a`` for one of ``b``. Two halves are each half as fast."""
    scenario = Scenario(
        version=1,
        cluster=Cluster(
            bandwidth_gbps=10.0, device_classes={"L4": DeviceClass(count=devices, per_host=1, max_share=2)}
        ),
        models=[
            ServedModel(name=name, profile=name, slo_us=SLO_US[name], weight=weight)
            for name, weight in (("a", 15.0), ("b", 1.0))
        ],
        planner=PlannerSettings(max_stages=1, scheduled=scheduled),
    )
    return scenario, {name: _profile(name) for name in SLO_US}


def _profile(name: str) -> Profile:
    batches = np.arange(1, 5)
    rows = np.outer(BLOCKS[name], batches)  # batches gain nothing either
    return Profile(
        model=name,
        blocks=tuple(Block(f"b{i}", (f"op{i}",), 0, 0) for i in range(len(BLOCKS[name]))),
        boundary_bytes=(0,) * (len(BLOCKS[name]) + 1),
        tables={("L4", share): LatencyTable(rows * share) for share in (1, 2)},
        provenance=Provenance("measured", "toy", "toy", "2025-01-01"),
    )
