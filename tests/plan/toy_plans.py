"""Small scenarios built in memory, for the tests of planning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from penstock.cluster import Cluster, DeviceClass
from penstock.plan.documents.scenario import PlannerSettings, Scenario, ServedModel
from penstock.profile.table import Block, LatencyTable, Profile, Provenance

HAND = Provenance("measured", "toy", "toy", "2025-01-01")


def toy_profile(
    name: str,
    latency_us: Mapping[tuple[str, int], Sequence[Sequence[int]]],
    *,
    boundary_bytes: Sequence[int] | None = None,
    parameter_bytes: int = 0,
    activation_bytes: int = 0,
) -> Profile:
    """A profile from ``{(class, share): rows of blocks, columns of batches}``."""
    blocks = len(next(iter(latency_us.values())))
    return Profile(
        model=name,
        blocks=tuple(Block(f"b{i}", (), parameter_bytes, activation_bytes) for i in range(blocks)),
        boundary_bytes=tuple(boundary_bytes or [0] * (blocks + 1)),
        tables={key: LatencyTable(np.array(rows, dtype=np.int64)) for key, rows in latency_us.items()},
        provenance=HAND,
    )


def toy_scenario(
    classes: Mapping[str, DeviceClass],
    models: Sequence[ServedModel],
    *,
    bandwidth_gbps: float = 10.0,
    max_stages: int = 2,
    share_devices: bool = False,
    objective: Literal["throughput", "cost", "energy"] = "throughput",
) -> Scenario:
    """A scenario with gathering of a batch switched on, and devices kept apart, as published."""
    return Scenario(
        version=1,
        cluster=Cluster(bandwidth_gbps=bandwidth_gbps, device_classes=dict(classes)),
        models=list(models),
        planner=PlannerSettings(max_stages=max_stages, share_devices=share_devices, objective=objective),
    )


def toy_model(
    name: str,
    slo_us: int,
    *,
    weight: float = 1.0,
    rate_rps: float | None = None,
    estimated_rps: float | None = 1e9,
) -> ServedModel:
    """A model without margin; by default a batch gathers in next to no time. A demand is its weight too."""
    return ServedModel(
        name=name,
        profile=name,
        slo_us=slo_us,
        weight=rate_rps or weight,
        rate_rps=rate_rps,
        slo_margin_us=0,
        estimated_rps=estimated_rps,
    )
