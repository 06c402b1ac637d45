"""Lone requests: forty, one after the other, on an idle fleet of emulated devices, live and in the simulator.

Each should take what its work takes, although the plan's batches are larger: nobody else is there to wait for. Prints
the medians beside the work itself, for the default policy and for the published one.

    python benchmarks/lone_requests.py [--requests 40]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from penstock.cluster import Cluster, DeviceClass
from penstock.plan.dispatch_table import dispatch_table
from penstock.plan.documents.plan import Plan
from penstock.plan.documents.scenario import PlannerSettings, Scenario, ServedModel
from penstock.plan.documents.store import save_plan
from penstock.plan.interfaces import SearchLimits
from penstock.plan.planners.pool_planner import PoolPlanner
from penstock.profile.store import save_profile
from penstock.profile.table import Block, LatencyTable, Profile, Provenance
from penstock.record import Outcome
from penstock.schedule.rule_numbers import DEFAULT_POLICY
from penstock.simulate.routed.routed_simulator import simulate
from penstock.traffic.arrivals import Arrivals

BLOCK_US = ([40_000, 50_000, 60_000, 70_000], [20_000, 25_000, 30_000, 35_000])
"""Of two blocks, by batch. The first suits the class ``large``, the second runs well on both."""

SLO_US = 400_000


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--requests", type=int, default=40)
    count = arguments.parse_args().requests
    with tempfile.TemporaryDirectory() as folder:
        plan, profile = planned(Path(folder))
        table = dispatch_table(plan, {"model": profile})
        print(
            f"planned batch {table.pipeline_batch.tolist()}, SLO {SLO_US / 1e3:.0f} ms, {count} requests in turn"
        )
        for policy in (DEFAULT_POLICY, "reservation"):
            arrivals = Arrivals(np.arange(count) * 2 * SLO_US, np.zeros(count, np.int64))
            record = simulate(table, arrivals, model_names=["model"], seed=0, policy=policy)
            took_us = (record.requests.finish_us - record.requests.arrival_us).tolist()
            work_us = [int((table.latency_us[:, 1] + table.transfer_us[:, 1])[stages_of(table, p)].sum())
                       for p in record.requests.pipeline.tolist()]  # fmt: skip
            met = int((record.requests.outcome == Outcome.MET).sum())
            show(f"simulated, {policy}", met, count, took_us, work_us)
            took_us, met = live(Path(folder), policy, count)
            show(f"live, {policy}", met, count, took_us, work_us)


def planned(folder: Path) -> tuple[Plan, Profile]:
    """A plan of two classes on disk."""
    slower = [[3 * value for value in BLOCK_US[0]], BLOCK_US[1]]
    profile = Profile(
        model="model",
        blocks=(Block("b0", ("op0",), 0, 0), Block("b1", ("op1",), 0, 0)),
        boundary_bytes=(64, 1_000, 16),
        tables={("large", 1): LatencyTable(np.array(BLOCK_US)), ("small", 1): LatencyTable(np.array(slower))},
        provenance=Provenance("imported", "none", "none", "2026-01-01"),
    )
    classes = {name: DeviceClass(count=number) for name, number in (("large", 3), ("small", 2))}
    scenario = Scenario(
        version=1,
        cluster=Cluster(bandwidth_gbps=10.0, device_classes=classes),
        models=[ServedModel(name="model", profile="model", slo_us=SLO_US)],
        planner=PlannerSettings(max_stages=2),
    )
    plan = PoolPlanner(SearchLimits()).plan(scenario, {"model": profile}).solution
    save_profile(profile, folder / "model")
    save_plan(plan, folder / "plan.json", {"model": profile})
    return plan, profile


def stages_of(table: object, pipeline: int) -> slice:
    """The stages of a pipeline."""
    offsets = table.stage_offsets  # type: ignore[attr-defined]
    return slice(int(offsets[pipeline]), int(offsets[pipeline + 1]))


def live(folder: Path, policy: str, count: int) -> tuple[list[float], int]:
    """Latencies as a client sees them, and how many answers came within the SLO."""
    import tritonclient.http as triton

    from penstock.serve.local_server import LocalServer

    took_us, met = [], 0
    with (
        LocalServer(folder / "plan.json", ["--executor", "emulated", "--policy", policy]) as server,
        triton.InferenceServerClient(server.url.removeprefix("http://")) as client,
    ):
        tensor = triton.InferInput("input", [1, 64], "UINT8")
        tensor.set_data_from_numpy(np.zeros((1, 64), np.uint8))
        for _ in range(count):
            begin = time.perf_counter()
            try:
                client.infer("model", [tensor])
            except triton.InferenceServerException:
                continue
            took_us.append(1e6 * (time.perf_counter() - begin))
            met += took_us[-1] <= SLO_US
    return took_us, met


def show(name: str, met: int, count: int, took_us: list[float], work_us: list[int]) -> None:
    """One row."""
    work_ms = statistics.median(work_us) / 1e3
    median_ms = statistics.median(took_us) / 1e3 if took_us else float("inf")
    print(
        f"{name:24} met {met} of {count}, median {median_ms:7.2f} ms, work {work_ms:7.2f} ms, {median_ms / work_ms:.3f}"
    )


if __name__ == "__main__":
    main()
