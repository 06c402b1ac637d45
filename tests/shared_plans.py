"""A plan of two small models whose stages can share pools, for the tests of several stations."""

from __future__ import annotations

import numpy as np

from penstock.cluster import Cluster, DeviceClass
from penstock.plan.documents.plan import Plan
from penstock.plan.documents.scenario import Scenario, ServedModel
from penstock.plan.planners.pool_planner import PoolPlanner
from penstock.profile.table import Block, LatencyTable, Profile, Provenance

GB = 10**9


def two_models(memory_gb: float | None = None) -> tuple[Plan, dict[str, Profile]]:
    """Both models run their first block on two "a", their second on two "b", in batches of one.

    A block takes 2 GB of parameters for model "m", 3 GB for "n", and 1 GB of activations a sample for either.
    """
    classes = {name: DeviceClass(count=4, per_host=2, memory_gb=memory_gb) for name in ("a", "b")}
    slo_us = {"m": 30_000, "n": 25_000}
    scenario = Scenario(
        version=1,
        cluster=Cluster(bandwidth_gbps=10.0, device_classes=classes),
        models=[
            ServedModel(name=name, profile=name, slo_us=slo, slo_margin=0.0) for name, slo in slo_us.items()
        ],
    )
    profiles = {"m": _profile("m", 2 * GB), "n": _profile("n", 3 * GB)}
    return PoolPlanner().plan(scenario, profiles).solution, profiles


def _profile(name: str, parameter_bytes: int) -> Profile:
    rows = {"a": [[10_000], [90_000]], "b": [[90_000], [10_000]]}
    return Profile(
        model=name,
        blocks=tuple(Block(f"b{i}", (f"op{i}",), parameter_bytes, GB) for i in range(2)),
        boundary_bytes=(0, 1_000, 0),
        tables={(device, 1): LatencyTable(np.array(table)) for device, table in rows.items()},
        provenance=Provenance("measured", "toy", "toy", "2025-01-01"),
    )
