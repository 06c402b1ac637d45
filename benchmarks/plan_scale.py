"""Planning at scale, on synthetic profiles."""

from __future__ import annotations

import argparse
import time

import numpy as np

from penstock.cluster import Cluster, DeviceClass
from penstock.plan.scenario import PlannerSettings, Scenario, ServedModel
from penstock.profile.table import Block, LatencyTable, Profile, Provenance

MAX_SHARE = 4
MAX_BATCH = 8
GB = 10**9


def synthetic(
    classes: int, stages: int, models: int, blocks: int, devices: int, seed: int = 0
) -> tuple[Scenario, dict[str, Profile]]:
    """A scenario whose models differ in how much slower each class runs each block.

    Class ``c`` has 1/1.6^c of the first's speed on average; a block's own factor spreads around that, so that
    it pays to cut. The SLO is 5 times the mean whole latency of the middle class, as in the published setting.
    """
    rng = np.random.default_rng(seed)
    names = [f"class-{c}" for c in range(classes)]
    profiles = {f"model-{m}": _profile(f"model-{m}", rng, names, blocks) for m in range(models)}
    count = np.full(classes, devices // classes)
    count[: devices % classes] += 1
    cluster = Cluster(
        bandwidth_gbps=10.0,
        device_classes={
            name: DeviceClass(count=int(count[c]), per_host=1 + c % 4, max_share=MAX_SHARE)
            for c, name in enumerate(names)
        },
    )
    weight = rng.dirichlet(np.full(models, 5.0))
    served = [
        ServedModel(
            name=name,
            profile=name,
            slo_us=5 * int(profile.whole_us[names[1]]),
            weight=float(weight[m]),
            slo_margin=0.4,
        )
        for m, (name, profile) in enumerate(profiles.items())
    ]
    settings = PlannerSettings(max_stages=stages)
    return Scenario(version=1, cluster=cluster, models=served, planner=settings), profiles


def _profile(name: str, rng: np.random.Generator, classes: list[str], blocks: int) -> Profile:
    """Blocks of 0.3 to 3 ms on the first class; a batch costs less a sample, a share more than its part."""
    base_us = rng.uniform(300, 3000, blocks)
    fixed = rng.uniform(0.1, 0.6, blocks)
    tables, whole = {}, {}
    for c, device_class in enumerate(classes):
        slower = 1.6**c * rng.lognormal(0.0, 0.5, blocks) if c else np.ones(blocks)
        for share in range(1, MAX_SHARE + 1):
            batch = np.arange(1, max(1, MAX_BATCH // share) + 1)
            part = 1.0 + 0.9 * (share - 1)
            rows = (base_us * slower * part)[:, None] * (fixed[:, None] + (1 - fixed[:, None]) * batch)
            tables[device_class, share] = LatencyTable(np.rint(rows).astype(np.int64))
        whole[device_class] = int(tables[device_class, 1].latency_us[:, 0].sum())
    boundary = rng.lognormal(12.5, 0.8, blocks + 1)
    return Profile(
        model=name,
        blocks=tuple(Block(f"b{i}", (), 0, 0) for i in range(blocks)),
        boundary_bytes=tuple(int(size) for size in boundary),
        tables=tables,
        provenance=Provenance("predicted", "synthetic", "synthetic", "2025-01-01"),
        whole_us=whole,
    )
