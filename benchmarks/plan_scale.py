"""Planning at scale, on synthetic profiles: seconds, proven gap, peak memory, counts of templates.

Four parts, each in its own process, so that each states its own peak memory:

- ``classes``: 4 classes x 3 stages x 10 models x 16 blocks, wanted within 1% in 30 s, on fleets of several sizes;
- ``models``: 6 classes x 4 stages x 50 models x 16 blocks on 10,000 devices, wanted within 2% in 180 s and 8 GB;
- ``largest``: 6 classes x 4 stages x 200 models x 16 blocks on 100,000 devices, wanted within 1% in 60 s and 4 GB;
- ``devices``: 4 classes x 3 stages x 3 models x 16 blocks on 100 to 100,000 devices, wanted flat within 2x.

Compiling the kernels is left out: a small instance is planned first.

Beside the seconds by the clock stand those of the processor, which other jobs on the machine do not change.

    python benchmarks/plan_scale.py [classes] [models] [largest] [devices] [--seed 0]
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import sys
import time

import numpy as np

from penstock.cluster import Cluster, DeviceClass
from penstock.plan.documents.checker import check_plan
from penstock.plan.documents.scenario import PlannerSettings, Scenario, ServedModel
from penstock.plan.interfaces import SearchLimits
from penstock.plan.planners.pool_planner import PoolPlanner
from penstock.profile.table import Block, LatencyTable, Profile, Provenance

PARTS = {
    "classes": [(4, 3, 10, devices, 0.01, 30.0) for devices in (100, 200, 400, 1000, 2000, 4000, 10_000)],
    "models": [(6, 4, 50, 10_000, 0.02, 180.0)],
    "largest": [(6, 4, 200, 100_000, 0.01, 60.0)],
    "devices": [
        (4, 3, 3, devices, 0.05, 30.0) for devices in (100, 300, 1000, 3000, 10_000, 30_000, 100_000)
    ],
}
"""By part: classes, stages, models, devices, gap wanted, seconds wanted."""

BLOCKS = 16
MAX_SHARE = 4
MAX_BATCH = 8


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("part", nargs="*", choices=[*PARTS, []], metavar="PART", help=", ".join(PARTS))
    arguments.add_argument("--seed", type=int, default=0)
    given = arguments.parse_args()
    for part in given.part or PARTS:
        process = multiprocessing.get_context("spawn").Process(target=measure, args=(part, given.seed))
        process.start()
        process.join()


def measure(part: str, seed: int) -> None:
    print(
        f"\n{part}\n{'classes':>7} {'stages':>6} {'models':>6} {'devices':>7} {'templates':>16} {'objective':>12} "
        f"{'gap':>7} {'wanted':>7} {'s':>7} {'cpu s':>7} {'within':>7} {'search s':>8} "
        f"{'rounds':>6} {'kept':>5} {'pipelines':>9}"
    )
    plan(*synthetic(2, 2, 2, 4, 10), SearchLimits(0.1, 1.0))
    plan(*synthetic(4, 3, 2, BLOCKS, 1000), SearchLimits(0.1, 1.0))
    for instance in PARTS[part]:
        print(row(*instance, seed=seed), flush=True)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (
        2**20 if sys.platform == "darwin" else 2**10
    )
    print(f"peak memory {peak_mb:.0f} MB")


def plan(scenario: Scenario, profiles: dict[str, Profile], limits: SearchLimits):
    start, start_cpu = time.perf_counter(), time.process_time()
    result = PoolPlanner(limits).plan(scenario, profiles)
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - start_cpu
    check_plan(result.solution, profiles)
    return result, seconds, cpu_seconds


def row(
    classes: int, stages: int, models: int, devices: int, gap: float, within_s: float, *, seed: int
) -> str:
    scenario, profiles = synthetic(classes, stages, models, BLOCKS, devices, seed)
    result, seconds, cpu_seconds = plan(scenario, profiles, SearchLimits(gap, 0.9 * within_s))
    stats = result.stats
    pipelines = sum(len(model.pipelines) for model in result.solution.models)
    return (
        f"{classes:7} {stages:6} {models:6} {devices:7} {stats['templates_seen']:16,} {result.objective:12.2f} "
        f"{result.gap:7.2%} {gap:7.2%} {seconds:7.2f} {cpu_seconds:7.2f} {within_s:7.0f} {stats['solve_seconds']:8.2f} "
        f"{stats.get('pricing_rounds', 0):6} {stats['templates_kept']:5} {pipelines:9}"
    )


def synthetic(
    classes: int, stages: int, models: int, blocks: int, devices: int, seed: int = 0
) -> tuple[Scenario, dict[str, Profile]]:
    """A scenario whose models differ in how much slower each class runs each block.

    Class ``c`` has 1/1.6^c of the first's speed on average; a block's own factor spreads around that, so that it pays
    to cut. The SLO is 5 times the whole model's latency on the second class, its margin 0.4, as published.
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


if __name__ == "__main__":
    main()
